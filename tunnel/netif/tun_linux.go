package netif

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

const (
	tunPath    = "/dev/net/tun"
	tunPattern = "vpn%d" // the kernel puts the first free number in
)

// TUN is a TUN device. Packets are read with what the host leaves to do at them, so
// that the segments of a stream need not be cut.
type TUN struct{ tun.Device }

// OpenTUN opens the TUN device with that name, or makes it, and returns its real
// name. With no name the kernel chooses one. The errors are ErrPermission and
// ErrUnavailable.
func OpenTUN(name string) (*TUN, string, error) {
	fd, err := openClone()
	if err != nil {
		return nil, "", err
	}
	if name == "" {
		name = tunPattern
	}
	if err := attach(fd, name); err != nil {
		unix.Close(fd)
		return nil, "", err
	}
	// The monitored kind of device sets the MTU, which an ordinary user may
	// not, and listens for events that nobody here wants.
	dev, real, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		return nil, "", fmt.Errorf("open TUN device %s: %w", name, err)
	}
	// The library also asks for datagrams that are still together. Not every kernel
	// takes these, that of the peer for example.
	if err := setOffload(dev.File()); err != nil {
		dev.Close()
		return nil, "", fmt.Errorf("open TUN device %s: %w", name, err)
	}
	return &TUN{dev}, real, nil
}

// setOffload tells the kernel what it may leave to the reader: checksums, and to cut
// TCP segments.
func setOffload(device *os.File) error {
	raw, err := device.SyscallConn()
	if err != nil {
		return err
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		refused = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6)
	})
	return errors.Join(err, refused)
}

// Read reads one packet of the host behind its virtio_net_hdr. A descriptor whose
// device was deleted counts as closed.
func (t *TUN) Read(b []byte) (int, error) {
	n, err := t.File().Read(b)
	return n, closed(err)
}

// WriteWhole writes one packet behind its virtio_net_hdr.
func (t *TUN) WriteWhole(b []byte) error {
	_, err := t.File().Write(b)
	return closed(err)
}

func closed(err error) error {
	if errors.Is(err, unix.EBADFD) {
		return os.ErrClosed
	}
	return err
}

func openClone() (int, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", tunPath, explainClone(err))
	}
	return fd, nil
}

func explainClone(err error) error {
	switch {
	case is(err, unix.ENOENT, unix.ENODEV, unix.ENXIO):
		return fmt.Errorf("%w: %w: the kernel has no TUN driver, try modprobe tun", ErrUnavailable, err)
	case is(err, unix.EACCES, unix.EPERM):
		return fmt.Errorf("%w: %w: let root allow it: chmod 0666 %s", ErrPermission, err, tunPath)
	}
	return err
}

// attach connects the descriptor with the device.
func attach(fd int, name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("open TUN device %s: %w: the name is longer than %d bytes", name, ErrUnavailable, unix.IFNAMSIZ-1)
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("open TUN device %s: %w", strings.Replace(name, "%d", "N", 1), explainAttach(name, err))
	}
	return nil
}

// explainAttach says what is missing. The kernel gives the same few numbers for
// many reasons.
func explainAttach(name string, err error) error {
	existing, lookErr := netlink.LinkByName(name)
	exists := lookErr == nil
	switch {
	case is(err, unix.EBUSY):
		return fmt.Errorf("%w: %w: another process has it open", ErrUnavailable, err)
	case is(err, unix.EPERM) && exists:
		return fmt.Errorf("%w: %w: it belongs to another user and CAP_NET_ADMIN is missing", ErrPermission, err)
	case is(err, unix.EPERM):
		name = strings.Replace(name, "%d", "0", 1)
		return fmt.Errorf("%w: %w: CAP_NET_ADMIN is missing: run as root, or let root make a device for you: ip tuntap add dev %s mode tun user %d",
			ErrPermission, err, name, unix.Geteuid())
	case is(err, unix.EINVAL) && exists:
		return fmt.Errorf("%w: %w: %s", ErrUnavailable, err, misfit(existing))
	case is(err, unix.EINVAL):
		return fmt.Errorf("%w: %w: not a name for an interface", ErrUnavailable, err)
	}
	return err
}

// misfit says why an existing interface cannot be used.
func misfit(l netlink.Link) string {
	t, ok := l.(*netlink.Tuntap)
	switch {
	case !ok:
		return fmt.Sprintf("the interface is of type %s, not a TUN device", l.Type())
	case t.Mode == netlink.TUNTAP_MODE_TAP:
		return "it is a TAP device, not a TUN device"
	default:
		return "it was made with other flags, such as multi_queue"
	}
}
