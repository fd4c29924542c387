package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vpnd/cmd/internal/registry"
	"vpnd/crypto"
)

// Plan is what a gateway's links and routes are to be.
type Plan struct {
	// Inner is this gateway's own address in its network: the source of its own packets
	// to peers.
	Inner netip.Addr
	// Own are the networks behind this gateway.
	Own []netip.Prefix
	// Peers are the other gateways of the mesh that are there, in the order of their names.
	Peers []Peer
	// Outer are the endpoints that lie in their own gateway's networks: packets to them
	// must not take the route into the mesh.
	Outer []netip.Addr
	// Conflicts are what cannot be done as the table says, each a sentence for the log.
	Conflicts []string
}

// Peer is another gateway to have a link with.
type Peer struct {
	Name string
	Key  crypto.PublicKey
	// Endpoint is where to call it. The zero AddrPort means that it can only call, or be
	// reached through a third gateway.
	Endpoint netip.AddrPort
	// Inner is its own address in its network.
	Inner netip.Addr
	// Routes lead to it: its subnets but for those that are local here.
	Routes []netip.Prefix
}

// Local is a network that this host is in without the mesh.
type Local struct {
	Prefix    netip.Prefix
	Interface string
}

// NewPlan returns the plan of the gateway with a name. Local networks win over those
// of peers. A table that has not the name gives a plan without peers.
func NewPlan(t *registry.Table, name string, locals []Local) *Plan {
	p := &Plan{}
	own := t.Gateway(name)
	if own == nil {
		p.conflict("the table has no network %s", name)
		return p
	}
	p.Inner, p.Own = own.Inner, own.Subnets
	for _, subnet := range own.Subnets {
		locals = append(slices.Clip(locals), Local{Prefix: subnet})
	}
	for _, g := range t.Gateways {
		if g.Name != name && g.State == registry.Live {
			p.Peers = append(p.Peers, p.peer(&g, locals))
		}
	}
	slices.SortFunc(p.Peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	p.avoidLoops()
	return p
}

func (p *Plan) conflict(format string, args ...any) {
	p.Conflicts = append(p.Conflicts, fmt.Sprintf(format, args...))
}

func (p *Plan) peer(g *registry.Gateway, locals []Local) Peer {
	peer := Peer{Name: g.Name, Key: g.Key, Endpoint: g.Endpoint, Inner: g.Inner}
	for _, subnet := range g.Subnets {
		if p.isRoutable(g.Name, subnet, locals) {
			peer.Routes = append(peer.Routes, subnet)
		}
	}
	return peer
}

// isRoutable reports whether a subnet of a peer can have a route. One that is local as
// a whole cannot. Where a part is local, that part has a route of its own, which is
// more specific and wins.
func (p *Plan) isRoutable(name string, subnet netip.Prefix, locals []Local) bool {
	for _, l := range locals {
		switch {
		case !l.Prefix.Overlaps(subnet):
		case l.Covers(subnet):
			p.conflict("%v of %s is not reached: it lies in %v, which is local here%s; renumber one of them", subnet, name, l.Prefix, l.where())
			return false
		default:
			p.conflict("%v of %s is reached but for %v, which is local here%s", subnet, name, l.Prefix, l.where())
		}
	}
	return true
}

// Covers reports whether a network is local as a whole.
func (l Local) Covers(p netip.Prefix) bool {
	return l.Prefix.Bits() <= p.Bits() && l.Prefix.Overlaps(p)
}

func (l Local) where() string {
	if l.Interface == "" {
		return ""
	}
	return " (" + l.Interface + ")"
}

// avoidLoops takes away endpoints that routes of the mesh lead to: packets of the link
// would go into a link. A peer tells its endpoint, but routes come from the network
// file, so the route stays. A gateway may have a public outer address in its own network:
// that one address is reached outside of the mesh.
func (p *Plan) avoidLoops() {
	for i := range p.Peers {
		peer := &p.Peers[i]
		addr := peer.Endpoint.Addr()
		outer := false
		for _, other := range p.Peers {
			j := slices.IndexFunc(other.Routes, func(r netip.Prefix) bool { return r.Contains(addr) })
			if j < 0 {
				continue
			}
			outer = other.Name == peer.Name && !addr.IsPrivate() && !slices.Contains(other.Routes, netip.PrefixFrom(addr, addr.BitLen()))
			if !outer {
				p.conflict("%s is not called at %v: this address is in the network of %s", peer.Name, peer.Endpoint, other.Name)
				peer.Endpoint = netip.AddrPort{}
				break
			}
		}
		if outer {
			p.Outer = append(p.Outer, addr)
		}
	}
}

// merge returns the table with what was known before of gateways that nexus has not
// heard yet.
func merge(t, before *registry.Table) *registry.Table {
	merged := *t
	merged.Gateways = slices.Clone(t.Gateways)
	for i := range merged.Gateways {
		g := &merged.Gateways[i]
		if g.State != registry.Unheard || before == nil {
			continue
		}
		if old := before.Gateway(g.Name); old != nil && old.Key == g.Key {
			g.State, g.Endpoint = old.State, old.Endpoint
		}
	}
	return &merged
}
