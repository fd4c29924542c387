package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// minMTU6 is the least MTU that IPv6 works with. Below it the kernel takes all
// IPv6 addresses off the interface.
const minMTU6 = 1280

// planner computes the steps from what the host has to what is wanted. The
// lists are carried out in the order in which they stand here, so that no
// moment of the change lets packets escape or cuts the path to a server.
type planner struct {
	host host
	dev  link
	want State
	rec  record // what will be ours

	setup   []step // MTU, up, addresses
	pins    []step
	routes  []step
	unroute []step
	unpin   []step
	unaddr  []step

	ours map[hostRoute]bool // the routes in rec that the host has
	fib  []hostRoute        // the routing table as it will be, without our pins

	repair bool // go on without what cannot be had
	left   error
}

func newPlanner(h host, rec record, dev link, want State) *planner {
	rec = rec.present(h)
	return &planner{host: h, dev: dev, want: want, rec: rec, ours: rec.routeSet()}
}

func (p *planner) steps() []step {
	return slices.Concat(p.setup, p.pins, p.routes, p.unroute, p.unpin, p.unaddr)
}

// planApply returns the steps that bring dev to want, and the record to be
// written before they are taken. Addresses in dialed have been asked for by Pin.
func planApply(h host, rec record, dev link, want State, dialed []netip.Addr) ([]step, record, error) {
	if rec.Device.Index != dev.index {
		if undo := planUndo(h, rec); len(undo) > 0 {
			return undo, rec, nil
		}
		rec = record{Device: device{Name: dev.name, Index: dev.index}}
	}
	p := newPlanner(h, rec, dev, want)
	if err := p.plan(dialed); err != nil {
		return nil, rec, err
	}
	return p.steps(), p.rec, nil
}

// planRepair is planApply for a device that was once as wanted. It goes on without
// what cannot be had, and says in the error what that is.
func planRepair(h host, rec record, dev link, want State, dialed []netip.Addr) ([]step, record, error) {
	p := newPlanner(h, rec, dev, want)
	p.repair = true
	_ = p.plan(dialed) // it refuses nothing
	return p.steps(), p.rec, p.left
}

func (p *planner) plan(dialed []netip.Addr) error {
	p.planLink()
	if err := p.planAddrs(); err != nil {
		return err
	}
	if err := p.planRoutes(); err != nil {
		return err
	}
	return p.planPins(dialed)
}

// refuse returns the error, or in a repair notes it and lets the plan go on.
func (p *planner) refuse(err error) error {
	if !p.repair {
		return err
	}
	p.left = errors.Join(p.left, err)
	return nil
}

func (p *planner) planLink() {
	if mtu := p.want.MTU; mtu != 0 && mtu != p.dev.mtu {
		if p.rec.Device.OldMTU == 0 {
			p.rec.Device.OldMTU = p.dev.mtu
		}
		if mtu < minMTU6 {
			p.keepAddrs6()
		}
		to := p.dev
		to.mtu = mtu
		p.setup = append(p.setup, step{op: opMTU, dev: to})
	}
	if !p.dev.up {
		p.keepAddrs6()
		p.rec.Device.WasDown = true
		p.setup = append(p.setup, step{op: opUp, dev: p.dev})
	}
}

// keepAddrs6 notes the foreign IPv6 addresses of the device, which the kernel
// will drop now or when the device is put back as it was.
func (p *planner) keepAddrs6() {
	for _, a := range p.host.addrs {
		local := a.Local.Addr()
		if a.Dev != p.dev.index || !local.Is6() || local.IsLinkLocalUnicast() || p.owns(a) {
			continue
		}
		if !slices.ContainsFunc(p.rec.Device.Lost, func(x hostAddr) bool { return x.id() == a.id() }) {
			p.rec.Device.Lost = append(p.rec.Device.Lost, a)
		}
	}
}

func (p *planner) planAddrs() error {
	var missing, wanted []hostAddr
	for _, w := range p.want.Addrs {
		a := p.hostAddr(w)
		wanted = append(wanted, a)
		there, err := p.findAddr(a, w)
		if err != nil {
			if err := p.refuse(err); err != nil {
				return err
			}
			continue
		}
		if !there {
			missing = append(missing, a)
		}
	}
	p.dropAddrs(wanted)
	for _, a := range missing {
		p.rec.Addrs = append(p.rec.Addrs, a)
		p.setup = append(p.setup, step{op: opAddAddr, dev: p.dev, addr: a})
	}
	return nil
}

