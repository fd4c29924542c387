package netif

import (
	"fmt"
	"net/netip"
	"slices"
)

// Our routes are told from others by their protocol number. Pins have one of
// their own: two instances may pin the same server, and neither must take the
// other's pin, which goes when that one ends, for a way of the host.
const (
	protoRoute = 118
	protoPin   = 119
)

// defaultMetric6 is what the kernel makes of an IPv6 route without a metric,
// peerMetric6 what it gives its own routes to the other end of an address.
const (
	defaultMetric6 = 1024
	peerMetric6    = 256
)

// Flags of an address, as the kernel numbers them.
const (
	flagNoDAD         = 0x02
	flagNoPrefixRoute = 0x200
)

// host is the kernel's network configuration as seen at one moment. It holds
// all that a plan is made from, so that planning is a pure function.
type host struct {
	links  []link
	addrs  []hostAddr
	routes []hostRoute // those of the main table
}

type link struct {
	index int
	name  string
	mtu   int
	up    bool
	tun   bool
}

// link returns the interface with that index.
func (h host) link(index int) (link, bool) {
	i := slices.IndexFunc(h.links, func(l link) bool { return l.index == index })
	if i < 0 {
		return link{index: index, name: fmt.Sprintf("if%d", index)}, false
	}
	return h.links[i], true
}

// named returns the interface with that name.
func (h host) named(name string) (link, bool) {
	i := slices.IndexFunc(h.links, func(l link) bool { return l.name == name })
	if i < 0 {
		return link{}, false
	}
	return h.links[i], true
}

// hostAddr is an address of an interface.
type hostAddr struct {
	Dev   int          `json:"dev"`
	Local netip.Prefix `json:"local"` // the address itself, not masked
	Peer  netip.Addr   `json:"peer,omitzero"`
	Flags int          `json:"flags,omitzero"`
}

// id returns what tells an address from all others.
func (a hostAddr) id() hostAddr {
	a.Flags = 0
	return a
}

func (a hostAddr) text(dev link) string {
	if a.Peer.IsValid() {
		return fmt.Sprintf("%s peer %s dev %s", a.Local.Addr(), a.Peer, dev.name)
	}
	return fmt.Sprintf("%s dev %s", a.Local, dev.name)
}

func (a hostAddr) flagText() string {
	s := ""
	if a.Flags&flagNoDAD != 0 {
		s += " nodad"
	}
	if a.Flags&flagNoPrefixRoute != 0 {
		s += " noprefixroute"
	}
	return s
}

// hasAddr reports whether the host has exactly this address.
func (h host) hasAddr(a hostAddr) bool {
	return slices.ContainsFunc(h.addrs, func(x hostAddr) bool { return x.id() == a.id() })
}

// owner returns an entry that has a as its local address.
func (h host) owner(a netip.Addr) (hostAddr, bool) {
	i := slices.IndexFunc(h.addrs, func(x hostAddr) bool { return x.Local.Addr() == a })
	if i < 0 {
		return hostAddr{}, false
	}
	return h.addrs[i], true
}

// hostRoute is an entry of the main routing table.
type hostRoute struct {
	Dest    netip.Prefix `json:"dest"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
	Dev     int          `json:"dev"`
	Source  netip.Addr   `json:"source,omitzero"`
	Metric  int          `json:"metric"`
	Proto   int          `json:"proto"`

	onlink bool   // the gateway is on the link, whatever the table says
	kind   kind   // what becomes of packets that take it
	where  string // who asked for it
}

type kind uint8

const (
	unicast kind = iota // goes to the gateway or the interface
	dead                // not used by the kernel: its interface is down
	reject              // unreachable, prohibit, blackhole and the like
)

// routeKey is what two routes of one table cannot share.
type routeKey struct {
	dest   netip.Prefix
	metric int
}

func (r hostRoute) key() routeKey {
	return routeKey{r.Dest, r.Metric}
}

// id returns what tells a route from all others.
func (r hostRoute) id() hostRoute {
	r.onlink, r.kind, r.where = false, 0, ""
	return r
}

// sameWay reports whether packets take the same way, and with the same source.
func (r hostRoute) sameWay(o hostRoute) bool {
	return r.Dev == o.Dev && r.Gateway == o.Gateway && r.Source == o.Source
}

// text writes the route as ip(8) does.
func (r hostRoute) text(dev link) string {
	s := r.Dest.String()
	if r.Gateway.IsValid() {
		s += " via " + r.Gateway.String()
	}
	if r.kind == reject {
		s = "unreachable " + s
	} else {
		s += " dev " + dev.name
	}
	if r.onlink {
		s += " onlink"
	}
	if r.Source.IsValid() {
		s += " src " + r.Source.String()
	}
	if r.Metric != 0 {
		s += fmt.Sprintf(" metric %d", r.Metric)
	}
	return s
}

// String names the route as the user knows it.
func (r hostRoute) String() string {
	if r.where == "" {
		return "route " + r.Dest.String()
	}
	return fmt.Sprintf("route %s (%s)", r.Dest, r.where)
}

// best returns the route that the kernel would take to a among those that ok
// admits: the longest prefix, then the lowest metric.
func best(routes []hostRoute, a netip.Addr, ok func(hostRoute) bool) (hostRoute, bool) {
	var win hostRoute // its destination has a length of -1
	for _, r := range routes {
		if r.kind != dead && r.Dest.Contains(a) && ok(r) && r.beats(win) {
			win = r
		}
	}
	return win, win.Dest.IsValid()
}

// beats reports whether the kernel prefers r to o when both lead to the goal.
func (r hostRoute) beats(o hostRoute) bool {
	if r.Dest.Bits() != o.Dest.Bits() {
		return r.Dest.Bits() > o.Dest.Bits()
	}
	return r.Metric < o.Metric
}
