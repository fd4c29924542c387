package main

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"vpnd/cmd/internal/mesh"
	"vpnd/cmd/internal/registry"
	"vpnd/crypto"
	"vpnd/tunnel"
	"vpnd/tunnel/netif"
)

// applied is what was made of a table and of the host's networks.
type applied struct {
	plan  *mesh.Plan
	state netif.State
	// inner is the gateway's inner address, if the host has it, as the mesh wants that to
	// be: others call it there through third gateways.
	inner     netip.Addr
	conflicts []string
	gateways  []registry.Gateway
	// links and routes are why these are not as they should be.
	links, routes error
}

// isDone reports whether nothing has to be tried again.
func (a *applied) isDone() bool { return a.links == nil && a.routes == nil }

// apply brings links and routes to what a table says, nil for none yet.
func (g *gateway) apply(t *registry.Table) {
	h, err := readHost(g.set.Device())
	if err != nil {
		g.log.Warn("the host's networks are not known", "error", err)
		return
	}
	if t == nil {
		return
	}
	next, last := g.decide(t, h), g.applied.Load()
	if last != nil && last.isDone() && reflect.DeepEqual(next, last) {
		return
	}
	g.tell(next, last)
	if last == nil || last.links != nil || !reflect.DeepEqual(next.plan, last.plan) || !reflect.DeepEqual(next.gateways, last.gateways) || next.inner != last.inner {
		if err := g.admit(next); err != nil {
			g.log.Error("links not changed", "error", err)
			next.links = err
		}
	}
	if _, next.routes = g.set.ApplyMost(g.set.Device(), next.state); next.routes != nil {
		if last == nil || last.routes == nil || last.routes.Error() != next.routes.Error() {
			g.log.Error("not all routes are set", "error", next.routes)
		}
	}
	g.applied.Store(next)
	if last == nil {
		close(g.known)
	}
}

// decide returns what is to be, without changing anything.
func (g *gateway) decide(t *registry.Table, h *hostView) *applied {
	locals := h.locals(t)
	a := &applied{plan: mesh.NewPlan(t, g.name, locals)}
	for _, p := range a.plan.Own {
		locals = append(locals, mesh.Local{Prefix: p})
	}
	a.gateways = gatewaysOf(t, locals)
	a.conflicts = slices.Clone(a.plan.Conflicts)
	a.state = netif.State{MTU: mtu, Outer: a.plan.Outer}
	sources := a.sources(h)
	for _, p := range a.plan.Peers {
		for _, r := range p.Routes {
			if nexus := g.nexus.Load(); nexus != nil && r == netip.PrefixFrom(*nexus, nexus.BitLen()) {
				a.conflicts = append(a.conflicts, fmt.Sprintf("%v of %s is not reached: nexus has this address, and is asked outside of the mesh", r, p.Name))
				continue
			}
			source := sources[0]
			if r.Addr().Is6() {
				source = sources[1]
			}
			a.state.Routes = append(a.state.Routes, netif.Route{Dest: r, Source: source, Where: "network " + p.Name})
		}
	}
	return a
}

// gatewaysOf returns the gateways of a table without what changes with each registration,
// and without networks and inner addresses that are local here: nobody may send from these.
func gatewaysOf(t *registry.Table, locals []mesh.Local) []registry.Gateway {
	list := slices.Clone(t.Gateways)
	for i := range list {
		g := &list[i]
		g.Left = 0
		g.Subnets = slices.DeleteFunc(slices.Clone(g.Subnets), func(p netip.Prefix) bool {
			return slices.ContainsFunc(locals, func(l mesh.Local) bool { return l.Covers(p) })
		})
		if slices.ContainsFunc(locals, func(l mesh.Local) bool { return l.Prefix.Contains(g.Inner) }) {
			g.Inner = netip.Addr{}
		}
	}
	return list
}

