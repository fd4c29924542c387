package lab

import (
	"encoding/binary"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// arrivalSpace is room for the control message with the time of arrival.
const arrivalSpace = 64

// stampArrivals has the kernel note when packets come in: on an idle machine the
// goroutine that reads them runs so much later that the round trip in a fast
// network would be mostly that.
func stampArrivals(conn *net.IPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
	if cerr != nil {
		return cerr
	}
	return err
}

// arrival returns the time in a control message, or now.
func arrival(control []byte) time.Time {
	messages, _ := unix.ParseSocketControlMessage(control)
	for _, m := range messages {
		if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SCM_TIMESTAMPNS {
			continue
		}
		var at unix.Timespec
		if _, err := binary.Decode(m.Data, binary.NativeEndian, &at); err == nil {
			return time.Unix(at.Unix())
		}
	}
	return time.Now()
}
