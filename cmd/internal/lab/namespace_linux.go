package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const sysctlRoot = "/proc/sys/net/"

// Namespace is one network namespace, a host of the lab. It is known by a
// descriptor only; its name serves messages.
type Namespace struct {
	lab   *Lab
	name  string
	fd    netns.NsHandle
	nl    *netlink.Handle
	links int // interfaces named so far, guarded by lab.mu
}

// Namespace returns a new namespace with its loopback up.
func (l *Lab) Namespace(name string) (*Namespace, error) {
	n := &Namespace{lab: l, name: name}
	if err := n.open(); err != nil {
		return nil, fmt.Errorf("create namespace %s: %w", name, err)
	}
	l.onClose(n.close)
	return n, nil
}

func (n *Namespace) open() (err error) {
	nothing := func() error { return nil }
	if n.fd, err = newNamespace(nothing); err != nil {
		return err
	}
	if n.nl, err = netlink.NewHandleAt(n.fd, unix.NETLINK_ROUTE); err != nil {
		return errors.Join(err, n.fd.Close())
	}
	if err = n.setUp("lo"); err != nil {
		n.nl.Close()
		return errors.Join(err, n.fd.Close())
	}
	return nil
}

// close kills what still runs in the namespace and lets go of it; the
// kernel then removes it with its links.
func (n *Namespace) close() error {
	err := n.killStrays()
	n.nl.Close()
	if err = errors.Join(err, n.fd.Close()); err != nil {
		return fmt.Errorf("close namespace %s: %w", n.name, err)
	}
	return nil
}

// Name returns the name given at creation.
func (n *Namespace) Name() string { return n.name }

// Do runs f on the caller's goroutine inside the namespace. Sockets opened
// and processes started by f belong to the namespace for good; goroutines
// started by f run outside.
func (n *Namespace) Do(f func() error) error {
	enter := func() error { return netns.Set(n.fd) }
	return onThread(enter, f)
}

// Sysctl writes a setting of the namespace. The key is the path below
// /proc/sys/net, such as "ipv4/ip_forward".
func (n *Namespace) Sysctl(key, value string) error {
	return n.Do(func() error { return writeSysctl(key, value) })
}

// Forward switches forwarding of IPv4 and IPv6 on or off.
func (n *Namespace) Forward(on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	return errors.Join(n.Sysctl("ipv4/ip_forward", value), n.Sysctl("ipv6/conf/all/forwarding", value))
}

// AddRoute sends packets for dst to the router via.
func (n *Namespace) AddRoute(dst netip.Prefix, via netip.Addr) error {
	route := &netlink.Route{Dst: ipNet(dst.Masked()), Gw: via.AsSlice()}
	if err := n.nl.RouteAdd(route); err != nil {
		return fmt.Errorf("add route %s via %s in %s: %w", dst, via, n.name, err)
	}
	return nil
}

func (n *Namespace) setUp(link string) error {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find %s: %w", link, err)
	}
	if err := n.nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", link, err)
	}
	return nil
}

// Listen opens a TCP listener in the namespace. Port 0 takes a free one.
func (n *Namespace) Listen(addr netip.AddrPort) (ln *net.TCPListener, err error) {
	err = n.Do(func() error {
		ln, err = net.ListenTCP(tcp(addr.Addr()), net.TCPAddrFromAddrPort(addr))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", n.name, err)
	}
	return ln, nil
}

// Dial connects over TCP from the namespace to dst; src may be the zero Addr.
func (n *Namespace) Dial(ctx context.Context, src netip.Addr, dst netip.AddrPort) (*net.TCPConn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	if src.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(src, 0))
	}
	var c net.Conn
	err := n.Do(func() (err error) {
		c, err = d.DialContext(ctx, tcp(dst.Addr()), dst.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial from %s: %w", n.name, err)
	}
	return c.(*net.TCPConn), nil
}

// onThread runs f with the goroutine tied to a thread that enter has brought
// into another namespace, and brings the thread home however f ends.
func onThread(enter, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open own namespace: %w", err)
	}
	defer home.Close()
	if err := enter(); err != nil {
		return fmt.Errorf("enter namespace: %w", err)
	}
	defer func() {
		if err := netns.Set(home); err != nil {
			// Any goroutine that got this thread would run in the wrong network.
			panic(fmt.Sprintf("return from namespace: %v", err))
		}
	}()
	return f()
}

// newNamespace returns a new namespace and runs f in it.
func newNamespace(f func() error) (netns.NsHandle, error) {
	fd := netns.None()
	enter := func() (err error) {
		fd, err = netns.New()
		return err
	}
	return fd, onThread(enter, f)
}

// writeSysctl writes a setting of the thread's namespace.
func writeSysctl(key, value string) error {
	return os.WriteFile(sysctlRoot+key, []byte(value), 0)
}

// tcp returns the network name that keeps a socket to one family.
func tcp(a netip.Addr) string {
	if a.Is4() {
		return "tcp4"
	}
	return "tcp6"
}
