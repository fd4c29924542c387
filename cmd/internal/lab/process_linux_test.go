package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestProcessExit(t *testing.T) {
	n := newNamespaceIn(t, newLab(t), "a")
	for _, code := range []int{0, 1, 78} {
		p, err := n.Start(actor("exit", fmt.Sprint(code)))
		check(t, err)
		got, err := p.Wait(timeout(t))
		check(t, err)
		if got != code {
			t.Errorf("exit code %d, want %d", got, code)
		}
		if out, errOut := p.Stdout.String(), p.Stderr.String(); out != "to stdout\n" || errOut != "to stderr\n" {
			t.Errorf("output %q and %q", out, errOut)
		}
		if err := p.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("signal to an ended process: %v", err)
		}
		if _, err := p.Stdout.WaitFor(timeout(t), "never"); err == nil || !strings.Contains(err.Error(), "to stdout") {
			t.Errorf("wait for output of an ended process: %v", err)
		}
	}
	if _, err := n.Start(actor("exit")); err != nil {
		t.Error(err)
	}
	bad := actor("exit", "0")
	bad.Path = "/nonexistent"
	if _, err := n.Start(bad); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("start of nothing: %v", err)
	}
}

func TestProcessSignals(t *testing.T) {
	n := newNamespaceIn(t, newLab(t), "a")
	p := serve(t, n)
	if err := n.holds(p.PID()); err != nil {
		t.Error(err)
	}
	for range 2 {
		mark := p.Stdout.Mark()
		check(t, p.Signal(syscall.SIGHUP))
		_, err := p.Stdout.WaitAfter(timeout(t), mark, "hangup")
		check(t, err)
	}
	if _, err := p.Wait(timeout(t, time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait for a running process: %v", err)
	}
	check(t, p.Signal(syscall.SIGKILL))
	code, err := p.Wait(timeout(t))
	check(t, err)
	if code != 128+9 {
		t.Errorf("exit code %d", code)
	}
}

func serve(t *testing.T, n *Namespace) *Process {
	t.Helper()
	p, err := n.Start(actor("serve"))
	check(t, err)
	_, err = p.Stdout.WaitFor(timeout(t), "ready")
	check(t, err)
	return p
}

// TestProcessEndsWithProgram kills a program that has a lab.
func TestProcessEndsWithProgram(t *testing.T) {
	cmd := actor("own")
	cmd.Env = append(cmd.Env, "TMPDIR="+t.TempDir())
	owner, err := newNamespaceIn(t, newLab(t), "a").Start(cmd)
	check(t, err)
	m, err := owner.Stdout.WaitFor(timeout(t), `started (\d+)\n`)
	check(t, err)
	pid, err := strconv.Atoi(m[1])
	check(t, err)
	child, err := os.FindProcess(pid)
	check(t, err)
	defer child.Release()
	if err := waitGone(child, 0); err == nil {
		t.Fatal("process is gone too early")
	}
	check(t, owner.Signal(syscall.SIGKILL))
	check(t, waitGone(child, time.Minute))
}

func TestUsage(t *testing.T) {
	p := serve(t, newNamespaceIn(t, newLab(t), "a"))
	u, err := p.Usage()
	check(t, err)
	if u.Memory < 1<<20 || u.Memory > 1<<30 || u.Threads < 1 || u.Files < 3 || u.CPU < 0 {
		t.Errorf("%+v", u)
	}
	check(t, p.kill())
	if u, err := p.Usage(); err == nil {
		t.Errorf("usage of an ended process: %+v", u)
	}
}

// TestNamespaceUsage counts what is in a namespace, and nothing else.
func TestNamespaceUsage(t *testing.T) {
	l := newLab(t)
	n, other := newNamespaceIn(t, l, "a"), newNamespaceIn(t, l, "b")
	first, second := serve(t, n), serve(t, n)
	all, err := n.Usage()
	check(t, err)
	one, err := first.Usage()
	check(t, err)
	if all.Memory < one.Memory+1<<20 || all.Threads <= one.Threads || all.Files < 2*3 {
		t.Errorf("two processes have %+v, one of them %+v", all, one)
	}
	check(t, errors.Join(first.kill(), second.kill()))
	if none, err := n.Usage(); err != nil || none != (Usage{}) {
		t.Errorf("nobody has %+v, %v", none, err)
	}
	if none, err := other.Usage(); err != nil || none != (Usage{}) {
		t.Errorf("nobody else has %+v, %v", none, err)
	}
}

func TestParseStat(t *testing.T) {
	const good = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 7 0 100 4096 3 rest"
	got, err := parseStat(good)
	check(t, err)
	want := Usage{Memory: 3 * int64(os.Getpagesize()), CPU: 2 * time.Second, Threads: 7}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, bad := range []string{"", ")", "12 (x) S 1 2", strings.Replace(good, " 150 ", " x ", 1), strings.ReplaceAll(good, ")", "")} {
		if u, err := parseStat(bad); err == nil {
			t.Errorf("%q: %+v", bad, u)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 7 0 100 4096 3 rest")
	f.Add("1 () S")
	f.Add(strings.Repeat("0 ", 30))
	f.Fuzz(func(t *testing.T, stat string) {
		if _, err := parseStat(stat); err == nil && !strings.Contains(stat, ")") {
			t.Error("accepted without a name")
		}
	})
}

func TestAdopt(t *testing.T) {
	l := newLab(t)
	n := newNamespaceIn(t, l, "a")
	self, err := os.Executable()
	check(t, err)
	pidfile := detach(t, l, n)
	d, err := n.Adopt(timeout(t), pidfile, self)
	check(t, err)
	if u, err := d.Usage(); err != nil || u.Threads < 1 {
		t.Errorf("%+v, %v", u, err)
	}

	refused := []struct {
		name, pid, exe string
		ns             *Namespace
	}{
		{"other program", fmt.Sprint(d.PID()), "/proc/1/exe", n},
		{"other namespace", fmt.Sprint(d.PID()), self, newNamespaceIn(t, l, "b")},
		{"not ours", fmt.Sprint(os.Getppid()), self, n},
		{"init", "1", "/proc/1/exe", n},
		{"all", "-1", self, n},
		{"no number", "x", self, n},
		{"empty", "", self, n},
	}
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			check(t, os.WriteFile(file, []byte(tt.pid), 0o644))
			if p, err := tt.ns.Adopt(timeout(t, 10*time.Millisecond), file, tt.exe); err == nil {
				t.Errorf("adopted %s", p)
			}
		})
	}

	check(t, d.Signal(syscall.SIGKILL))
	code, err := d.Wait(timeout(t))
	check(t, err)
	if code != ExitUnknown {
		t.Errorf("exit code %d", code)
	}
	if err := d.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal to an ended process: %v", err)
	}
	if _, err := d.Usage(); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("usage of an ended process: %v", err)
	}
	if p, err := n.Adopt(timeout(t, 10*time.Millisecond), pidfile, self); err == nil {
		t.Errorf("adopted %s, which is gone", p)
	}
}

