// Package lobby bounds callers who have not proved anything yet, so that none of them,
// and no network, keeps the others out.
package lobby

import (
	"net/netip"
	"slices"
	"sync"
)

// Lobby bounds the callers whose handshake is not finished. It has two rooms: one for
// strangers, one for callers whose first flight opened. Such a flight may be a recorded
// one, so its caller stays until it has confirmed the session's keys. Neither kind takes
// the places of the other: strangers without number do not push out those who are about
// to confirm, and recorded flights do not keep newcomers from showing theirs.
type Lobby struct {
	mu        sync.Mutex
	strangers Room
	known     Room
}

// Room is some places. When they are taken the oldest caller of the busiest network gives
// way. No network has a bound of its own: many callers behind one address of their
// provider are no special case. Its user has a lock.
type Room struct {
	size   int
	places []*Place // in order of arrival
	crowd  map[netip.Prefix]int
}

// Place is a caller's.
type Place struct {
	network netip.Prefix
	evict   func()
}

// New returns a lobby with so many places for each kind of callers.
func New(strangers, known int) *Lobby {
	return &Lobby{strangers: NewRoom(strangers), known: NewRoom(known)}
}

// NewRoom returns a room with so many places.
func NewRoom(size int) Room {
	return Room{size: size, crowd: make(map[netip.Prefix]int)}
}

// NewPlace returns a place for a caller. evict is called when he has to give way, with
// the lock of the room.
func NewPlace(from netip.Addr, evict func()) *Place {
	return &Place{network: networkOf(from), evict: evict}
}

// Enter adds a stranger. evict is called when he has to give way.
func (l *Lobby) Enter(from netip.Addr, evict func()) *Place {
	p := NewPlace(from, evict)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strangers.Add(p)
	return p
}

// Know notes that a caller's first flight opened.
func (l *Lobby) Know(p *Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.strangers.Remove(p) {
		l.known.Add(p)
	}
}

// Leave takes a caller out; one that has left already is no mistake.
func (l *Lobby) Leave(p *Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strangers.Remove(p)
	l.known.Remove(p)
}

// Add lets a caller in, for whom another one may have to go.
func (r *Room) Add(p *Place) {
	r.places = append(r.places, p)
	r.crowd[p.network]++
	if len(r.places) > r.size {
		old := r.oldest()
		r.Remove(old)
		old.evict()
	}
}

// Len returns how many callers are inside.
func (r *Room) Len() int { return len(r.places) }

// oldest returns who has to give way. It is never the newcomer, in front of whom
// somebody stands in a network as busy as his.
func (r *Room) oldest() *Place {
	first := r.places[0]
	for _, p := range r.places {
		if r.crowd[p.network] > r.crowd[first.network] {
			first = p
		}
	}
	return first
}

// Remove reports whether the caller was there.
func (r *Room) Remove(p *Place) bool {
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

// networkOf returns the network that a caller is counted with: /24 for IPv4, /56 for
// IPv6, which is what one customer is given as a rule.
func networkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 24
	if a.Is6() {
		bits = 56
	}
	p, _ := a.WithZone("").Prefix(bits) // no address: all such callers are one network
	return p
}
