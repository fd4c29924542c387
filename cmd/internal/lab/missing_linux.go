package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const tunDevice = "/dev/net/tun"

// Missing returns nil when a lab can run here, otherwise an error with one
// line for each thing that is missing and what to do about it.
func Missing() error {
	return errors.Join(probeNamespace(), probeTUN(tunDevice))
}

// probeNamespace does once, in a namespace that is gone afterwards, what
// every lab does.
func probeNamespace() error {
	ns, err := newNamespace(func() error {
		return errors.Join(probeVeth(), probeSysctl())
	})
	if !ns.IsOpen() {
		return missing("network namespaces", err,
			"run as root; a container needs CAP_SYS_ADMIN and CAP_NET_ADMIN (--privileged)")
	}
	return errors.Join(err, ns.Close())
}

func probeVeth() error {
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a"}, PeerName: "b"}
	if err := netlink.LinkAdd(veth); err != nil {
		return missing("veth links", err, "modprobe veth, or a kernel with CONFIG_VETH")
	}
	return nil
}

func probeSysctl() error {
	var errs []error
	for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := writeSysctl(key, "0"); err != nil {
			errs = append(errs, missing(sysctlRoot+key, err,
				"mount /proc/sys read-write (a container needs --privileged), and boot without ipv6.disable=1"))
		}
	}
	return errors.Join(errs...)
}

func probeTUN(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, fs.ErrNotExist):
		return missing(path, err, "modprobe tun, or mkdir -p /dev/net && mknod /dev/net/tun c 10 200")
	case errors.Is(err, fs.ErrPermission):
		return missing(path, err, "run as root; a container needs --device /dev/net/tun")
	default: // ENODEV: the node is there, the driver is not
		return missing(path, err, "modprobe tun, or a kernel with CONFIG_TUN")
	}
}

func missing(what string, err error, remedy string) error {
	return fmt.Errorf("lab needs %s (uid %d: %w): %s", what, os.Geteuid(), err, remedy)
}
