package tunnel

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// quiet returns a function that reports whether all that was written to a TCP
// connection has arrived, nil if nobody knows. One goroutine at a time may call it.
func quiet(conn net.Conn) func() bool {
	s, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	var waiting int
	look := func(fd uintptr) { waiting, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }
	return func() bool { return raw.Control(look) == nil && err == nil && waiting == 0 }
}
