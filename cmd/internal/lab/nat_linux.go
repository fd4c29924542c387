package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	natDevice = "nat0"
	natTable  = 101
	natBuffer = 1 << 16
)

// NAT makes a namespace a router that hides one host behind a public address: what that
// host begins over TCP and UDP comes and goes, and nothing else gets in, IPv4 only.
// inside is the link of the namespace to the host, inner the host's address. The world
// outside has to send packets for public to this namespace. Ports stay as they are.
func (n *Namespace) NAT(inside string, inner, public netip.Addr) error {
	t := &nat{inner: inner, public: public, flows: make(map[natFlow]bool)}
	if err := n.Do(func() error { return t.open(inside) }); err != nil {
		return fmt.Errorf("NAT in %s: %w", n.name, err)
	}
	var running sync.WaitGroup
	running.Go(t.run)
	n.lab.onClose(func() error {
		err := t.tun.Close()
		running.Wait()
		return err
	})
	return errors.Join(n.Sysctl("ipv4/conf/"+natDevice+"/rp_filter", "0"), n.Sysctl("ipv4/conf/all/rp_filter", "0"), n.Forward(true))
}

// nat is one such router. What the host sends, and what comes for the public address, is
// routed to a TUN device, and goes on from there with another address.
type nat struct {
	inner, public netip.Addr
	tun           *os.File
	flows         map[natFlow]bool
}

// natFlow is what the host began.
type natFlow struct {
	protocol byte
	port     uint16 // of the host
	peer     netip.AddrPort
}

func (t *nat) open(inside string) (err error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	req, err := unix.NewIfreq(natDevice)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	t.tun = os.NewFile(uintptr(fd), natDevice) // in the poller, so that Close ends a Read
	if err == nil {
		err = t.route(inside)
	}
	if err != nil {
		return errors.Join(err, t.tun.Close())
	}
	return nil
}

// route leads to the device what the host sends, and what comes for the public address.
func (t *nat) route(inside string) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	l, err := h.LinkByName(natDevice)
	if err != nil {
		return err
	}
	everything := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	rule := netlink.NewRule()
	rule.Family, rule.IifName, rule.Table, rule.Priority = unix.AF_INET, inside, natTable, natTable
	index := l.Attrs().Index
	return errors.Join(
		h.LinkSetUp(l),
		h.RouteAdd(&netlink.Route{LinkIndex: index, Dst: everything, Table: natTable, Scope: netlink.SCOPE_LINK}),
		h.RouteAdd(&netlink.Route{LinkIndex: index, Dst: netlink.NewIPNet(t.public.AsSlice()), Scope: netlink.SCOPE_LINK}),
		h.RuleAdd(rule),
	)
}

func (t *nat) run() {
	b := make([]byte, natBuffer)
	for {
		n, err := t.tun.Read(b)
		if err != nil {
			return
		}
		if t.translate(b[:n]) {
			_, _ = t.tun.Write(b[:n]) // what the kernel does not take is a lost packet
		}
	}
}

// translate changes a packet, and reports whether it may go on.
func (t *nat) translate(p []byte) bool {
	const header, transport = 20, 8
	if len(p) < header || p[0]>>4 != 4 {
		return false
	}
	size := int(p[0]&15) * 4
	if len(p) < size+transport || p[9] != unix.IPPROTO_TCP && p[9] != unix.IPPROTO_UDP {
		return false
	}
	src, dst := netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:]))
	from, to := binary.BigEndian.Uint16(p[size:]), binary.BigEndian.Uint16(p[size+2:])
	switch {
	case src == t.inner:
		t.flows[natFlow{p[9], from, netip.AddrPortFrom(dst, to)}] = true
		t.rewrite(p, size, p[12:16], t.public)
		return true
	case dst == t.public && t.flows[natFlow{p[9], to, netip.AddrPortFrom(src, from)}]:
		t.rewrite(p, size, p[16:20], t.inner)
		return true
	}
	return false
}

// rewrite puts another address into a packet, and corrects the checksums (RFC 1624).
func (t *nat) rewrite(p []byte, size int, at []byte, to netip.Addr) {
	old, addr := [4]byte(at), to.As4()
	copy(at, addr[:])
	correct(p[10:12], old, addr)
	switch {
	case p[9] == unix.IPPROTO_TCP && len(p) >= size+18:
		correct(p[size+16:size+18], old, addr)
	case p[9] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(p[size+6:]) != 0:
		correct(p[size+6:size+8], old, addr)
	}
}

func correct(sum []byte, old, addr [4]byte) {
	s := uint32(^binary.BigEndian.Uint16(sum))
	for i := 0; i < 4; i += 2 {
		s += uint32(^binary.BigEndian.Uint16(old[i:])) + uint32(binary.BigEndian.Uint16(addr[i:]))
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	binary.BigEndian.PutUint16(sum, ^uint16(s))
}
