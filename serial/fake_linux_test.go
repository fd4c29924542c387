//go:build !ppc && !ppc64 && !ppc64le

package serial

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fakeUART stands in for the ioctls of hardware that pseudo terminals do not have:
// modem lines, counters, RS-485, and a clock that cannot make every speed.
type fakeUART struct {
	set     unix.Termios
	lines   int32
	waiting int32
	count   *icounter // nil: the driver does not count
	rs485   *rs485    // nil: the driver has none
	no485   bool      // the driver takes RS-485 and leaves it off
	divides uint32    // the fastest speed; others are that by a whole number
	noFlow  bool      // no RTS/CTS
	flushes int
	breaks  int
}

func (f *fakeUART) ioctl(request uint, arg unsafe.Pointer) error {
	switch request {
	case unix.TCGETS2:
		*(*unix.Termios)(arg) = f.set
	case unix.TCSETS2:
		f.set = *(*unix.Termios)(arg)
		if f.set.Ospeed == 0 {
			return unix.EINVAL
		}
		f.set.Ospeed = f.divides / max(1, f.divides/f.set.Ospeed)
		if f.noFlow {
			f.set.Cflag &^= unix.CRTSCTS
		}
	case unix.TIOCMGET:
		*(*int32)(arg) = f.lines
	case unix.TIOCMBIS:
		f.lines |= *(*int32)(arg)
	case unix.TIOCMBIC:
		f.lines &^= *(*int32)(arg)
	case unix.TIOCOUTQ:
		*(*int32)(arg) = f.waiting
	case unix.TIOCGICOUNT:
		if f.count == nil {
			return unix.EINVAL
		}
		*(*icounter)(arg) = *f.count
	case unix.TIOCSRS485:
		if f.rs485 == nil {
			return unix.ENOTTY
		}
		if f.no485 {
			(*rs485)(arg).flags = 0
		}
		*f.rs485 = *(*rs485)(arg)
	case unix.TIOCGRS485:
		if f.rs485 == nil {
			return unix.ENOTTY
		}
		*(*rs485)(arg) = *f.rs485
	default:
		return unix.ENOTTY
	}
	return nil
}

func (f *fakeUART) ioctlValue(request uint, value uintptr) error {
	switch {
	case request == unix.TCFLSH && value == unix.TCIOFLUSH:
		f.flushes++
	case request == unix.TIOCNXCL:
	case request == unix.TCSBRK && value == 0:
		f.breaks++
	default:
		return unix.ENOTTY
	}
	return nil
}

func TestFakeSpeeds(t *testing.T) {
	for _, test := range []struct{ want, have int }{
		{9600, 9600}, {115200, 115200}, {921600, 921600}, {38000, 38400}, {31250, 31779}, // MIDI, 1.7 % off
		{700000, 0}, {3000000, 0}, {0, 0},
	} {
		p := &Port{driver: driver{&fakeUART{divides: 921600}}}
		err := p.Set(Mode{Speed: test.want})
		switch {
		case test.have == 0 && !errors.Is(err, ErrMode):
			t.Errorf("%d: %v, error %v", test.want, p.Speed(), err)
		case test.have != 0 && (err != nil || p.Speed() != test.have):
			t.Errorf("%d: %v, error %v", test.want, p.Speed(), err)
		}
	}
	p := &Port{driver: driver{&fakeUART{divides: 921600}}}
	if err := p.Set(Mode{Speed: 3000000}); err == nil || err.Error() != "not possible on this line: 3000000 bit/s: the driver offers 921600" {
		t.Error(err)
	}
}

func TestFakeFlowControl(t *testing.T) {
	p := &Port{driver: driver{&fakeUART{divides: 9600, noFlow: true}}}
	if err := p.Set(Mode{Speed: 9600, RTSCTS: true}); !errors.Is(err, ErrMode) {
		t.Error(err)
	}
	if err := p.Set(Mode{Speed: 9600}); err != nil {
		t.Error(err)
	}
}

