package netif

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// fakeKernel is a kernel that lives in memory. It follows the real one where
// that matters here, which the tests in namespaces show.
type fakeKernel struct {
	host host
}

func (k *fakeKernel) place() string { return "" }
func (k *fakeKernel) close()        {}

func (k *fakeKernel) read() (host, error) {
	h := k.host
	h.links, h.addrs, h.routes = slices.Clone(h.links), slices.Clone(h.addrs), slices.Clone(h.routes)
	slices.SortStableFunc(h.routes, func(a, b hostRoute) int { // as the real one does
		return cmp.Or(a.Dest.Addr().Compare(b.Dest.Addr()), b.Dest.Bits()-a.Dest.Bits(), a.Metric-b.Metric)
	})
	return h, nil
}

func (k *fakeKernel) do(s step) error {
	l := slices.IndexFunc(k.host.links, func(l link) bool { return l.index == s.dev.index })
	if l < 0 {
		return errors.New("no such device")
	}
	dev := &k.host.links[l]
	switch s.op {
	case opMTU:
		dev.mtu = s.dev.mtu
		k.flush6(dev.index, dev.mtu < minMTU6)
	case opUp:
		dev.up = true
	case opDown:
		dev.up = false
		k.flush6(dev.index, true)
		k.host.routes = slices.DeleteFunc(k.host.routes, func(r hostRoute) bool { return r.Dev == dev.index })
	case opAddAddr:
		if k.host.hasAddr(s.addr) {
			return errChanged
		}
		k.host.addrs = append(k.host.addrs, s.addr)
	case opDelAddr:
		k.host.addrs = slices.DeleteFunc(k.host.addrs, func(a hostAddr) bool { return a.id() == s.addr.id() })
		k.host.routes = slices.DeleteFunc(k.host.routes, func(r hostRoute) bool { return r.Source == s.addr.Local.Addr() })
	default:
		return k.changeRoute(s, dev.up)
	}
	return nil
}

// flush6 does what happens when IPv6 ends on an interface.
func (k *fakeKernel) flush6(dev int, ends bool) {
	if !ends {
		return
	}
	k.host.addrs = slices.DeleteFunc(k.host.addrs, func(a hostAddr) bool { return a.Dev == dev && a.Local.Addr().Is6() })
	k.host.routes = slices.DeleteFunc(k.host.routes, func(r hostRoute) bool { return r.Dev == dev && r.Dest.Addr().Is6() })
}

func (k *fakeKernel) changeRoute(s step, up bool) error {
	r := s.route
	r.where = ""
	if s.op == opDelRoute {
		k.host.routes = slices.DeleteFunc(k.host.routes, func(x hostRoute) bool { return x.id() == r.id() })
		return nil
	}
	if !up {
		return errors.New("network is down")
	}
	if r.Source.IsValid() {
		if _, ok := k.host.owner(r.Source); !ok {
			return errors.New("invalid source")
		}
	}
	i := slices.IndexFunc(k.host.routes, func(x hostRoute) bool { return x.key() == r.key() })
	switch {
	case i < 0:
		k.host.routes = append(k.host.routes, r)
	case s.op == opAddRoute:
		return errChanged
	default:
		k.host.routes[i] = r
	}
	return nil
}

// spyKernel stands between a Set and a kernel.
type spyKernel struct {
	kernel
	boot  string
	deny  bool     // refuse all, as for an ordinary user
	log   []string // the steps taken
	crash func()   // called before and after each step
}

func (k *spyKernel) place() string { return k.boot }

func (k *spyKernel) do(s step) error {
	if k.deny {
		return fmt.Errorf("%w: operation not permitted", ErrPermission)
	}
	if k.crash != nil {
		k.crash()
		defer k.crash()
	}
	k.log = append(k.log, s.String())
	return k.kernel.do(s)
}

// String lists a host, one thing a line. It names interfaces by their names
// only, so that two hosts can be compared.
func (h host) String() string {
	var lines []string
	for _, l := range h.links {
		state := "down"
		if l.up {
			state = "up"
		}
		lines = append(lines, fmt.Sprintf("link %s %d %s", l.name, l.mtu, state))
	}
	for _, a := range h.addrs {
		dev, _ := h.link(a.Dev)
		line := "addr " + dev.name + " " + a.Local.String()
		if a.Peer.IsValid() {
			line += " peer " + a.Peer.String()
		}
		lines = append(lines, line+a.flagText())
	}
	for _, r := range h.routes {
		dev, _ := h.link(r.Dev)
		lines = append(lines, fmt.Sprintf("route %s proto %d", r.text(dev), r.Proto))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// edit carries out one line, with "del" before it to take away:
//
//	link NAME MTU up|down
//	addr DEV LOCAL/BITS [peer PEER]
//	route DEST dev DEV [via GATEWAY] [onlink] [src SOURCE] [metric N] [proto N] [reject|dead]
func (h *host) edit(line string) {
	f := strings.Fields(line)
	del := f[0] == "del"
	if del {
		f = f[1:]
	}
	switch f[0] {
	case "link":
		l := parseLink(f[1:])
		l.index = len(h.links) + 1
		if old, ok := h.named(l.name); ok {
			l.index = old.index
		}
		edit(&h.links, l, del, func(l link) any { return l.name })
	case "addr":
		edit(&h.addrs, h.parseAddr(f[1:]), del, func(a hostAddr) any { return a.id() })
	case "route":
		edit(&h.routes, h.parseRoute(f[1:]), del, func(r hostRoute) any { return r.id() })
	default:
		panic(line)
	}
}

// edit replaces the item with the same identity, or adds it, or takes it away.
func edit[T any](list *[]T, item T, del bool, id func(T) any) {
	*list = slices.DeleteFunc(*list, func(x T) bool { return id(x) == id(item) })
	if !del {
		*list = append(*list, item)
	}
}

func parseLink(f []string) link {
	return link{name: f[0], mtu: number(f[1]), up: f[2] == "up", tun: strings.HasPrefix(f[0], "vpn")}
}

func (h *host) parseAddr(f []string) hostAddr {
	a := hostAddr{Dev: h.index(f[0]), Local: netip.MustParsePrefix(f[1])}
	if a.Local.Addr().Is6() {
		a.Flags = flagNoDAD
	}
	if len(f) > 2 {
		a.Peer = netip.MustParseAddr(f[3])
	}
	return a
}

func (h *host) parseRoute(f []string) hostRoute {
	r := hostRoute{Dest: netip.MustParsePrefix(f[0]), Proto: 3}
	for f = f[1:]; len(f) > 0; f = f[1:] {
		switch f[0] {
		case "onlink":
			r.onlink = true
			continue
		case "reject":
			r.kind = reject
			continue
		case "dead":
			r.kind = dead
			continue
		case "dev":
			r.Dev = h.index(f[1])
		case "via":
			r.Gateway = netip.MustParseAddr(f[1])
		case "src":
			r.Source = netip.MustParseAddr(f[1])
		case "metric":
			r.Metric = number(f[1])
		case "proto":
			r.Proto = number(f[1])
		default:
			panic(f[0])
		}
		f = f[1:]
	}
	return r
}

func (h *host) index(name string) int {
	l, ok := h.named(name)
	if !ok {
		panic("no interface " + name)
	}
	return l.index
}

func number(s string) int {
	var n int
	if _, err := fmt.Sscan(s, &n); err != nil {
		panic(s)
	}
	return n
}
