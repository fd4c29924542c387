package link

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vpnd/serial"
	"vpnd/serial/chat"
	"vpnd/serial/serialtest"
)

func serialCarrier(t *testing.T) {
	gone := fmt.Errorf("look: %w", serial.ErrCarrierLost)
	tests := map[string]func(t *testing.T){}
	for _, test := range []struct {
		name, script string
		local        bool
		carrier      func(asked int) (bool, error)
		fails        error
		asked, told  int
	}{
		{"there", "", false, func(int) (bool, error) { return true, nil }, nil, 1, 0},
		{"comes late", "", false, func(n int) (bool, error) { return n > 3, nil }, nil, 4, 1},
		{"unknown", "", false, func(int) (bool, error) { return false, errors.ErrUnsupported }, nil, 1, 0},
		{"unplugged", "", false, func(n int) (bool, error) { return false, gone }, serial.ErrCarrierLost, 1, 0},
		{"ignored", "", true, func(n int) (bool, error) { return false, nil }, nil, 0, 0},
		{"late after a chat", "'' AT OK \\c", false, func(n int) (bool, error) { return n > 3, nil }, nil, 4, 0},
		{"never after a chat", "'' AT OK \\c", false, func(n int) (bool, error) { return false, nil }, ErrNoCarrier, 20, 0},
	} {
		tests[test.name] = func(t *testing.T) {
			p := newPhone(t, quickExchange(), "1", test.script)
			p.Mode.Local = test.local
			asked := 0
			p.lines = &fakeLines{carrier: func() (bool, error) { asked++; return test.carrier(asked) }}
			port, err := p.Open(t.Context())
			if !errors.Is(err, test.fails) || (err == nil) != (test.fails == nil) || err == nil != (port != nil) {
				t.Fatalf("%v, %v", port, err)
			}
			if err == nil {
				defer port.Close()
				if asked != test.asked {
					t.Errorf("looked at the carrier %d times, want %d", asked, test.asked)
				}
			} else if !strings.HasPrefix(err.Error(), p.Path+": ") {
				t.Errorf("error names no device: %v", err)
			}
			if told := strings.Count(p.log.String(), "level=INFO msg=\"waiting for the carrier; a cable without modem lines wants localline\" device="); told != test.told {
				t.Errorf("told %d times:\n%s", told, p.log)
			}
		}
	}
	together(t, tests)
}

// flags returns the control flags of a line.
func flags(t *testing.T, path string) uint32 {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	is, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return is.Cflag
}

// serialMode looks at the line during the chat, afterwards, and when it is
// closed.
func serialMode(t *testing.T) {
	const watched = unix.CLOCAL | unix.HUPCL
	for _, test := range []struct {
		local       bool
		chat, after uint32
	}{
		{false, unix.CLOCAL | unix.HUPCL, unix.HUPCL},
		{true, unix.CLOCAL, unix.CLOCAL},
	} {
		p := newPhone(t, quickExchange(), "1", "'' AT OK \\c")
		p.Mode.Local = test.local
		before := flags(t, p.Path)
		p.Watch = watch{sent: func(string) {
			if is := flags(t, p.Path) & watched; is != test.chat {
				t.Errorf("flags are %o during the chat, want %o", is, test.chat)
			}
		}}
		port := p.open(t)
		if is := flags(t, p.Path) & watched; is != test.after {
			t.Errorf("flags are %o after the chat, want %o", is, test.after)
		}
		port.Close()
		if is := flags(t, p.Path); is != before {
			t.Errorf("flags are left as %o, were %o", is, before)
		}
	}
}

