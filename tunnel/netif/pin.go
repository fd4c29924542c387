package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// firstPinMetric is what pinMetric counts down from.
const firstPinMetric = 30000

// planPin returns the steps that keep outer reachable outside the tunnel, given
// that the host is otherwise as wanted. It also drops the pins of addresses
// that are not in dialed any more.
func planPin(h host, rec record, dev link, want State, outer netip.Addr, dialed []netip.Addr) ([]step, record, error) {
	p := newPlanner(h, rec, dev, want)
	p.fib = h.routes
	if err := p.pin(outer); err != nil {
		return nil, rec, err
	}
	p.dropPins(slices.Concat(want.Outer, dialed))
	return p.steps(), p.rec, nil
}

// errNoWay says that an outer address cannot be reached outside the tunnel just
// now. The host may not have its network yet.
var errNoWay = errors.New("this host has no other way to it")

// planPins sees to the pins of all known outer addresses. One that the host has no
// way to just now keeps what it has: the next Pin will tell. The same holds for
// whatever is wrong with one that was only dialed.
func (p *planner) planPins(dialed []netip.Addr) error {
	outers := slices.Concat(p.want.Outer, dialed)
	for i, outer := range outers {
		if slices.Contains(outers[:i], outer) {
			continue
		}
		err := p.pin(outer)
		if err == nil || errors.Is(err, errNoWay) || i >= len(p.want.Outer) {
			continue
		}
		if err := p.refuse(err); err != nil {
			return err
		}
	}
	p.dropPins(outers)
	return nil
}

// pin sees to the pin of one outer address.
func (p *planner) pin(outer netip.Addr) error {
	want, needed, err := p.findPin(outer)
	if err != nil {
		return err
	}
	for _, r := range p.rec.Routes {
		if r.Proto != protoPin || r.Dest != single(outer) {
			continue
		}
		if r.sameWay(want) {
			needed = false
			continue
		}
		p.unpin = append(p.unpin, p.routeStep(opDelRoute, r))
	}
	if needed {
		want.Metric = p.pinMetric(want)
		p.rec.Routes = append(p.rec.Routes, want.id())
		p.pins = append(p.pins, p.routeStep(opAddRoute, want))
	}
	return nil
}

// findPin returns the pin for outer, if it needs one, or none. It does when the
// tunnel's best route to it beats all others.
func (p *planner) findPin(outer netip.Addr) (pin hostRoute, needed bool, err error) {
	if p.isRemote(outer) {
		return pin, false, fmt.Errorf("remote address %s is also the address of the server: the tunnel cannot run through itself", outer)
	}
	inner, covered := best(p.fib, outer, func(r hostRoute) bool { return r.Dev == p.dev.index })
	if !covered || p.isLocal(outer) {
		return pin, false, nil
	}
	inner.where = p.where(inner)
	if inner.Dest.IsSingleIP() {
		return pin, false, fmt.Errorf("%s leads the path to the server into its own tunnel", inner)
	}
	way, ok := best(p.fib, outer, p.outside(outer))
	if way.beats(inner) {
		return pin, false, nil
	}
	if !ok || way.kind == reject {
		return pin, false, fmt.Errorf("%s would swallow the path to the server %s and %w", inner, outer, errNoWay)
	}
	way.Dest, way.Proto = single(outer), protoPin
	return way, true, nil
}

// outside returns which routes count as a way to outer outside of the tunnel.
// When another instance has pinned the same server, it did so because its own
// tunnel is no way either. Pins of others are not taken for a way themselves:
// two instances would for ever copy a way that has gone from one another.
func (p *planner) outside(outer netip.Addr) func(hostRoute) bool {
	pinned := make(map[int]bool) // the interfaces that others go by
	for _, r := range p.host.routes {
		if r.Proto == protoPin && r.Dest == single(outer) && !p.ours[r.id()] {
			pinned[r.Dev] = true
		}
	}
	return func(r hostRoute) bool {
		if r.Dev == p.dev.index || r.Proto == protoPin {
			return false
		}
		return len(pinned) == 0 || pinned[r.Dev] || !p.link(r.Dev).tun
	}
}

// where says who asked for a route, for one that was read from the host.
func (p *planner) where(r hostRoute) string {
	for _, w := range p.want.Routes {
		if w.Dest.Masked() == r.Dest {
			return w.Where
		}
	}
	return r.where
}

// pinMetric returns the metric of a new pin. The pin made last knows best: it
// beats those that lead another way, which another instance has not renewed yet
// or has left behind when its state file was lost.
func (p *planner) pinMetric(pin hostRoute) int {
	metric := firstPinMetric
	taken := make(map[int]bool)
	for _, r := range p.host.routes {
		if r.Dest != pin.Dest {
			continue
		}
		taken[r.Metric] = true
		if !p.ours[r.id()] && !r.sameWay(pin) {
			metric = min(metric, r.Metric-1)
		}
	}
	for taken[metric] {
		metric--
	}
	return metric
}

// dropPins removes the pins of addresses that are not in use any more.
func (p *planner) dropPins(inUse []netip.Addr) {
	for _, r := range p.rec.Routes {
		if r.Proto == protoPin && !slices.Contains(inUse, r.Dest.Addr()) {
			p.unpin = append(p.unpin, p.routeStep(opDelRoute, r))
		}
	}
}