// detach leaves a daemon behind and returns its pidfile.
func detach(t *testing.T, l *Lab, n *Namespace) (pidfile string) {
	t.Helper()
	pidfile = filepath.Join(l.Dir(), n.Name()+".pid")
	parent, err := n.Start(actor("detach", pidfile))
	check(t, err)
	if code, err := parent.Wait(timeout(t)); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v: %s", code, err, parent.Stderr)
	}
	return pidfile
}

func TestOutputIsBounded(t *testing.T) {
	o := newOutput()
	_, _ = o.Write([]byte("first"))
	line := []byte(strings.Repeat("x", 999) + "\n")
	for range 5 * outputLimit / len(line) {
		_, _ = o.Write(line)
	}
	_, _ = o.Write([]byte("last 41"))
	mark := o.Mark()
	_, _ = o.Write([]byte("last 42"))
	if n := len(o.String()); n != outputLimit {
		t.Errorf("%d bytes are kept", n)
	}
	if n := cap(o.tail); n > 4*outputLimit {
		t.Errorf("%d bytes are held", n)
	}
	m, err := o.WaitAfter(timeout(t), mark, `last (\d+)`)
	check(t, err)
	if m[1] != "42" {
		t.Errorf("groups %q", m)
	}
	if _, err := o.WaitFor(timeout(t, time.Millisecond), "first"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait: %v", err)
	}
	if _, err := o.WaitFor(timeout(t), "("); err == nil {
		t.Error("bad pattern was accepted")
	}
}

func TestOutputWaits(t *testing.T) {
	o := newOutput()
	found := make(chan error)
	go func() {
		_, err := o.WaitFor(t.Context(), "one two")
		found <- err
	}()
	_, _ = o.Write([]byte("one "))
	_, _ = o.Write([]byte("two"))
	check(t, <-found)
}