// serialCloseWakes closes a line that others read and write, and that stands
// still.
func serialCloseWakes(t *testing.T) {
	tests := map[string]func(t *testing.T){}
	for _, script := range []string{"", "'' \\c"} {
		tests[script] = func(t *testing.T) {
			far, near, err := serialtest.Terminal() // nobody reads what comes out
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { far.Close(); near.Close() })
			p := &Serial{Device: near.Name(), Mode: serial.Mode{Speed: 9600, RTSCTS: true}, Log: logInto(&logText{})}
			if script != "" {
				if p.Chat, err = chat.Parse("test.chat", script); err != nil {
					t.Fatal(err)
				}
			}
			port, err := p.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			port.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			if _, err := port.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the line does not stand still:", err)
			}
			port.SetWriteDeadline(time.Time{})
			began, ended := make(chan bool), make(chan error)
			for _, use := range []func([]byte) (int, error){port.Read, port.Write} {
				go func() {
					began <- true
					_, err := use(make([]byte, 1<<20))
					ended <- err
				}()
				<-began
			}
			closed := make(chan time.Duration)
			go func() { closed <- closes(t, port) }()
			go func() { closed <- closes(t, port) }()
			begin := time.Now()
			for range 2 {
				if err := <-ended; !errors.Is(err, os.ErrClosed) {
					t.Error(err)
				}
			}
			woke := time.Since(begin)
			took := max(<-closed, <-closed)
			t.Logf("users are sent away after %v, closed after %v", woke, took)
			if script != "" && woke > took-guardTime {
				t.Errorf("users are sent away only after %v of %v", woke, took)
			}
			if err := port.SetWriteDeadline(time.Time{}); !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
			if _, err := port.Read(nil); !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
			if _, err := port.Write(nil); !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
		}
	}
	together(t, tests)
}

func serialCheck(t *testing.T) {
	far, near, err := serialtest.Terminal()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	path := near.Name()
	p := newPhone(t, quickExchange(), "1", "'' ATD2 OK ''")
	p.Device = path
	near.Close()
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	if said, _ := io.ReadAll(far); len(said) != 0 { // until the line is closed
		t.Errorf("says %q", said)
	}
	other, err := serial.Open(path, p.LockDir, serial.Mode{Speed: 300})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	like := func(device, locks string) *Serial {
		return &Serial{Device: device, LockDir: locks, Mode: p.Mode, Log: p.Log}
	}
	for _, test := range []struct {
		*Serial
		is   error
		text string
	}{
		{like(path, p.LockDir), serial.ErrInUse, "open " + path + ": in use by another process"},
		{like(path, t.TempDir()), serial.ErrInUse, "open " + path + ": in use by another process"},
		{like(path+".none", p.LockDir), fs.ErrNotExist, "open " + path + ".none: no such file or directory"},
		{like(os.DevNull, p.LockDir), nil, "open /dev/null: not a serial line: inappropriate ioctl for device"},
	} {
		if err := test.Check(); !errors.Is(err, test.is) && test.is != nil || err == nil || !strings.HasPrefix(err.Error(), test.text) {
			t.Errorf("%s: %v", test.text, err)
		}
	}
}

// serialLog reads the log of a dialogue.
func serialLog(t *testing.T) {
	p := newPhone(t, quickExchange(), "1", "SAY 'calling\\n' '' \\qATE1S7=1234 OK AT OK \\c")
	p.open(t)
	log := p.log.String()
	for _, want := range []string{
		`level=DEBUG msg=chat device=` + p.Path + ` sent=??????`,
		`level=DEBUG msg=chat device=` + p.Path + ` received=OK`,
		`level=DEBUG msg=chat device=` + p.Path + ` sent="AT\r"`,
		`level=INFO msg=chat device=` + p.Path + ` says=calling` + "\n",
	} {
		if strings.Count(log, want) == 0 {
			t.Errorf("no %s in\n%s", want, log)
		}
	}
	if strings.Contains(log, "1234") {
		t.Errorf("the secret is in\n%s", log)
	}
	if strings.Contains(log, "another speed") {
		t.Error(log)
	}
	p.tellSpeed(117647)
	p.tellSpeed(117647)
	if n := strings.Count(p.log.String(), `level=INFO msg="the driver has set another speed" device=`+p.Path+" wanted=115200 set=117647"); n != 1 {
		t.Errorf("told %d times\n%s", n, p.log)
	}
}
