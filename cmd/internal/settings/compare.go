package settings

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"vpnd/crypto"
)

// finish ends the network that is being read.
func (p *networkParser) finish() {
	n := p.current
	p.current = nil
	if n == nil {
		return
	}
	slices.SortFunc(n.Subnets, comparePrefix)
	for _, name := range []string{"subnet", "key"} {
		if p.seen[name] == 0 {
			p.add(n.Line, "%s has no %s=", n.Name, name)
		}
	}
	if len(n.Subnets) > MaxSubnets {
		p.add(n.Line, "%s has %d subnets: at most %d", n.Name, len(n.Subnets), MaxSubnets)
	}
	p.finishInner(n)
	p.networks = append(p.networks, *n)
}

// finishInner checks the gateway's inner address, or takes the first one of the first
// subnet.
func (p *networkParser) finishInner(n *Network) {
	if len(n.Subnets) == 0 {
		return
	}
	if p.seen["inner"] == 0 {
		n.Inner = firstHost(n.Subnets[0])
		return
	}
	i := slices.IndexFunc(n.Subnets, func(s netip.Prefix) bool { return s.Contains(n.Inner) })
	switch {
	case !n.Inner.IsValid(): // reported
	case i < 0:
		p.add(p.seen["inner"], "inner: %v is in none of the subnets of %s", n.Inner, n.Name)
	case isEdge(n.Subnets[i], n.Inner):
		p.add(p.seen["inner"], "inner: %v is no address of a host in %v", n.Inner, n.Subnets[i])
	}
}

// firstHost returns the first address that a host can have.
func firstHost(p netip.Prefix) netip.Addr {
	if isEdge(p, p.Addr()) {
		return p.Addr().Next()
	}
	return p.Addr()
}

// isEdge reports whether addr is the first address of an IPv4 or IPv6 network or the
// last one of an IPv4 network, where there are more than two.
func isEdge(p netip.Prefix, addr netip.Addr) bool {
	if p.Bits() >= addr.BitLen()-1 {
		return false
	}
	next := addr.Next()
	return addr == p.Addr() || addr.Is4() && !p.Contains(next)
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// compare finds what does not fit together in several networks.
func (p *networkParser) compare() {
	names, keys := make(map[string]int), make(map[crypto.PublicKey]*Network)
	size := 0
	for i := range p.networks {
		n := &p.networks[i]
		folded := strings.ToLower(n.Name)
		if at := names[folded]; at != 0 {
			p.add(n.Line, "there is a network %s in line %d already", n.Name, at)
		} else {
			names[folded] = n.Line
		}
		if n.Key == (crypto.PublicKey{}) { // missing, reported
			continue
		}
		if other := keys[n.Key]; other != nil {
			p.add(n.Line, "%s has the key of %s in line %d: each gateway has its own", n.Name, other.Name, other.Line)
		}
		keys[n.Key] = n
		size += n.size()
	}
	p.overlaps()
	if len(p.networks) == 0 && len(p.list) == 0 {
		p.add(0, "there is no network in it, as if a full disk had emptied it: to leave a network out, disable it")
	}
	if size > MaxTable {
		p.add(0, "names and subnets need %d bytes in the answer to a gateway: at most %d", size, MaxTable)
	}
}

// MaxTable bounds what all networks need in one answer; see package registry.
const MaxTable = 65000

// size returns how much a network needs in an answer.
func (n *Network) size() int {
	const fixed = 1 + 32 + 16 + 16 + 2 + 1 + 2 + 1 // see package registry
	size := fixed + len(n.Name)
	for _, p := range n.Subnets {
		size += 2 + p.Addr().BitLen()/8
	}
	return size
}

// overlaps finds subnets that have addresses in common. In the order of their
// addresses only the last one that none before it covers can cover the next.
func (p *networkParser) overlaps() {
	slices.SortStableFunc(p.where, func(a, b subnetLine) int { return comparePrefix(a.prefix, b.prefix) })
	for i, cover := 1, 0; i < len(p.where); i++ {
		a, b := p.where[cover], p.where[i]
		if !a.prefix.Overlaps(b.prefix) {
			cover = i
			continue
		}
		if b.line < a.line {
			a, b = b, a
		}
		p.add(b.line, "subnet %v of %s overlaps %v of %s in line %d", b.prefix, b.name, a.prefix, a.name, a.line)
	}
}