// hostAddr returns the entry for w. It never brings the kernel's own route to
// the other end: when that is wanted it is one of ours. An IPv6 address gets no
// peer at all, because the kernel would add its route to it in any case.
func (p *planner) hostAddr(w Addr) hostAddr {
	a := hostAddr{Dev: p.dev.index, Local: single(w.Local), Flags: flagNoPrefixRoute}
	if w.Local.Is6() {
		a.Flags |= flagNoDAD
	} else {
		a.Peer = w.Remote
	}
	return a
}

// findAddr reports whether the device has the address already. Root need not
// have written it exactly as we would, but it must not name another remote end.
func (p *planner) findAddr(a hostAddr, w Addr) (there bool, err error) {
	if x, ok := p.host.owner(w.Remote); ok {
		return false, fmt.Errorf("remote address %s: it is this host's own, on interface %s", w.Remote, p.name(x.Dev))
	}
	for _, x := range p.host.addrs {
		if x.Local.Addr() != w.Local || p.owns(x) && x.id() != a.id() {
			continue
		}
		if x.Dev != p.dev.index {
			return false, fmt.Errorf("local address %s: interface %s has it already", w.Local, p.name(x.Dev))
		}
		if x.Peer.IsValid() && w.Remote.IsValid() && x.Peer != w.Remote {
			return false, fmt.Errorf("local address %s: interface %s has it already, with remote end %s", w.Local, p.dev.name, x.Peer)
		}
		there = true
	}
	return there, nil
}

// dropAddrs removes our addresses that are not wanted any more: at the very
// end, but before the same local address comes back with another remote end.
func (p *planner) dropAddrs(wanted []hostAddr) {
	for _, a := range p.rec.Addrs {
		del := step{op: opDelAddr, dev: p.dev, addr: a}
		switch {
		case slices.ContainsFunc(wanted, func(w hostAddr) bool { return w.id() == a.id() }):
		case slices.ContainsFunc(wanted, func(w hostAddr) bool { return w.Local == a.Local }):
			p.setup = append(p.setup, del)
		default:
			p.unaddr = append(p.unaddr, del)
		}
	}
}

func (p *planner) planRoutes() error {
	wanted, err := p.wantedRoutes()
	if err != nil {
		return err
	}
	has := make(map[routeKey][]hostRoute)
	for _, r := range p.host.routes {
		has[r.key()] = append(has[r.key()], r)
	}
	keys := make(map[routeKey]bool)
	for _, w := range wanted {
		keys[w.key()] = true
		if err := p.planRoute(w, has[w.key()]); err != nil {
			if err := p.refuse(err); err != nil {
				return err
			}
		}
	}
	p.fib = wanted
	for _, r := range p.host.routes {
		switch {
		case keys[r.key()]: // wanted stands for it
		case !p.ours[r.id()]:
			p.fib = append(p.fib, r)
		case r.Proto == protoRoute:
			p.unroute = append(p.unroute, p.routeStep(opDelRoute, r))
		}
	}
	return nil
}

// planRoute sees to one wanted route, given those of the same key.
func (p *planner) planRoute(w hostRoute, has []hostRoute) error {
	mine := false
	for _, r := range has {
		own := p.ours[r.id()]
		if r.sameWay(w) || !own && r.prepared(w) {
			return nil
		}
		if !own {
			return fmt.Errorf("%s: this host already has %s", w, r.text(p.link(r.Dev)))
		}
		mine = true
	}
	op := opAddRoute
	if mine {
		op = opReplaceRoute
	}
	p.rec.Routes = append(p.rec.Routes, w.id())
	p.routes = append(p.routes, p.routeStep(op, w))
	return nil
}

// prepared reports whether the foreign route r serves as w. Root need not have
// named the source, and may have when we do not care.
func (r hostRoute) prepared(w hostRoute) bool {
	if !r.Source.IsValid() || !w.Source.IsValid() {
		r.Source, w.Source = netip.Addr{}, netip.Addr{}
	}
	return r.sameWay(w)
}

func (p *planner) owns(a hostAddr) bool {
	return slices.ContainsFunc(p.rec.Addrs, func(x hostAddr) bool { return x.id() == a.id() })
}

func (p *planner) routeStep(op op, r hostRoute) step {
	return step{op: op, dev: p.link(r.Dev), route: r}
}

func (p *planner) link(index int) link {
	l, _ := p.host.link(index)
	return l
}

func (p *planner) name(index int) string {
	return p.link(index).name
}
