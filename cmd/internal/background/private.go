package background

import (
	"net"
	"syscall"
)

// ListenPrivate listens at a UNIX socket that it makes, mode 0600 from its first moment.
func ListenPrivate(path string) (*net.UnixListener, error) {
	defer syscall.Umask(syscall.Umask(0o177))
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}
