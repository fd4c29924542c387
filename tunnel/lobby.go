package tunnel

import (
	"net/netip"
	"slices"
	"sync"
)

// lobby bounds the callers whose handshake is not finished. When it is full, the
// oldest caller of the busiest network gives way, so that one network cannot keep
// the others out. Those whose first flight opened give way last, and do not count
// for their network: but it may be a recorded one, so they stay in the lobby until
// they have confirmed the session's keys.
type lobby struct {
	size   int
	mu     sync.Mutex
	places []*place // in order of arrival
	crowd  map[netip.Prefix]int
}

// place is a caller's in the lobby.
type place struct {
	network netip.Prefix
	evict   func()
	known   bool // the first flight opened
}

func newLobby(size int) *lobby {
	return &lobby{size: size, crowd: make(map[netip.Prefix]int)}
}

// enter adds a caller. evict is called when it has to give way.
func (l *lobby) enter(from netip.AddrPort, evict func()) *place {
	p := &place{network: networkOf(from.Addr()), evict: evict}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places = append(l.places, p)
	l.crowd[p.network]++
	if len(l.places) > l.size {
		old := l.oldest()
		l.remove(old)
		old.evict()
	}
	return p
}

// know notes that a caller's first flight opened.
func (l *lobby) know(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.places, p) {
		l.uncount(p)
		p.known = true
	}
}

// leave takes a caller out; one that has left already is no mistake.
func (l *lobby) leave(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(p)
}

// oldest returns who has to give way to the newcomer.
func (l *lobby) oldest() *place {
	var first *place
	for _, p := range l.places[:len(l.places)-1] {
		if !p.known && (first == nil || l.crowd[p.network] > l.crowd[first.network]) {
			first = p
		}
	}
	if first == nil {
		return l.places[0]
	}
	return first
}

func (l *lobby) remove(p *place) {
	i := slices.Index(l.places, p)
	if i < 0 {
		return
	}
	l.places = slices.Delete(l.places, i, i+1)
	l.uncount(p)
}

func (l *lobby) uncount(p *place) {
	if p.known {
		return
	}
	if l.crowd[p.network]--; l.crowd[p.network] == 0 {
		delete(l.crowd, p.network)
	}
}

// networkOf returns the network that a caller is counted with: /24 for IPv4, /56
// for IPv6, which is what one customer is given as a rule.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 56
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: all such callers are one network
	}
	return p
}
