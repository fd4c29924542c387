package netif

import (
	"fmt"
	"net/netip"
	"slices"
)

// wantedRoutes returns the entries that the wanted state calls for.
func (p *planner) wantedRoutes() ([]hostRoute, error) {
	wanted := p.autoRoutes()
	seen := make(map[routeKey]hostRoute)
	for _, r := range p.want.Routes {
		w, err := p.wantedRoute(r, wanted)
		if err != nil {
			if err := p.refuse(err); err != nil {
				return nil, err
			}
			continue
		}
		if first, twice := seen[w.key()]; twice {
			return nil, fmt.Errorf("%s: the same as %s", w, first)
		}
		seen[w.key()] = w
		wanted = append(wanted, w)
	}
	return wanted, nil
}

// autoRoutes returns the routes to the remote ends, as the kernel would make
// them, except those that are declared.
func (p *planner) autoRoutes() []hostRoute {
	var routes []hostRoute
	for _, a := range p.want.Addrs {
		if !p.want.AutoRoute || !a.Remote.IsValid() {
			continue
		}
		w := hostRoute{Dest: single(a.Remote), Dev: p.dev.index, Proto: protoRoute, where: "autoroute"}
		if a.Remote.Is6() {
			w.Metric = peerMetric6
		} else {
			w.Source = a.Local
		}
		if !slices.ContainsFunc(p.want.Routes, func(r Route) bool { return r.Dest == w.Dest && r.Metric == w.Metric }) {
			routes = append(routes, w)
		}
	}
	return routes
}

// wantedRoute returns the entry for r, given the other wanted ones so far.
func (p *planner) wantedRoute(r Route, others []hostRoute) (hostRoute, error) {
	w := hostRoute{Dest: r.Dest.Masked(), Source: r.Source, Metric: r.Metric, Proto: protoRoute, where: r.Where}
	if w.Metric == 0 && w.Dest.Addr().Is6() {
		w.Metric = defaultMetric6
	}
	if w.Source.IsValid() && !p.isLocal(w.Source) && !p.isWantedLocal(w.Source) {
		return w, fmt.Errorf("%s: source %s is not an address of this host", w, w.Source)
	}
	w.Gateway = r.Gateway
	if !r.Gateway.IsValid() || p.isRemote(r.Gateway) {
		w.Dev, w.onlink = p.dev.index, r.Gateway.IsValid()
		return w, nil
	}
	if p.isLocal(r.Gateway) || p.isWantedLocal(r.Gateway) {
		return w, fmt.Errorf("%s: gateway %s is this host itself", w, r.Gateway)
	}
	dev, ok := p.linkTo(r.Gateway, others)
	if !ok {
		return w, fmt.Errorf("%s: gateway %s is on no network that this host is directly connected to", w, r.Gateway)
	}
	w.Dev = dev
	return w, nil
}

// linkTo returns the interface that leads to a gateway, as the kernel finds it.
func (p *planner) linkTo(gateway netip.Addr, wanted []hostRoute) (dev int, ok bool) {
	foreign := func(r hostRoute) bool { return !p.ours[r.id()] }
	r, found := best(p.host.routes, gateway, foreign)
	if w, _ := best(wanted, gateway, all); w.beats(r) {
		r, found = w, true
	}
	return r.Dev, found && r.kind == unicast && !r.Gateway.IsValid()
}

func all(hostRoute) bool { return true }

func (p *planner) isRemote(a netip.Addr) bool {
	return slices.ContainsFunc(p.want.Addrs, func(w Addr) bool { return w.Remote == a })
}

func (p *planner) isWantedLocal(a netip.Addr) bool {
	return slices.ContainsFunc(p.want.Addrs, func(w Addr) bool { return w.Local == a })
}

func (p *planner) isLocal(a netip.Addr) bool {
	_, ok := p.host.owner(a)
	return ok || a.IsLoopback()
}
