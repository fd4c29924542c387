package tunnel

import (
	"net/netip"
	"sync"
)

// lobby bounds the callers that have not proved a key. When it is full, the
// oldest caller of the busiest network gives way, so that one network cannot keep
// the others out. Who has proved a key has left.
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

// leave takes a caller out; one that has left already is no mistake.
func (l *lobby) leave(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(p)
}

// oldest returns the first caller of the busiest network.
func (l *lobby) oldest() *place {
	first := l.places[0]
	for _, p := range l.places {
		if l.crowd[p.network] > l.crowd[first.network] {
			first = p
		}
	}
	return first
}

func (l *lobby) remove(p *place) {
	for i, q := range l.places {
		if q == p {
			l.places = append(l.places[:i], l.places[i+1:]...)
			if l.crowd[p.network]--; l.crowd[p.network] == 0 {
				delete(l.crowd, p.network)
			}
			return
		}
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