// sources finds the addresses, IPv4 and IPv6, that this host's own packets to the mesh
// have. That is the inner address, if the host has it; else another one of its own
// networks. A host that has none at all is given the inner address on the interface of
// the mesh.
func (a *applied) sources(h *hostView) (sources [2]netip.Addr) {
	for i := range sources {
		for _, addr := range h.addrs {
			if addr.Is6() == (i == 1) && slices.ContainsFunc(a.plan.Own, func(p netip.Prefix) bool { return p.Contains(addr) }) {
				sources[i] = addr
				break
			}
		}
	}
	inner := a.plan.Inner
	if !inner.IsValid() {
		return sources
	}
	family := 0
	if inner.Is6() {
		family = 1
	}
	switch {
	case slices.Contains(h.addrs, inner):
		sources[family], a.inner = inner, inner
	case sources == [2]netip.Addr{}:
		a.state.Addrs = []netif.Addr{{Local: inner}}
		sources[family], a.inner = inner, inner
	default:
		own := cmp.Or(sources[family], sources[1-family])
		a.conflicts = append(a.conflicts, fmt.Sprintf("%v, which nexus takes for this gateway's inner address, is not on this host: "+
			"no links through third gateways; say inner=%v in the network file", inner, own))
	}
	return sources
}

// tell logs what is new of what cannot be had, and of who is who.
func (g *gateway) tell(next, last *applied) {
	var before []string
	if last != nil {
		before = last.conflicts
		g.tellKeys(next.gateways, last.gateways)
	}
	for _, c := range next.conflicts {
		if !slices.Contains(before, c) {
			g.log.Warn("not as the table says", "cause", c)
		}
	}
	for _, c := range before {
		if !slices.Contains(next.conflicts, c) {
			g.log.Info("no longer in the way", "cause", c)
		}
	}
}

// tellKeys logs whose key is new: whoever has it gets what is for the networks there.
func (g *gateway) tellKeys(now, before []registry.Gateway) {
	for _, x := range now {
		i := slices.IndexFunc(before, func(b registry.Gateway) bool { return b.Name == x.Name })
		switch {
		case i < 0:
			g.log.Info("the table has a new gateway", "peer", x.Name, "key", x.Key)
		case before[i].Key != x.Key:
			g.log.Warn("the table has another key for a gateway: was it made anew?", "peer", x.Name, "key", x.Key, "before", before[i].Key)
		}
	}
}

// admit makes the gateways of the table those that have links with this one. Whoever is
// in the table may call; called are those that are there.
func (g *gateway) admit(a *applied) error {
	var callers []tunnel.Peer
	var peers []tunnel.HubPeer
	password, own := crypto.NewPassword(g.Password), g.own.Public()
	for _, other := range a.gateways {
		if other.Name == g.name || other.Key == own {
			continue
		}
		secret := password.LinkSecret(own, other.Key)
		p := tunnel.HubPeer{
			Name: other.Name, Key: crypto.NewPeer(other.Key, secret).ID(), Subnets: other.Subnets,
			Ours: own.Less(other.Key),
		}
		if other.Inner.IsValid() {
			p.Addrs = []netip.Addr{other.Inner}
		}
		i := slices.IndexFunc(a.plan.Peers, func(p mesh.Peer) bool { return p.Name == other.Name })
		if i >= 0 {
			key, err := crypto.NewCallKey(g.own, other.Key, secret)
			if err != nil {
				return fmt.Errorf("%s: %w", other.Name, err)
			}
			p.Call, p.Endpoint = tunnel.NewMeshKey(rand.Reader, key), a.plan.Peers[i].Endpoint
		}
		callers = append(callers, tunnel.Peer{Name: other.Name, Public: other.Key, Secret: secret})
		peers = append(peers, p)
	}
	if err := g.door.SetPeers(callers); err != nil { // who is out cannot call again
		return err
	}
	return g.tunnel.SetMesh(a.inner, peers)
}
