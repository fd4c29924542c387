//go:build !ppc && !ppc64 && !ppc64le

package serial

import (
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctler does what a tty driver is asked for. A test can stand in for hardware.
type ioctler interface {
	ioctl(request uint, arg unsafe.Pointer) error
	ioctlValue(request uint, value uintptr) error
}

// kernel is the true driver behind a tty.
type kernel struct{ *os.File }

func (k kernel) ioctl(request uint, arg unsafe.Pointer) error {
	return control(k.File, func(fd uintptr) error {
		return errno(unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(arg)))
	})
}

func (k kernel) ioctlValue(request uint, value uintptr) error {
	return control(k.File, func(fd uintptr) error {
		return errno(unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), value))
	})
}

func errno(_, _ uintptr, e unix.Errno) error {
	if e != 0 {
		return e
	}
	return nil
}

// control calls f with a descriptor that stays open meanwhile.
func control(f *os.File, do func(fd uintptr) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = do(fd) }); err != nil {
		return err
	}
	return inner
}

// driver is an ioctler with names for its requests.
type driver struct{ ioctler }

func (d driver) termios() (t unix.Termios, err error) {
	err = d.ioctl(unix.TCGETS2, unsafe.Pointer(&t))
	return t, err
}

func (d driver) setTermios(t *unix.Termios) error { return d.ioctl(unix.TCSETS2, unsafe.Pointer(t)) }

func (d driver) integer(request uint) (int, error) {
	var n int32
	err := d.ioctl(request, unsafe.Pointer(&n))
	return int(n), err
}

func (d driver) setInteger(request uint, n int32) error { return d.ioctl(request, unsafe.Pointer(&n)) }

func (d driver) exclusive(on bool) error {
	if on {
		return d.ioctlValue(unix.TIOCEXCL, 0)
	}
	return d.ioctlValue(unix.TIOCNXCL, 0)
}

func (d driver) flush() error     { return d.ioctlValue(unix.TCFLSH, unix.TCIOFLUSH) }
func (d driver) sendBreak() error { return d.ioctlValue(unix.TCSBRK, 0) }

// icounter is struct serial_icounter_struct of the kernel.
type icounter struct {
	cts, dsr, rng, dcd                              int32
	rx, tx, frame, overrun, parity, brk, bufOverrun int32
	_                                               [9]int32
}

func (d driver) counters() (Counters, bool) {
	var c icounter
	if d.ioctl(unix.TIOCGICOUNT, unsafe.Pointer(&c)) != nil {
		return Counters{}, false
	}
	return Counters{
		Overrun: int(c.overrun), Framing: int(c.frame), Parity: int(c.parity),
		Break: int(c.brk), Overflow: int(c.bufOverrun),
	}, true
}

// rs485 is struct serial_rs485 of the kernel.
type rs485 struct {
	flags, before, after uint32 // ms
	_                    [5]uint32
}

const (
	rs485Enabled   = 1 << 0
	rs485RTSOnSend = 1 << 1
)

func (d driver) rs485() (s rs485, err error) {
	err = d.ioctl(unix.TIOCGRS485, unsafe.Pointer(&s))
	return s, err
}

func (d driver) putRS485(s *rs485) error { return d.ioctl(unix.TIOCSRS485, unsafe.Pointer(s)) }

// setRS485 turns the direction by RTS on. The driver answers with what it can do of
// that.
func (d driver) setRS485(r RS485) error {
	s := rs485{
		flags:  rs485Enabled | rs485RTSOnSend,
		before: uint32(r.Before / time.Millisecond),
		after:  uint32(r.After / time.Millisecond),
	}
	if err := d.putRS485(&s); err != nil {
		return err
	}
	if s.flags&rs485Enabled == 0 {
		return errors.New("the driver leaves it off")
	}
	return nil
}
