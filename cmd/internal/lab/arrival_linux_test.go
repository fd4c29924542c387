package lab

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestArrival reads packets later than they come, and learns when they came.
func TestArrival(t *testing.T) {
	n := newNamespaceIn(t, newLab(t), "a")
	var in, out *net.IPConn
	loopback := &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)}
	check(t, n.Do(func() (err error) {
		if in, err = net.ListenIP("ip4:253", loopback); err == nil {
			out, err = net.DialIP("ip4:253", nil, loopback)
		}
		return err
	}))
	defer in.Close()
	defer out.Close()
	check(t, stampArrivals(in))
	// The kernel begins to note times a little after it is asked to.
	check(t, poll(timeout(t), func() error {
		sent := time.Now()
		if _, err := out.Write([]byte("packet")); err != nil {
			return err
		}
		check(t, readable(in))
		before := time.Now()
		buf, control := make([]byte, maxPacket), make([]byte, arrivalSpace)
		_, m, _, _, err := in.ReadMsgIP(buf, control)
		check(t, err)
		if at := arrival(control[:m]); at.Before(sent.Round(0)) || at.After(before.Round(0)) {
			return errors.New("it came when it was read")
		}
		return nil
	}))
	before := time.Now()
	if at := arrival(nil); at.Before(before) {
		t.Errorf("without a time it came at %v, before %v", at, before)
	}
}

// readable waits until there is a packet to read.
func readable(conn *net.IPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for err = unix.EINTR; err == unix.EINTR; {
			_, err = unix.Poll(fds, -1)
		}
	})
	return errors.Join(cerr, err)
}
