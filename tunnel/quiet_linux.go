package tunnel

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// outlet is the way into a TCP connection for who must not wait. One goroutine at a
// time may use it.
type outlet struct {
	raw       syscall.RawConn
	look, put func(fd uintptr)
	waiting   int
	b         []byte
	n         int
	err       error
}

// outletOf returns that of a connection, nil if it has none.
func outletOf(conn net.Conn) *outlet {
	s, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	o := &outlet{raw: raw}
	o.look = func(fd uintptr) { o.waiting, o.err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }
	o.put = func(fd uintptr) { o.n, o.err = unix.Write(int(fd), o.b) }
	return o
}

// quiet reports whether all that was written has arrived.
func (o *outlet) quiet() bool { return o.raw.Control(o.look) == nil && o.err == nil && o.waiting == 0 }

// write writes what there is room for at once. A peer that does not read, or whose
// window is small, leaves less room than one frame needs.
func (o *outlet) write(b []byte) (int, error) {
	o.b = b
	err := o.raw.Control(o.put)
	switch o.b = nil; {
	case err != nil:
		return 0, err
	case errors.Is(o.err, unix.EAGAIN), errors.Is(o.err, unix.EINTR):
		return 0, nil
	case o.err != nil:
		return 0, os.NewSyscallError("write", o.err)
	}
	return o.n, nil
}
