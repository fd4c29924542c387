package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxDumps bounds how often a list is read again that changed under us.
const maxDumps = 5

// netlinkKernel is the real kernel.
type netlinkKernel struct {
	nl    *netlink.Handle
	where string
}

func openKernel() (kernel, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return &netlinkKernel{nl, currentPlace()}, nil
}

func (k *netlinkKernel) place() string { return k.where }

func (k *netlinkKernel) close() { k.nl.Close() }

// currentPlace returns what it can learn. Old kernels have no cookie, a chroot
// no /proc: then an interface is known by its index alone.
func currentPlace() string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	place := strings.TrimSpace(string(boot))
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return place
	}
	defer unix.Close(fd)
	if cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err == nil {
		place += "/" + strconv.FormatUint(cookie, 10)
	}
	return place
}

func (k *netlinkKernel) read() (host, error) {
	var h host
	links, err := dump(k.nl.LinkList)
	if err != nil {
		return h, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		_, tun := l.(*netlink.Tuntap)
		h.links = append(h.links, link{a.Index, a.Name, a.MTU, a.Flags&net.FlagUp != 0, tun})
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return k.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return h, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		h.addrs = append(h.addrs, fromAddr(a))
	}
	routes, err := dump(func() ([]netlink.Route, error) { return k.nl.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return h, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		// A route for one type of service only is no way for the others.
		if r.Tos == 0 {
			h.routes = append(h.routes, fromRoute(r))
		}
	}
	return h, nil
}

func dump[T any](list func() ([]T, error)) (items []T, err error) {
	for range maxDumps {
		items, err = list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return items, err
}

func fromAddr(a netlink.Addr) hostAddr {
	x := hostAddr{Dev: a.LinkIndex, Local: fromNet(a.IPNet), Flags: a.Flags}
	if a.Peer != nil {
		x.Peer = fromIP(a.Peer.IP)
	}
	return x
}

func fromRoute(r netlink.Route) hostRoute {
	x := hostRoute{
		Dest:    fromNet(r.Dst),
		Gateway: gateway(r.Gw, r.Via),
		Dev:     r.LinkIndex,
		Source:  fromIP(r.Src),
		Metric:  r.Priority,
		Proto:   int(r.Protocol),
	}
	flags := r.Flags
	for i, hop := range r.MultiPath {
		if i == 0 || flags&unix.RTNH_F_DEAD != 0 {
			x.Gateway, x.Dev, flags = gateway(hop.Gw, hop.Via), hop.LinkIndex, hop.Flags
		}
	}
	x.onlink = flags&unix.RTNH_F_ONLINK != 0
	switch {
	case r.Type != unix.RTN_UNICAST:
		x.kind = reject
	case flags&unix.RTNH_F_DEAD != 0:
		x.kind = dead
	}
	return x
}

// gateway returns the next hop, which may be an IPv6 one of an IPv4 route.
func gateway(gw net.IP, via netlink.Destination) netip.Addr {
	if v, ok := via.(*netlink.Via); ok {
		return fromIP(v.Addr)
	}
	return fromIP(gw)
}

func fromIP(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func fromNet(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(fromIP(n.IP), ones)
}

func (k *netlinkKernel) do(s step) error {
	dev := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: s.dev.index, Name: s.dev.name}}
	var err error
	switch s.op {
	case opMTU:
		err = k.nl.LinkSetMTU(dev, s.dev.mtu)
	case opUp:
		err = k.nl.LinkSetUp(dev)
	case opDown:
		err = k.nl.LinkSetDown(dev)
	case opAddAddr:
		err = k.nl.AddrAdd(dev, toAddr(s.addr))
	case opDelAddr:
		err = k.nl.AddrDel(dev, toAddr(s.addr))
	case opAddRoute:
		err = k.nl.RouteAdd(toRoute(s.route))
	case opReplaceRoute:
		err = k.nl.RouteReplace(toRoute(s.route))
	case opDelRoute:
		r := toRoute(s.route)
		r.Scope = netlink.SCOPE_NOWHERE // any
		err = k.nl.RouteDel(r)
	}
	return explain(err, s)
}

// explain gives the kernel's errors the meaning they have here.
func explain(err error, s step) error {
	switch {
	case err == nil:
		return nil
	case !s.adds() && is(err, unix.ESRCH, unix.ENODEV, unix.EADDRNOTAVAIL, unix.ENXIO):
		return nil // it is gone, or IPv6 is gone from its interface
	case is(err, unix.EPERM):
		return fmt.Errorf("%w: %w", ErrPermission, err)
	case is(err, unix.EEXIST, unix.ENODEV, unix.ENETDOWN):
		return fmt.Errorf("%w: %w", errChanged, err)
	case s.is6() && is(err, unix.EACCES, unix.EAFNOSUPPORT, unix.EOPNOTSUPP):
		return fmt.Errorf("IPv6 is disabled on this host or interface: %w", err)
	}
	return err
}

// is reports whether err is one of the numbers.
func is(err error, numbers ...syscall.Errno) bool {
	var n syscall.Errno
	return errors.As(err, &n) && slices.Contains(numbers, n)
}

func (s step) is6() bool {
	return s.addr.Local.Addr().Is6() || s.route.Dest.Addr().Is6()
}

func toAddr(a hostAddr) *netlink.Addr {
	const settable = unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_NOPREFIXROUTE
	x := &netlink.Addr{IPNet: toNet(a.Local), Flags: a.Flags & settable, Broadcast: net.IPv4zero}
	if a.Peer.IsValid() {
		x.Peer = toNet(netip.PrefixFrom(a.Peer, a.Local.Bits()))
	}
	return x
}

func toRoute(r hostRoute) *netlink.Route {
	x := &netlink.Route{
		LinkIndex: r.Dev,
		Dst:       toNet(r.Dest),
		Src:       r.Source.AsSlice(),
		Priority:  r.Metric,
		Protocol:  netlink.RouteProtocol(r.Proto),
		Table:     unix.RT_TABLE_MAIN,
		Type:      unix.RTN_UNICAST,
	}
	switch {
	case !r.Gateway.IsValid():
		x.Scope = netlink.SCOPE_LINK
	case r.Gateway.Is6() && r.Dest.Addr().Is4():
		x.Via = &netlink.Via{AddrFamily: netlink.FAMILY_V6, Addr: r.Gateway.AsSlice()}
	default:
		x.Gw = r.Gateway.AsSlice()
	}
	if r.onlink {
		x.SetFlag(netlink.FLAG_ONLINK)
	}
	return x
}

func toNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
