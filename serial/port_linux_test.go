//go:build !ppc && !ppc64 && !ppc64le

package serial

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// cable returns the far end of a pseudo terminal and the path of the near one.
func cable(t *testing.T) (far *os.File, path string) {
	t.Helper()
	far, near, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	// One descriptor stays open: a pseudo terminal without any is hung up.
	t.Cleanup(func() { far.Close(); near.Close() })
	return far, near.Name()
}

// open opens a line and closes it with the test.
func open(t *testing.T, path string, mode Mode) *Port {
	t.Helper()
	p, err := Open(path, t.TempDir(), mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestBothWays(t *testing.T) {
	far, path := cable(t)
	p := open(t, path, Mode{Speed: 115200})
	var all []byte
	for b := range 256 {
		all = append(all, byte(b))
	}
	if _, err := p.Write(all); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(all))
	if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, all) {
		t.Fatalf("%x, %v", got, err)
	}
	if _, err := far.Write(all); err != nil {
		t.Fatal(err)
	}
	clear(got)
	if _, err := io.ReadFull(p, got); err != nil || !bytes.Equal(got, all) {
		t.Fatalf("%x, %v", got, err)
	}
}

// settings returns what a line is set to.
func settings(t *testing.T, path string) unix.Termios {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	set, err := driver{kernel{f}}.termios()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestSettings(t *testing.T) {
	for _, test := range []struct {
		mode      Mode
		with, not uint32
	}{
		{Mode{Speed: 9600}, unix.CS8 | unix.CREAD | unix.HUPCL, unix.CLOCAL | unix.CRTSCTS | unix.PARENB | unix.CSTOPB},
		{Mode{Speed: 12345, Local: true}, unix.CS8 | unix.CLOCAL, unix.HUPCL | unix.CRTSCTS},
		{Mode{Speed: 4800, AnyCarrier: true}, unix.HUPCL | unix.CLOCAL, unix.CRTSCTS},
		{Mode{Speed: 3000000, RTSCTS: true}, unix.CRTSCTS, unix.CLOCAL},
	} {
		t.Run(fmt.Sprint(test.mode.Speed), func(t *testing.T) {
			_, path := cable(t)
			before := settings(t, path)
			p := open(t, path, test.mode)
			is := settings(t, path)
			if is.Cflag&test.with != test.with || is.Cflag&test.not != 0 {
				t.Errorf("cflag is %o", is.Cflag)
			}
			if is.Iflag&^(unix.IGNBRK|unix.IGNPAR) != 0 || is.Oflag != 0 || is.Lflag != 0 {
				t.Errorf("not raw: %+v", is)
			}
			if p.Speed() != test.mode.Speed || int(is.Ospeed) != test.mode.Speed || int(is.Ispeed) != test.mode.Speed {
				t.Errorf("speed is %d, %d and %d", p.Speed(), is.Ospeed, is.Ispeed)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if after := settings(t, path); after != before {
				t.Errorf("left as\n%+v\nfound as\n%+v", after, before)
			}
		})
	}
}

func TestDeadlines(t *testing.T) {
	_, path := cable(t)
	p := open(t, path, Mode{Speed: 9600})
	p.SetDeadline(time.Now().Add(time.Millisecond))
	if n, err := p.Read(make([]byte, 9)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(n, err)
	}
	p.SetDeadline(time.Time{})
	p.SetWriteDeadline(time.Now().Add(time.Millisecond))
	if _, err := p.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	done := make(chan error)
	go func() {
		_, err := p.Read(make([]byte, 9))
		done <- err
	}()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error("again:", err)
	}
}

// TestNoModemLines asks a line that has none, as pseudo terminals.
func TestNoModemLines(t *testing.T) {
	_, path := cable(t)
	p := open(t, path, Mode{Speed: 9600})
	if on, err := p.Carrier(); on || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("carrier %v, %v", on, err)
	}
	if err := p.SetDTR(false); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

// TestUnplugged closes the far end, which is a hang-up to the near one.
func TestUnplugged(t *testing.T) {
	far, path := cable(t)
	p := open(t, path, Mode{Speed: 9600})
	done := make(chan error)
	go func() {
		_, err := p.Read(make([]byte, 9))
		done <- err
	}()
	far.Close()
	if err := <-done; !errors.Is(err, ErrCarrierLost) {
		t.Error("read:", err)
	}
	if _, err := p.Write([]byte{1}); !errors.Is(err, ErrCarrierLost) {
		t.Error("write:", err)
	}
	_, carrier := p.Carrier()
	for what, err := range map[string]error{"set": p.Set(Mode{Speed: 1200}), "DTR": p.SetDTR(false), "carrier": carrier, "break": p.SendBreak()} {
		if !errors.Is(err, ErrCarrierLost) || errors.Is(err, ErrMode) {
			t.Errorf("%s: %v", what, err)
		}
	}
	begin := time.Now()
	if p.Drain(time.Minute); time.Since(begin) > time.Minute/2 {
		t.Error("waits for a line that is gone")
	}
}

func TestInUse(t *testing.T) {
	_, path := cable(t)
	locks := t.TempDir()
	first, err := Open(path, locks, Mode{Speed: 9600})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	before := settings(t, path)
	second, err := Open(path, t.TempDir(), Mode{Speed: 4800}) // with other lock files
	if !errors.Is(err, ErrInUse) {
		t.Errorf("second user: %v, %v", second, err)
	}
	if settings(t, path) != before {
		t.Error("the second user changed the settings")
	}
	first.Close()
	if left, _ := os.ReadDir(locks); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	third, err := Open(path, locks, Mode{Speed: 4800})
	if err != nil {
		t.Fatal(err)
	}
	third.Close()
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "open " + filepath.Join(dir, "none") + ": no such file or directory",
		plain:                      "not a serial line: inappropriate ioctl for device",
		"/dev/null":                "not a serial line: inappropriate ioctl for device",
	} {
		p, err := Open(path, dir, Mode{Speed: 9600})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v", path, p, err)
		}
	}
	if left, _ := filepath.Glob(dir + "/L*"); left != nil {
		t.Errorf("left: %v", left)
	}
}

