package tunnel

import (
	"net/netip"
	"slices"
	"sync"
)

// lobby bounds the callers whose handshake is not finished. It has two rooms: one
// for strangers, one for callers whose first flight opened. Such a flight may be a recorded one, so its caller stays until it has confirmed
// the session's keys. Neither kind takes the places of the other: strangers
// without number do not push out those who are about to confirm, and recorded
// flights do not keep newcomers from showing theirs.
type lobby struct {
	mu        sync.Mutex
	strangers room
	known     room
}

// room is some places. When they are taken the oldest caller of the busiest
// network gives way, so that one network cannot keep the others out.
type room struct {
	size   int
	places []*place // in order of arrival
	crowd  map[netip.Prefix]int
}

// place is a caller's in the lobby.
type place struct {
	network netip.Prefix
	evict   func()
}

// newLobby returns a lobby with so many places for each kind of callers.
func newLobby(strangers, known int) *lobby {
	return &lobby{strangers: newRoom(strangers), known: newRoom(known)}
}

func newRoom(size int) room {
	return room{size: size, crowd: make(map[netip.Prefix]int)}
}

// enter adds a stranger. evict is called when it has to give way.
func (l *lobby) enter(from netip.AddrPort, evict func()) *place {
	p := &place{network: networkOf(from.Addr()), evict: evict}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strangers.add(p)
	return p
}

// know notes that a caller's first flight opened.
func (l *lobby) know(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.strangers.remove(p) {
		l.known.add(p)
	}
}

// leave takes a caller out; one that has left already is no mistake.
func (l *lobby) leave(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strangers.remove(p)
	l.known.remove(p)
}

func (r *room) add(p *place) {
	r.places = append(r.places, p)
	r.crowd[p.network]++
	if len(r.places) > r.size {
		old := r.oldest()
		r.remove(old)
		old.evict()
	}
}

// oldest returns who has to give way. It is never the newcomer, in front of whom
// somebody stands in a network as busy as his.
func (r *room) oldest() *place {
	first := r.places[0]
	for _, p := range r.places {
		if r.crowd[p.network] > r.crowd[first.network] {
			first = p
		}
	}
	return first
}

// remove reports whether p was there.
func (r *room) remove(p *place) bool {
	i := slices.Index(r.places, p)
	if i < 0 {
		return false
	}
	r.places = slices.Delete(r.places, i, i+1)
	if r.crowd[p.network]--; r.crowd[p.network] == 0 {
		delete(r.crowd, p.network)
	}
	return true
}

// networkOf returns the network that a caller is counted with: /24 for IPv4, /56
// for IPv6, which is what one customer is given as a rule.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 56
	}
	p, _ := a.Prefix(bits) // no address: all such callers are one network
	return p
}
