package netif

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespace is a fresh network namespace, in which the calling goroutine is from
// now on. Its thread ends with the goroutine. There are no link-local addresses,
// whose random numbers would make every dump different.
type namespace struct {
	t  testing.TB
	nl *netlink.Handle
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	runtime.LockOSThread()
	ns, err := netns.New()
	if err != nil {
		t.Fatalf("these tests need root, to make network namespaces: %v", err)
	}
	ns.Close()
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	n := &namespace{t, nl}
	n.check(err)
	t.Cleanup(nl.Close)
	n.check(os.WriteFile("/proc/sys/net/ipv6/conf/default/addr_gen_mode", []byte("1"), 0))
	n.edit("link lo 65536 up")
	return n
}

func (n *namespace) check(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *namespace) host() host {
	n.t.Helper()
	h, err := (&netlinkKernel{nl: n.nl}).read()
	n.check(err)
	return h
}

// edit carries out the lines that host.edit knows.
func (n *namespace) edit(text string) {
	n.t.Helper()
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		add := f[0] != "del"
		if !add {
			f = f[1:]
		}
		h := n.host()
		switch f[0] {
		case "link":
			n.editLink(parseLink(f[1:]))
		case "addr":
			n.editAddr(h.parseAddr(f[1:]), add)
		case "route":
			n.editRoute(h.parseRoute(f[1:]), add)
		}
	}
}

func (n *namespace) editLink(want link) {
	n.t.Helper()
	if _, err := n.nl.LinkByName(want.name); err != nil {
		n.makeLink(want.name)
	}
	l, err := n.nl.LinkByName(want.name)
	n.check(err)
	n.check(n.nl.LinkSetMTU(l, want.mtu))
	if want.up {
		n.check(n.nl.LinkSetUp(l))
	} else {
		n.check(n.nl.LinkSetDown(l))
	}
}

func (n *namespace) makeLink(name string) {
	n.t.Helper()
	if strings.HasPrefix(name, "vpn") {
		n.openTUN(name)
		return
	}
	peer := name + "peer"
	n.check(n.nl.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer}))
	l, err := n.nl.LinkByName(peer)
	n.check(err)
	n.check(n.nl.LinkSetUp(l))
}

func (n *namespace) openTUN(name string) *TUN {
	n.t.Helper()
	dev, _, err := OpenTUN(name)
	n.check(err)
	n.t.Cleanup(func() { dev.Close() })
	return dev
}

func (n *namespace) editAddr(a hostAddr, add bool) {
	n.t.Helper()
	x := toAddr(a)
	x.LinkIndex = a.Dev
	if add {
		n.check(n.nl.AddrReplace(nil, x))
	} else {
		n.check(n.nl.AddrDel(nil, x))
	}
}

func (n *namespace) editRoute(r hostRoute, add bool) {
	n.t.Helper()
	x := toRoute(r)
	if r.kind == reject {
		x.Type, x.LinkIndex = unix.RTN_UNREACHABLE, 0
	}
	if add {
		n.check(n.nl.RouteReplace(x))
	} else {
		x.Scope = netlink.SCOPE_NOWHERE
		n.check(n.nl.RouteDel(x))
	}
}

// settle waits until the kernel has made the routes that it makes for itself a
// little later than the links and IPv6 addresses they belong to.
func (n *namespace) settle() {
	n.t.Helper()
	for deadline := time.Now().Add(time.Minute); !n.settled(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("the kernel does not finish:\n%s", n.list())
		}
	}
}

func (n *namespace) settled() bool {
	n.t.Helper()
	routes, err := n.nl.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	n.check(err)
	has := func(table, dev int, dest netip.Prefix) bool {
		return slices.ContainsFunc(routes, func(r netlink.Route) bool {
			return r.Table == table && r.LinkIndex == dev && fromNet(r.Dst) == dest
		})
	}
	h := n.host()
	for _, l := range h.links {
		if l.name != "lo" && l.up && l.mtu >= minMTU6 && !has(unix.RT_TABLE_LOCAL, l.index, netip.MustParsePrefix("ff00::/8")) {
			return false
		}
	}
	for _, a := range h.addrs {
		if local := a.Local.Addr(); local.Is6() && !has(unix.RT_TABLE_LOCAL, a.Dev, single(local)) {
			return false
		}
		if a.Peer.Is6() && !has(unix.RT_TABLE_MAIN, a.Dev, single(a.Peer)) {
			return false
		}
	}
	return true
}

// dump lists all links, addresses and routes of all tables. It says nothing that
// differs between two namespaces made in the same way.
func (n *namespace) dump() string {
	n.t.Helper()
	n.settle()
	return n.list()
}

func (n *namespace) list() string {
	n.t.Helper()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	names := map[int]string{}
	links, err := n.nl.LinkList()
	n.check(err)
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		add("link %s mtu %d up %v", a.Name, a.MTU, a.Flags&net.FlagUp != 0)
	}
	addrs, err := n.nl.AddrList(nil, netlink.FAMILY_ALL)
	n.check(err)
	for _, a := range addrs {
		add("addr %s %v peer %v flags %#x scope %d", names[a.LinkIndex], a.IPNet, a.Peer, a.Flags&^unix.IFA_F_TENTATIVE, a.Scope)
	}
	routes, err := n.nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	n.check(err)
	for _, r := range routes {
		add("route table %d type %d %v via %v %v dev %s src %v metric %d proto %d scope %d", r.Table, r.Type, r.Dst, r.Gw, r.Via,
			names[r.LinkIndex], r.Src, r.Priority, r.Protocol, r.Scope)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

func (n *namespace) kernel() kernel {
	n.t.Helper()
	k, err := openKernel()
	n.check(err)
	return k
}

// nobody is the user that has no privilege.
const nobody = 65534

// asNobody runs f without privilege. Only the thread of the calling goroutine
// is affected, which newNamespace has bound to it.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	setEUID(t, nobody)
	defer setEUID(t, 0)
	f()
}

func setEUID(t *testing.T, uid uintptr) {
	t.Helper()
	const unchanged = ^uintptr(0)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, unchanged, uid, unchanged); errno != 0 {
		t.Fatal(errno)
	}
}

// persistent makes a TUN device for nobody.
func (n *namespace) persistent(name string, mode netlink.TuntapMode, flags netlink.TuntapFlag) {
	n.t.Helper()
	n.check(n.nl.LinkAdd(&netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: name},
		Mode:      mode,
		Flags:     flags,
		Owner:     nobody,
	}))
}
