package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readyLimit bounds the wait for a new link to carry packets.
const readyLimit = 10 * time.Second

// Link is a veth pair between two namespaces. A and B name its interfaces.
type Link struct {
	A, B     string
	nsA, nsB *Namespace
}

// Prefixes parses addresses with their prefix length for Connect and Path.
// It panics on a malformed one, as netip.MustParsePrefix does.
func Prefixes(addrs ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, a := range addrs {
		list = append(list, netip.MustParsePrefix(a))
	}
	return list
}

// Connect joins a and b by a link whose ends have the given addresses, and
// returns when packets pass.
func (l *Lab) Connect(a, b *Namespace, addrsA, addrsB []netip.Prefix) (*Link, error) {
	k := &Link{A: a.nextLinkName(), B: b.nextLinkName(), nsA: a, nsB: b}
	if err := k.create(addrsA, addrsB); err != nil {
		return nil, fmt.Errorf("connect %s and %s: %w", a.name, b.name, err)
	}
	return k, nil
}

func (k *Link) create(addrsA, addrsB []netip.Prefix) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = k.A
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: k.B, PeerNamespace: netlink.NsFd(k.nsB.fd)}
	if err := k.nsA.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("create veth: %w", err)
	}
	err := errors.Join(
		k.nsA.prepare(k.A), k.nsA.address(k.A, addrsA),
		k.nsB.prepare(k.B), k.nsB.address(k.B, addrsB))
	if err != nil {
		return err
	}
	return k.Up()
}

// Up sets both ends up and returns when packets pass.
func (k *Link) Up() error {
	if err := errors.Join(k.nsA.setUp(k.A), k.nsB.setUp(k.B)); err != nil {
		return err
	}
	return errors.Join(k.nsA.waitReady(k.A), k.nsB.waitReady(k.B))
}

// Down sets end A down. Its kernel forgets routes through the link; that of
// end B sees the carrier go. Addresses stay.
func (k *Link) Down() error {
	return k.withA(k.nsA.nl.LinkSetDown)
}

// Delete removes both interfaces.
func (k *Link) Delete() error {
	return k.withA(k.nsA.nl.LinkDel)
}

func (k *Link) withA(f func(netlink.Link) error) error {
	a, err := k.nsA.nl.LinkByName(k.A)
	if err == nil {
		err = f(a)
	}
	if err != nil {
		return fmt.Errorf("change link %s of %s: %w", k.A, k.nsA.name, err)
	}
	return nil
}

func (n *Namespace) nextLinkName() string {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	n.links++
	return fmt.Sprintf("eth%d", n.links-1)
}

// prepare makes IPv6 addresses of a link usable at once and lets them
// outlive Down, as those of IPv4 do.
func (n *Namespace) prepare(link string) error {
	conf := "ipv6/conf/" + link
	return errors.Join(n.Sysctl(conf+"/accept_dad", "0"), n.Sysctl(conf+"/keep_addr_on_down", "1"))
}

func (n *Namespace) address(link string, addrs []netip.Prefix) error {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find %s: %w", link, err)
	}
	for _, p := range addrs {
		addr := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := n.nl.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("add address %s to %s of %s: %w", p, link, n.name, err)
		}
	}
	return nil
}

// waitReady waits until the link carries packets, which the kernel sees to
// some time after both ends are up.
func (n *Namespace) waitReady(link string) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyLimit)
	defer cancel()
	err := poll(ctx, func() error { return n.ready(link) })
	if err != nil {
		return fmt.Errorf("wait for link %s of %s: %w", link, n.name, err)
	}
	return nil
}

// ready returns nil when the link's queue is attached, which drops packets
// until then, and IPv6 neighbours find each other at the first attempt; the
// second comes a second later.
func (n *Namespace) ready(link string) error {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return err
	}
	if state := l.Attrs().OperState; state != netlink.OperUp {
		return fmt.Errorf("link is %s", state)
	}
	addrs, err := n.nl.AddrList(l, unix.AF_INET6)
	if err != nil {
		return err
	}
	groups, err := n.groups(link)
	if err != nil {
		return err
	}
	return neighbourly(addrs, groups)
}

// neighbourly returns nil when a link has a link-local address to ask
// neighbours from, and listens where they ask for each of its addresses.
func neighbourly(addrs []netlink.Addr, groups []string) error {
	linkLocal := false
	for _, a := range addrs {
		linkLocal = linkLocal || a.IP.IsLinkLocalUnicast()
		if a.Flags&unix.IFA_F_TENTATIVE != 0 || !slices.Contains(groups, solicitedGroup(a.IP)) {
			return fmt.Errorf("address %s is not in use yet", a.IP)
		}
	}
	if !linkLocal {
		return errors.New("no link-local address yet")
	}
	return nil
}

// groups returns the IPv6 multicast groups that the link listens to, in the
// kernel's notation.
func (n *Namespace) groups(link string) ([]string, error) {
	var table []byte
	err := n.Do(func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/igmp6")
		return err
	})
	var groups []string
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == link { // number, link, group, ...
			groups = append(groups, f[2])
		}
	}
	return groups, err
}

// solicitedGroup returns the group in which neighbours ask for an address,
// see RFC 4291.
func solicitedGroup(ip net.IP) string {
	return fmt.Sprintf("ff0200000000000000000001ff%x", []byte(ip[13:16]))
}

// Path joins two namespaces through a router between them.
type Path struct {
	Router *Namespace
	links  [2]*Link
}

// Path links a and b to a new router, whose addresses are those that follow
// addrsA and addrsB, and adds the routes between their subnets.
func (l *Lab) Path(a, b *Namespace, addrsA, addrsB []netip.Prefix) (*Path, error) {
	router, err := l.Namespace(a.name + "-" + b.name)
	if err != nil {
		return nil, err
	}
	toA, err := l.Connect(router, a, following(addrsA), addrsA)
	if err != nil {
		return nil, err
	}
	toB, err := l.Connect(router, b, following(addrsB), addrsB)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(a.routeVia(addrsA, addrsB), b.routeVia(addrsB, addrsA)); err != nil {
		return nil, err
	}
	p := &Path{Router: router, links: [2]*Link{toA, toB}}
	return p, p.Heal()
}

// Cut makes packets vanish on the way. Neither end is told: links stay up,
// neighbours answer, no ICMP error comes back.
func (p *Path) Cut() error { return p.Router.Forward(false) }

// CutFrom is Cut for the IPv4 packets of one end alone.
func (p *Path) CutFrom(n *Namespace) error {
	for _, k := range p.links {
		if k.nsB == n {
			return p.Router.Sysctl("ipv4/conf/"+k.A+"/forwarding", "0")
		}
	}
	return fmt.Errorf("%s is no end of the path", n.name)
}

// Heal ends a Cut, and a CutFrom.
func (p *Path) Heal() error { return errors.Join(p.Router.Forward(false), p.Router.Forward(true)) }

// routeVia adds routes to the subnets of far through the routers that
// follow the addresses near, family by family.
func (n *Namespace) routeVia(near, far []netip.Prefix) error {
	for _, gw := range following(near) {
		for _, dst := range far {
			if dst.Addr().Is4() != gw.Addr().Is4() {
				continue
			}
			if err := n.AddRoute(dst, gw.Addr()); err != nil {
				return err
			}
		}
	}
	return nil
}

func following(addrs []netip.Prefix) []netip.Prefix {
	var next []netip.Prefix
	for _, p := range addrs {
		next = append(next, netip.PrefixFrom(p.Addr().Next(), p.Bits()))
	}
	return next
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}
}
