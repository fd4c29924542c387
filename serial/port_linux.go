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
	bus    *rs485        // as it was before Set changed it; nil: it did not
	speed  int
	close  sync.Once
	closed error
}

// Open opens the line at a path, which may be a link. lockDir is where UUCP lock
// files are, as a rule /run/lock; without such a directory there is none.
func Open(path, lockDir string, mode Mode) (*Port, error) {
	device, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, openError(path, err)
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
	if errors.Is(err, unix.EIO) {
		return fmt.Errorf("no hardware there: %w", err)
	}
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
		return lineError(err)
	}
	raw(&t, mode)
	if err := p.driver.setTermios(&t); err != nil {
		return notPossible(fmt.Sprint(mode.Speed, " bit/s"), err)
	}
	if t, err = p.driver.termios(); err != nil {
		return lineError(err)
	}
	if p.speed = int(t.Ospeed); !near(p.speed, mode.Speed) {
		return fmt.Errorf("%w: %d bit/s: the driver offers %d", ErrMode, mode.Speed, p.speed)
	}
	if mode.RS485 != nil {
		return p.setBus(*mode.RS485)
	}
	if mode.RTSCTS && t.Cflag&unix.CRTSCTS == 0 {
		return fmt.Errorf("%w: RTS/CTS", ErrMode)
	}
	return nil
}

// notPossible is ErrMode, if it is not the line that is gone.
func notPossible(what string, err error) error {
	if err := lineError(err); errors.Is(err, ErrCarrierLost) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrMode, what, err)
}

func (p *Port) setBus(mode RS485) error {
	old, err := p.driver.rs485()
	if err == nil {
		if p.bus == nil {
			p.bus = &old
		}
		err = p.driver.setRS485(mode)
	}
	if err != nil {
		return notPossible("RS-485", err)
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
		t.Cflag &^= unix.HUPCL
	}
	if mode.Local || mode.AnyCarrier {
		t.Cflag |= unix.CLOCAL
	}
	if mode.RTSCTS && mode.RS485 == nil {
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

// Drain waits until the driver has sent what was written, and reports whether it did
// so in time.
func (p *Port) Drain(limit time.Duration) bool {
	for end := time.Now().Add(limit); ; time.Sleep(drainPoll) {
		n, err := p.Waiting()
		if n == 0 || err != nil || time.Now().After(end) {
			return n == 0 && err == nil
		}
	}
}

const (
	drainPoll = 5 * time.Millisecond
	// closeTime is how long Close waits for what was written last.
	closeTime = 500 * time.Millisecond
	// breakTime is how long a BREAK waits for what was written before.
	breakTime = 2 * time.Second
)

// SetDeadline bounds Read and Write.
func (p *Port) SetDeadline(t time.Time) error { return p.tty.SetDeadline(t) }

// SetWriteDeadline bounds Write.
func (p *Port) SetWriteDeadline(t time.Time) error { return p.tty.SetWriteDeadline(t) }

// Close puts the old settings back and lets go of the line. What the driver does not
// send within half a second is lost.
func (p *Port) Close() error {
	p.close.Do(func() {
		if p.old != nil {
			p.tty.SetWriteDeadline(time.Unix(1, 0)) // who still writes would fill it again
			if !p.Drain(closeTime) {
				p.driver.flush() // a line that flow control has stopped would hold Close up
			}
			p.restore()
			p.driver.exclusive(false)
		}
		p.closed = p.tty.Close()
		p.lock.release()
	})
	return p.closed
}

// restore puts the old settings back. A line that was hung up has none any more.
func (p *Port) restore() {
	if p.bus != nil {
		p.driver.putRS485(p.bus)
	}
	p.driver.setTermios(p.old)
}

// Waiting returns how many written bytes the driver has not sent.
func (p *Port) Waiting() (int, error) { return p.driver.integer(unix.TIOCOUTQ) }

// Carrier reports whether the modem, or the other end of a cable, holds the
// carrier line. Its error is errors.ErrUnsupported where the driver knows no modem
// lines, as that of a pseudo terminal.
func (p *Port) Carrier() (bool, error) {
	lines, err := p.driver.integer(unix.TIOCMGET)
	return lines&unix.TIOCM_CD != 0, linesError(err)
}

// SetDTR holds or drops the line that tells a modem whether to stay on. Its error is
// that of Carrier.
func (p *Port) SetDTR(on bool) error {
	request := uint(unix.TIOCMBIC)
	if on {
		request = unix.TIOCMBIS
	}
	return linesError(p.driver.setInteger(request, unix.TIOCM_DTR))
}

func linesError(err error) error {
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("modem lines: %w", errors.ErrUnsupported)
	}
	return lineError(err)
}

// Flush forgets what was read and written but not yet taken or sent.
func (p *Port) Flush() error { return p.driver.flush() }

// SendBreak holds the line in the BREAK state for a quarter to half a second. Its
// error is os.ErrDeadlineExceeded when the driver does not get rid of what was
// written before: it would wait for that, and nothing could wake it.
func (p *Port) SendBreak() error {
	if n, err := p.Waiting(); err == nil && n > 0 && !p.Drain(breakTime) {
		return os.ErrDeadlineExceeded
	}
	return lineError(p.driver.sendBreak())
}

// Counters returns what the UART has seen go wrong; false when the driver does
// not count.
func (p *Port) Counters() (Counters, bool) { return p.driver.counters() }
