package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTraceKill kills a shell at the opening of its second file.
func TestTraceKill(t *testing.T) {
	n := newNamespaceIn(t, newLab(t), "a")
	opens := func(c *Call) bool { return c.Is(unix.SYS_OPENAT) && filepath.Base(c.Text(1)) == "second" }
	for _, tt := range []struct {
		name  string
		watch Watcher
		code  int
		files string
	}{
		{"before", func(c *Call) bool { return opens(c) && !c.Done }, 128 + int(syscall.SIGKILL), "first"},
		{"after", func(c *Call) bool { return opens(c) && c.Made(unix.SYS_OPENAT) }, 128 + int(syscall.SIGKILL), "first second"},
		{"after it failed", func(c *Call) bool { return opens(c) && c.Done && c.Result < 0 }, 3, "first second third"},
		{"not watched", nil, 3, "first second third"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("/bin/sh", "-c", "echo 1 > first; echo 2 > second; echo 3 > third; exit 3")
			cmd.Dir = t.TempDir()
			p, err := n.Trace(cmd, Tracing{Watch: tt.watch})
			check(t, err)
			if code, err := p.Wait(timeout(t)); code != tt.code || err != nil {
				t.Errorf("exit code %d, want %d: %v", code, tt.code, err)
			}
			found, err := filepath.Glob(filepath.Join(cmd.Dir, "*"))
			check(t, err)
			for i, path := range found {
				found[i] = filepath.Base(path)
			}
			if got := strings.Join(found, " "); got != tt.files {
				t.Errorf("files %q, want %q", got, tt.files)
			}
		})
	}
	if _, err := n.Trace(exec.Command("/nonexistent"), Tracing{}); err == nil {
		t.Error("no error from a program that does not exist")
	}
}

// TestTraceThreads follows a Go program, which has many threads, and passes its
// signals on.
func TestTraceThreads(t *testing.T) {
	n := newNamespaceIn(t, newLab(t), "a")
	var seen atomic.Pointer[Call]
	p, err := n.Trace(actor("serve"), Tracing{})
	check(t, err)
	_, err = p.Stdout.WaitFor(timeout(t), "ready")
	check(t, err)
	p.Watch(func(c *Call) bool {
		if c.Made(unix.SYS_WRITE) && strings.HasPrefix(string(c.Read(c.Args[1], c.Args[2])), "hangup") {
			seen.Store(c)
			return true
		}
		return false
	})
	check(t, p.Signal(syscall.SIGHUP))
	code, err := p.Wait(timeout(t))
	check(t, err)
	if code != 128+int(syscall.SIGKILL) || p.Stdout.String() != "ready\nhangup\n" {
		t.Errorf("exit code %d, output %q", code, p.Stdout)
	}
	c := seen.Load()
	if c == nil || c.PID != p.PID() || c.Result != int64(len("hangup\n")) {
		t.Fatalf("the call was %+v", c)
	}
}

// TestTraceChildren tells a shell's child from the shell.
func TestTraceChildren(t *testing.T) {
	n := newNamespaceIn(t, newLab(t), "a")
	for _, children := range []bool{false, true} {
		var pids atomic.Int64 // processes that wrote
		last := 0
		cmd := exec.Command("/bin/sh", "-c", "echo parent; /bin/sh -c 'echo child'; echo parent; exit 4")
		p, err := n.Trace(cmd, Tracing{Children: children, Watch: func(c *Call) bool {
			if c.Made(unix.SYS_WRITE) && c.PID != last {
				last = c.PID
				pids.Add(1)
			}
			return false
		}})
		check(t, err)
		code, err := p.Wait(timeout(t))
		check(t, err)
		if got := p.Stdout.String(); code != 4 || got != "parent\nchild\nparent\n" {
			t.Errorf("exit code %d, output %q", code, got)
		}
		if want := map[bool]int64{false: 1, true: 3}[children]; pids.Load() != want {
			t.Errorf("children %v: the writer changed %d times, want %d", children, pids.Load(), want)
		}
	}
}

// TestTraceClock moves a program's clock, and no other.
func TestTraceClock(t *testing.T) {
	n := newNamespaceIn(t, newLab(t), "a")
	const year = 365 * 24 * 3600
	for _, tt := range []struct {
		name  string
		clock uint64
		hide  bool
		shift int64 // what the program must see
	}{
		{"wall clock", unix.CLOCK_REALTIME, true, -year},
		{"another clock", unix.CLOCK_BOOTTIME, true, 0},
		{"not asked of the kernel", unix.CLOCK_REALTIME, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := n.Trace(actor("time"), Tracing{HideVDSO: tt.hide, Watch: func(c *Call) bool {
				return c.Made(unix.SYS_CLOCK_GETTIME) && c.Args[0] == tt.clock && c.ShiftClock(-year) != nil
			}})
			check(t, err)
			code, err := p.Wait(timeout(t))
			check(t, err)
			got, err := strconv.ParseInt(strings.TrimSpace(p.Stdout.String()), 10, 64)
			if err != nil || code != 0 {
				t.Fatalf("exit code %d, output %q: %v", code, p.Stdout, err)
			}
			if off := time.Unix(got-tt.shift, 0).Sub(time.Now()).Abs(); off > time.Hour {
				t.Errorf("the program's time is off by %v", off)
			}
		})
	}
}

// TestCallArguments reads the arguments of calls that this program makes itself.
func TestCallArguments(t *testing.T) {
	n := newNamespaceIn(t, newLab(t), "a")
	var path, file atomic.Value
	dir := t.TempDir()
	cmd := exec.Command("/bin/sh", "-c", "echo text > "+dir+"/file")
	p, err := n.Trace(cmd, Tracing{Watch: func(c *Call) bool {
		if c.Made(unix.SYS_OPENAT) && strings.HasSuffix(c.Text(1), "/file") {
			path.Store(c.Text(1))
		}
		if c.Is(unix.SYS_WRITE) && !c.Done {
			file.Store(c.File(0) + ":" + string(c.Read(c.Args[1], c.Args[2])))
		}
		return c.Netlink() != 0 || len(c.Read(0, 8)) != 0 || c.Family(1) == unix.AF_NETLINK
	}})
	check(t, err)
	code, err := p.Wait(timeout(t))
	check(t, err)
	if code != 0 || path.Load() != dir+"/file" || file.Load() != dir+"/file:text\n" {
		t.Errorf("exit code %d, path %q, file %q", code, path.Load(), file.Load())
	}
	if n, err := os.ReadFile(dir + "/file"); err != nil || string(n) != "text\n" {
		t.Errorf("file holds %q: %v", n, err)
	}
}

// TestTraceOnChildlessThread starts a program on the thread that is to trace: it
// must not be waited for there.
func TestTraceOnChildlessThread(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	onChildless(func() {
		var ws unix.WaitStatus
		if pid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil); err != unix.ECHILD {
			t.Errorf("it has waited for process %d, %v", pid, err)
		}
	})
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
