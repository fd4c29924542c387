package netif

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestOpenTUNNames(t *testing.T) {
	n := newNamespace(t)
	for _, name := range []string{"vpn0", "vpn1"} {
		dev, real, err := OpenTUN("")
		check(t, err)
		defer dev.Close()
		if real != name {
			t.Errorf("the kernel chose %s, want %s", real, name)
		}
	}
	dev, real, err := OpenTUN("given")
	check(t, err)
	if got, err := dev.Name(); real != "given" || got != "given" || err != nil {
		t.Errorf("name %s, device says %s %v", real, got, err)
	}
	check(t, dev.Close())
	if _, ok := n.host().named("given"); ok {
		t.Error("the device outlives its daemon")
	}
}

// TestOpenTUNWorks sends a packet through the host and reads it again.
func TestOpenTUNWorks(t *testing.T) {
	n := newNamespace(t)
	dev := n.openTUN("vpn0")
	n.edit("link vpn0 1500 up\naddr vpn0 10.0.0.1/24\n")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(fd)
	check(t, unix.Sendto(fd, []byte("hello"), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{10, 0, 0, 2}}))
	for b := make([]byte, 2000); ; {
		k, err := dev.Read(b)
		check(t, err)
		if strings.HasSuffix(string(b[:k]), "hello") {
			check(t, dev.WriteWhole(b[:k]))
			break
		}
	}
	check(t, dev.Close())
	if _, err := dev.Read(make([]byte, 2000)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read of a closed device: %v", err)
	}
	if err := dev.WriteWhole(make([]byte, 100)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write to a closed device: %v", err)
	}
}

// TestOpenTUNSegments sees what the host hands over uncut: segments of TCP, and no
// datagrams, which not every kernel of a peer would take.
func TestOpenTUNSegments(t *testing.T) {
	n := newNamespace(t)
	dev := n.openTUN("vpn0")
	n.edit("link vpn0 1500 up\naddr vpn0 10.0.0.1/24\n")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(fd)
	check(t, unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000))
	check(t, unix.Sendto(fd, make([]byte, 4500), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{10, 0, 0, 2}}))
	const header, ip, udp, protocolUDP = 10, 20, 8, 17
	var sizes []int
	for b := make([]byte, 70000); len(sizes) < 5; {
		k, err := dev.Read(b)
		check(t, err)
		if p := b[header:k]; p[0]>>4 == 4 && p[9] == protocolUDP { // the host says other things as well
			if kind := b[1]; kind != unix.VIRTIO_NET_HDR_GSO_NONE {
				t.Fatalf("datagrams of kind %d, %d bytes in all", kind, len(p))
			}
			sizes = append(sizes, len(p)-ip-udp)
		}
	}
	if want := []int{1000, 1000, 1000, 1000, 500}; !slices.Equal(sizes, want) {
		t.Errorf("datagrams of %v bytes, want %v", sizes, want)
	}
}

func TestOpenTUNErrors(t *testing.T) {
	n := newNamespace(t)
	n.edit("link eth0 1500 up\n")
	n.openTUN("busy")
	n.persistent("tap", netlink.TUNTAP_MODE_TAP, netlink.TUNTAP_NO_PI)
	n.persistent("queues", netlink.TUNTAP_MODE_TUN, netlink.TUNTAP_NO_PI|netlink.TUNTAP_MULTI_QUEUE)
	for _, c := range []struct{ name, dev, text string }{
		{"busy", "busy", "another process has it open"},
		{"not tun", "eth0", "the interface is of type veth, not a TUN device"},
		{"tap", "tap", "it is a TAP device"},
		{"multi queue", "queues", "multi_queue"},
		{"too long", "sixteen-letters-", "longer than 15 bytes"},
		{"slash", "a/b", "not a name for an interface"},
	} {
		dev, _, err := OpenTUN(c.dev)
		if err == nil {
			dev.Close()
		}
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), c.dev) {
			t.Errorf("%s: error %v, want one that says %q", c.name, err, c.text)
		}
	}
}

// TestOpenTUNUnprivileged opens /dev/net/tun as root, because its mode differs
// from host to host, and goes on as an ordinary user.
func TestOpenTUNUnprivileged(t *testing.T) {
	n := newNamespace(t)
	n.persistent("mine", netlink.TUNTAP_MODE_TUN, netlink.TUNTAP_NO_PI)
	n.check(n.nl.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "roots"}, Mode: netlink.TUNTAP_MODE_TUN, Owner: 1}))
	for _, c := range []struct{ dev, text string }{
		{"mine", ""},
		{"roots", "it belongs to another user and CAP_NET_ADMIN is missing"},
		{"none", "ip tuntap add dev none mode tun user 65534"},
		{tunPattern, "ip tuntap add dev vpn0 mode tun user 65534"},
	} {
		fd, err := openClone()
		check(t, err)
		asNobody(t, func() { err = attach(fd, c.dev) })
		switch {
		case c.text == "":
			check(t, err)
		case !errors.Is(err, ErrPermission) || errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), c.text):
			t.Errorf("%s: error %v, want one that says %q", c.dev, err, c.text)
		}
		unix.Close(fd)
	}
}

func TestOpenCloneErrors(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{
		unix.ENOENT: ErrUnavailable,
		unix.ENODEV: ErrUnavailable,
		unix.EACCES: ErrPermission,
		unix.EPERM:  ErrPermission,
	} {
		if err := explainClone(errno); !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}
