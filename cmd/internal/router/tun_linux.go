package router

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openTUN makes a TUN device in the namespace of the thread. It goes with the file,
// of which each read and write is one packet. None is larger than the MTU: the kernel
// has cut and summed up what it had left to hardware.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make TUN device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil // in the poller, so that Close ends a Read
}
