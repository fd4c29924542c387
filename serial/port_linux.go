//go:build !ppc && !ppc64 && !ppc64le

package serial

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Port is an open line. Its methods may be called by several goroutines; Close
// wakes those that read or write.
type Port struct {
	tty    *os.File
	driver driver
	lock   *lockFile
	old    *unix.Termios // nil until the line is ours
	speed  int
	close  sync.Once
	closed error
}

// Open opens the line at a path, which may be a link. lockDir is where UUCP lock
// files are, as a rule /run/lock; without such a directory there is none.
func Open(path, lockDir string, mode Mode) (*Port, error) {
	device, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	lock, err := takeLock(lockDir, device)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// O_NONBLOCK: not to wait for a carrier, and for deadlines.
	tty, err := os.OpenFile(device, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		lock.release()
		return nil, openError(path, err)
	}
	p := &Port{tty: tty, lock: lock, driver: driver{kernel{tty}}}
	if err := p.prepare(mode); err != nil {
		p.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return p, nil
}

func openError(path string, err error) error {
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	if errors.Is(err, unix.EBUSY) {
		err = fmt.Errorf("%w by another process", ErrInUse)
	}
	return fmt.Errorf("open %s: %w", path, err)
}

// prepare makes the line ours and sets it.
func (p *Port) prepare(mode Mode) error {
	old, err := p.driver.termios()
	if err != nil {
		return fmt.Errorf("not a serial line: %w", err)
	}
	if err := flock(p.tty); err != nil {
		return err
	}
	if err := p.driver.exclusive(true); err != nil {
		return fmt.Errorf("take it alone: %w", err)
	}
	p.old = &old
	return p.Set(mode)
}

func flock(f *os.File) error {
	err := control(f, func(fd uintptr) error { return unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w by another process", ErrInUse)
	}
	return err
}

// Set changes how the line is set, at once.
func (p *Port) Set(mode Mode) error {
	t, err := p.driver.termios()
	if err != nil {
		return err
	}
	raw(&t, mode)
	if err := p.driver.setTermios(&t); err != nil {
		return fmt.Errorf("%w: %d bit/s: %w", ErrMode, mode.Speed, err)
	}
	if t, err = p.driver.termios(); err != nil {
		return err
	}
	if p.speed = int(t.Ospeed); !near(p.speed, mode.Speed) {
		return fmt.Errorf("%w: %d bit/s: the driver offers %d", ErrMode, mode.Speed, p.speed)
	}
	if mode.RTSCTS && t.Cflag&unix.CRTSCTS == 0 {
		return fmt.Errorf("%w: RTS/CTS", ErrMode)
	}
	if mode.RS485 == nil {
		return nil
	}
	if err := p.driver.setRS485(*mode.RS485); err != nil {
		return fmt.Errorf("%w: RS-485: %w", ErrMode, err)
	}
	return nil
}

// near reports whether a UART that is set to one speed understands one that is
// set to the other: both together may be off by half a bit in ten.
func near(have, want int) bool { return 100*max(have-want, want-have) <= 3*want }

// raw sets everything that a termios says.
func raw(t *unix.Termios, mode Mode) {
	t.Iflag = unix.IGNBRK | unix.IGNPAR
	t.Oflag, t.Lflag = 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.HUPCL | unix.BOTHER
	if mode.Local {
		t.Cflag = t.Cflag&^unix.HUPCL | unix.CLOCAL
	}
	if mode.RTSCTS {
		t.Cflag |= unix.CRTSCTS
	}
	t.Ispeed, t.Ospeed = uint32(mode.Speed), uint32(mode.Speed)
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

// Speed returns the bit rate that the driver really set.
func (p *Port) Speed() int { return p.speed }

// Read returns at least one byte. Its errors are ErrCarrierLost,
// os.ErrDeadlineExceeded and os.ErrClosed.
func (p *Port) Read(b []byte) (int, error) {
	n, err := p.tty.Read(b)
	return n, lineError(err)
}

// Write waits until the driver has taken all bytes, which is before they are
// sent. Its errors are those of Read.
func (p *Port) Write(b []byte) (int, error) {
	n, err := p.tty.Write(b)
	return n, lineError(err)
}

// lineError finds out a hang-up: the driver reports it as the end of the file.
func lineError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ENODEV) {
		return ErrCarrierLost
	}
	return err
}

// SetDeadline bounds Read and Write.
func (p *Port) SetDeadline(t time.Time) error { return p.tty.SetDeadline(t) }

// SetReadDeadline bounds Read.
func (p *Port) SetReadDeadline(t time.Time) error { return p.tty.SetReadDeadline(t) }

// SetWriteDeadline bounds Write.
func (p *Port) SetWriteDeadline(t time.Time) error { return p.tty.SetWriteDeadline(t) }

// Close puts the old settings back and lets go of the line. What the driver has
// not sent by then is lost.
func (p *Port) Close() error {
	p.close.Do(func() {
		if p.old != nil {
			p.driver.flush() // a line that flow control has stopped would hold Close up
			p.driver.setTermios(p.old)
			p.driver.exclusive(false)
		}
		p.closed = p.tty.Close()
		p.lock.release()
	})
	return p.closed
}

// Waiting returns how many written bytes the driver has not sent.
func (p *Port) Waiting() (int, error) { return p.driver.integer(unix.TIOCOUTQ) }

// Carrier reports whether the modem, or the other end of a cable, holds the
// carrier line.
func (p *Port) Carrier() (bool, error) {
	lines, err := p.driver.integer(unix.TIOCMGET)
	return lines&unix.TIOCM_CD != 0, err
}

// SetDTR holds or drops the line that tells a modem whether to stay on.
func (p *Port) SetDTR(on bool) error {
	request := uint(unix.TIOCMBIC)
	if on {
		request = unix.TIOCMBIS
	}
	return p.driver.setInteger(request, unix.TIOCM_DTR)
}

// Flush forgets what was read and written but not yet taken or sent.
func (p *Port) Flush() error { return p.driver.flush() }

// SendBreak holds the line in the BREAK state for a quarter to half a second.
func (p *Port) SendBreak() error { return p.driver.sendBreak() }

// Counters returns what the UART has seen go wrong; false when the driver does
// not count.
func (p *Port) Counters() (Counters, bool) { return p.driver.counters() }