// TestLink opens a line by a link, as those in /dev/serial/by-id.
func TestLink(t *testing.T) {
	_, path := cable(t)
	link, locks := filepath.Join(t.TempDir(), "by-id"), t.TempDir()
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	p, err := Open(link, locks, Mode{Speed: 9600})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want := "LCK..pts_" + filepath.Base(path)
	text, err := os.ReadFile(filepath.Join(locks, want))
	if err != nil || string(text) != fmt.Sprintf("%10d\n", os.Getpid()) {
		t.Errorf("lock file: %q, %v", text, err)
	}
}

func TestLockFile(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, text, want string }{
		{"stale", fmt.Sprintf("%10d\n", gone.Process.Pid), ""},
		{"our own number, of before a restart", fmt.Sprintf("%10d\n", os.Getpid()), ""},
		{"alive", fmt.Sprintf("%10d\n", os.Getppid()), fmt.Sprintf("in use by process %d (", os.Getppid())},
		{"stale, of minicom", fmt.Sprintf("%10d minicom root\n", gone.Process.Pid), ""},
		{"alive, of minicom", fmt.Sprintf("%10d minicom root\n", os.Getppid()), fmt.Sprintf("in use by process %d (", os.Getppid())},
		{"without a number", "uucp", `LCK..ttyS7 says "uucp"; remove it if nobody uses the line`},
		{"number of no process", "-5", `LCK..ttyS7 says "-5"`},
		{"empty", "", `LCK..ttyS7 says ""`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "LCK..ttyS7")
			if err := os.WriteFile(path, []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			l, err := takeLock(dir, "/dev/ttyS7")
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				l.release()
				if left, _ := os.ReadDir(dir); len(left) != 0 {
					t.Errorf("left: %v", left)
				}
				return
			}
			if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %s", err, test.want)
			}
			if text, _ := os.ReadFile(path); string(text) != test.text {
				t.Errorf("lock file became %q", text)
			}
		})
	}
	if l, err := takeLock(filepath.Join(t.TempDir(), "none"), "/dev/ttyS7"); l != nil || err != nil {
		t.Errorf("no directory: %v, %v", l, err)
	}
}

// TestLockFileOfAnother has the lock file of root's process, which is gone, in a
// directory where everybody removes only what is his own.
func TestLockFileOfAnother(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "LCK..ttyS7")
	if err := os.WriteFile(path, fmt.Appendf(nil, "%10d\n", gone.Process.Pid), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	for up := filepath.Dir(dir); up != os.TempDir(); up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread() // and never unlock it: the thread ends with the test
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	l, err := takeLock(dir, "/dev/ttyS7")
	if err := errors.Join(err, unix.Setfsuid(0)); l != nil || err != nil {
		t.Errorf("lock file %v, %v", l, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestStrangeLockFile has what anybody may put into a directory that is open to all.
func TestStrangeLockFile(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"pipe":   func(path string) error { return unix.Mkfifo(path, 0o666) },
		"device": func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) }, // zero
		"link": func(path string) error {
			return errors.Join(os.WriteFile(path+".text", []byte("1"), 0o644), os.Symlink(path+".text", path))
		},
		"directory": func(path string) error { return os.Mkdir(path, 0o777) },
	} {
		dir := t.TempDir()
		if err := put(filepath.Join(dir, "LCK..ttyS7")); err != nil {
			t.Fatal(err)
		}
		if l, err := takeLock(dir, "/dev/ttyS7"); err == nil || !strings.Contains(err.Error(), "read lock file") {
			t.Errorf("%s: %v, %v", name, l, err)
		}
	}
}

// TestForeignLockFile leaves the lock file of somebody who has removed ours.
func TestForeignLockFile(t *testing.T) {
	dir := t.TempDir()
	l, err := takeLock(dir, "/dev/ttyS7")
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "new")
	if err := errors.Join(os.WriteFile(foreign, []byte("1"), 0o644), os.Rename(foreign, l.path)); err != nil {
		t.Fatal(err)
	}
	l.release()
	if text, err := os.ReadFile(l.path); string(text) != "1" {
		t.Errorf("%q, %v", text, err)
	}
}