func TestFakeRS485(t *testing.T) {
	before := rs485{flags: 4, after: 1}
	f := &fakeUART{divides: 9600, rs485: &before}
	p := fakePort(t, f)
	mode := Mode{Speed: 9600, RTSCTS: true, RS485: &RS485{Before: 2 * time.Millisecond, After: 5 * time.Millisecond}}
	for range 2 {
		if err := p.Set(mode); err != nil {
			t.Fatal(err)
		}
		if want := (rs485{flags: 3, before: 2, after: 5}); *f.rs485 != want {
			t.Errorf("driver was told %+v", *f.rs485)
		}
		if f.set.Cflag&unix.CRTSCTS != 0 {
			t.Error("RTS is flow control and direction at once")
		}
	}
	p.Close()
	if want := (rs485{flags: 4, after: 1}); *f.rs485 != want {
		t.Errorf("left as %+v", *f.rs485)
	}
	f.no485 = true
	if err := p.Set(mode); !errors.Is(err, ErrMode) || !strings.Contains(err.Error(), "RS-485: the driver leaves it off") {
		t.Error(err)
	}
	f.rs485 = nil
	if err := p.Set(mode); !errors.Is(err, ErrMode) || !strings.Contains(err.Error(), "RS-485") {
		t.Error(err)
	}
}

// fakePort is an open port whose driver is a fake.
func fakePort(t *testing.T, f *fakeUART) *Port {
	t.Helper()
	tty, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	p := &Port{tty: tty, driver: driver{f}, old: &unix.Termios{Ospeed: 1200}}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestFakeStandstill has a line whose flow control has stopped it for good.
func TestFakeStandstill(t *testing.T) {
	f := &fakeUART{divides: 9600, waiting: 77}
	p := fakePort(t, f)
	begin := time.Now()
	if err := p.SendBreak(); !errors.Is(err, os.ErrDeadlineExceeded) || f.breaks != 0 {
		t.Errorf("break: %v", err)
	}
	if took := time.Since(begin); took < breakTime {
		t.Errorf("break gives up after %v", took)
	}
	if p.Drain(time.Millisecond) {
		t.Error("drained")
	}
	if err := p.Close(); err != nil || f.flushes != 1 || f.set.Ospeed != 1200 {
		t.Errorf("close: %v, %+v", err, f)
	}
	f = &fakeUART{divides: 9600}
	if p := fakePort(t, f); !p.Drain(time.Hour) || p.Close() != nil || f.flushes != 0 {
		t.Error("what was sent is thrown away")
	}
}

func TestFakeModemLines(t *testing.T) {
	f := &fakeUART{lines: unix.TIOCM_CD | unix.TIOCM_DTR | unix.TIOCM_RTS, waiting: 77}
	p := &Port{driver: driver{f}}
	if on, err := p.Carrier(); !on || err != nil {
		t.Error(on, err)
	}
	if err := p.SetDTR(false); err != nil || f.lines != unix.TIOCM_CD|unix.TIOCM_RTS {
		t.Error(err, f.lines)
	}
	f.lines = 0
	if on, err := p.Carrier(); on || err != nil {
		t.Error(on, err)
	}
	if err := p.SetDTR(true); err != nil || f.lines != unix.TIOCM_DTR {
		t.Error(err, f.lines)
	}
	if n, err := p.Waiting(); n != 77 || err != nil {
		t.Error(n, err)
	}
	f.waiting = 0
	if err := errors.Join(p.SendBreak(), p.Flush()); err != nil || f.breaks != 1 || f.flushes != 1 {
		t.Error(err, f)
	}
}

func TestFakeCounters(t *testing.T) {
	f := &fakeUART{}
	p := &Port{driver: driver{f}}
	if c, ok := p.Counters(); ok {
		t.Error("counted", c)
	}
	f.count = &icounter{rx: 9, tx: 8, frame: 1, overrun: 2, parity: 3, brk: 4, bufOverrun: 5}
	if c, ok := p.Counters(); !ok || c != (Counters{Overrun: 2, Framing: 1, Parity: 3, Break: 4, Overflow: 5}) {
		t.Errorf("%+v, %v", c, ok)
	}
}
