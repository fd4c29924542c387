package serialtest

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Jack is a device with a modem behind it: a pseudo terminal that a link leads to, as
// those in /dev/serial/by-id do. Like a real line it is there without a computer, and
// is raw.
//
// A pseudo terminal has no modem lines. With DTR the modem at least hangs up when
// nobody has the device open any more, as one that sees DTR drop.
type Jack struct {
	Path     string
	DTR      bool
	Exchange *Exchange
	Number   string

	mu    sync.Mutex
	modem *Modem
	cord  *cord
}

// Plug makes the device.
func (j *Jack) Plug() error {
	far, near, err := Terminal()
	if err != nil {
		return err
	}
	c := &cord{far: far, near: near, hungUp: func() {}}
	if err := relink(near.Name(), j.Path); err != nil {
		return errors.Join(err, c.Close())
	}
	if j.DTR {
		near.Close()
		c.hungUp = func() { j.Modem().DropDTR() }
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cord, j.modem = c, j.Exchange.Attach(j.Number, c)
	return nil
}

// Modem returns the modem behind the device.
func (j *Jack) Modem() *Modem {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.modem
}

// Unplug takes the device away.
func (j *Jack) Unplug() error {
	err := os.Remove(j.Path)
	j.Modem().Close()
	return err
}

// Mute has the modem say nothing and hear nothing, as one that has crashed.
func (j *Jack) Mute(mute bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cord.mute.Store(mute)
}

// relink has a link lead to another place, at once.
func relink(target, path string) error {
	return errors.Join(os.Symlink(target, path+".new"), os.Rename(path+".new", path))
}

// Terminal opens both ends of a pseudo terminal that is raw. Close of the far one wakes
// its reader.
func Terminal() (far, near *os.File, err error) {
	far, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	var n int
	err = with(far, func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		}
		return err
	})
	if err == nil {
		near, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	}
	if err == nil {
		err = with(near, makeRaw)
	}
	if err != nil {
		far.Close()
		return nil, nil, err
	}
	return far, near, nil
}

// with calls f with a descriptor, and leaves it as it is.
func with(file *os.File, f func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = conn.Control(func(fd uintptr) { inner = f(int(fd)) })
	return cmp.Or(err, inner)
}

func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// cord is what a modem has of its computer.
type cord struct {
	far, near *os.File
	hungUp    func()
	mute      atomic.Bool
}

// reopenPoll is how often the far end of a pseudo terminal is looked at until
// somebody opens the near one: the kernel does not tell.
const reopenPoll = 10 * time.Millisecond

// Read goes on when the near end is opened again.
func (c *cord) Read(b []byte) (int, error) {
	for told := false; ; {
		n, err := c.far.Read(b)
		switch {
		case err == nil && c.mute.Load():
		case !errors.Is(err, unix.EIO):
			return n, err
		case !told:
			told = true
			c.hungUp()
		default:
			time.Sleep(reopenPoll)
		}
	}
}

// Write forgets what nobody is there to read.
func (c *cord) Write(b []byte) (int, error) {
	if c.mute.Load() || !c.open() {
		return len(b), nil
	}
	return c.far.Write(b)
}

// open reports whether somebody has the near end open.
func (c *cord) open() bool {
	var is []unix.PollFd
	err := with(c.far, func(fd int) error {
		is = []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(is, 0)
		return err
	})
	return err != nil || is[0].Revents&unix.POLLHUP == 0 // a signal is no answer
}

func (c *cord) Close() error { return cmp.Or(c.far.Close(), c.near.Close()) }
