package link

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentBytes is how much of what was written may wait in the kernel for its turn: more
// would only be late.
const unsentBytes = 128 << 10

func (o Options) set(c syscall.RawConn, ipv6 bool) error {
	var err error
	set := func(fd uintptr, what string, level, option, value int) {
		if value == 0 || err != nil {
			return
		}
		if e := unix.SetsockoptInt(int(fd), level, option, value); e != nil {
			err = fmt.Errorf("set %s: %w", what, e)
		}
	}
	cerr := c.Control(func(fd uintptr) {
		set(fd, "TCP_NOTSENT_LOWAT", unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
		if ipv6 {
			set(fd, "IPV6_TCLASS", unix.IPPROTO_IPV6, unix.IPV6_TCLASS, o.TOS)
		} else {
			set(fd, "IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, o.TOS)
		}
		// After IP_TOS, which sets a priority of its own.
		set(fd, "SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, o.Priority)
	})
	if cerr != nil {
		return cerr
	}
	return err
}

// reuseAddress lets a fixed port be taken again at once after a connection from
// it ended.
func reuseAddress(c syscall.RawConn, fixed bool) error {
	if !fixed {
		return nil
	}
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	})
	if cerr != nil {
		return cerr
	}
	return err
}
