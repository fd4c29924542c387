// Package pool gives the clients of a hub inner addresses, and remembers who has
// which, so that a client keeps its address when it, or the hub, starts again.
//
// The file is text, a line for each client, the one that was seen last at the end:
//
//	vpnd pool 1
//	NAME ADDRESS [ADDRESS]
//
// It is written a moment after a client was given an address, and when the pool is
// closed, beside its place, and then put there.
package pool

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	header = "vpnd pool 1"
	// maxFile bounds what is read, and maxClients who is remembered.
	maxFile    = 8 << 20
	maxClients = 1 << 14
	// maxName bounds a name.
	maxName = 64
	// saveAfter is how long others who come at the same time are waited for.
	saveAfter = time.Second
)

// ErrFull says that every address is taken by a client that is there.
var ErrFull = errors.New("no address is free")

// Pool is the addresses of some ranges. Its methods may be called by many goroutines.
type Pool struct {
	path   string
	ranges []netip.Prefix
	log    *slog.Logger

	writing sync.Mutex // held before mu

	mu       sync.Mutex
	leases   []lease // the one that was seen last at the end
	taken    map[netip.Addr]bool
	reserved map[netip.Addr]bool
	next     []netip.Addr // of each range: where to look for a free one
	dirty    bool         // not all is stored
	timer    *time.Timer  // to store it; nil: none
	closed   bool
}

// lease is what a client has.
type lease struct {
	name  string
	addrs []netip.Addr // one of each range
}

// Open reads the file at path, if it is there. A file that is damaged is an error; a
// line whose addresses are not of the ranges is one of another configuration, and
// forgotten. The log is told who has lost an address, which somebody who can make up names
// brings about as often as he likes, and what cannot be stored.
func Open(path string, ranges []netip.Prefix, log *slog.Logger) (*Pool, error) {
	p := &Pool{path: path, ranges: ranges, log: log, taken: make(map[netip.Addr]bool)}
	for _, r := range ranges {
		p.next = append(p.next, r.Masked().Addr())
	}
	text, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if err := p.parse(text); err != nil {
		return nil, fmt.Errorf("%s: %w: move it away, and the clients get new addresses", path, err)
	}
	return p, nil
}

// fits reports whether a lease is one of these ranges, and of nobody else.
func (p *Pool) fits(l lease) bool {
	if len(l.addrs) != len(p.ranges) || p.find(l.name) >= 0 {
		return false
	}
	for i, a := range l.addrs {
		if !p.isFree(p.ranges[i], a) {
			return false
		}
	}
	return true
}

func (p *Pool) isFree(r netip.Prefix, a netip.Addr) bool {
	return !p.taken[a] && !p.reserved[a] && usable(r, a)
}

// Reserve has nobody get these addresses, instead of those before. Who has one of
// them gets another when he comes again.
func (p *Pool) Reserve(addrs []netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reserved = make(map[netip.Addr]bool)
	for _, a := range addrs {
		p.reserved[a] = true
	}
	for i := len(p.leases) - 1; i >= 0; i-- {
		if slices.ContainsFunc(p.leases[i].addrs, func(a netip.Addr) bool { return p.reserved[a] }) {
			p.drop(i)
		}
	}
}

// drop takes the addresses of a lease back.
func (p *Pool) drop(i int) {
	for _, a := range p.leases[i].addrs {
		delete(p.taken, a)
	}
	p.leases = slices.Delete(p.leases, i, i+1)
	p.save()
}

func (p *Pool) add(l lease) {
	p.leases = append(p.leases, l)
	for _, a := range l.addrs {
		p.taken[a] = true
	}
}

func (p *Pool) find(name string) int {
	return slices.IndexFunc(p.leases, func(l lease) bool { return l.name == name })
}

// Offer returns what Take would, and gives nothing away: two clients may be offered
// the same.
func (p *Pool) Offer(name string, wish []netip.Addr, busy func(name string) bool) (offer []netip.Addr, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := checkName(name); err != nil {
		return nil, err
	}
	if i := p.find(name); i >= 0 {
		return slices.Clone(p.leases[i].addrs), nil
	}
	oldest := slices.IndexFunc(p.leases, func(l lease) bool { return !busy(l.name) })
	switch {
	case len(p.leases) == maxClients && oldest < 0:
		return nil, ErrFull
	case len(p.leases) == maxClients:
		return slices.Clone(p.leases[oldest].addrs), nil
	}
	for i, r := range p.ranges {
		a, ok := p.wished(r, wish)
		if !ok {
			a, ok = p.free(i)
		}
		if !ok && oldest >= 0 {
			a, ok = p.leases[oldest].addrs[i], true
		}
		if !ok {
			return nil, fmt.Errorf("pool %v: %w", r, ErrFull)
		}
		offer = append(offer, a)
	}
	return offer, nil
}

// Take returns the addresses of a client, the same as ever if it had some. A wish is
// granted if nobody else has the address. When none is left, the client that was
// away for the longest time loses its addresses; busy tells which are not away. When
// too many are remembered it does so, too, and the client gets just these.
func (p *Pool) Take(name string, wish []netip.Addr, busy func(name string) bool) ([]netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := checkName(name); err != nil {
		return nil, err
	}
	if i := p.find(name); i >= 0 {
		l := p.leases[i]
		if i < len(p.leases)-1 {
			p.leases = append(slices.Delete(p.leases, i, i+1), l)
			p.save()
		}
		return slices.Clone(l.addrs), nil
	}
	if len(p.leases) == maxClients {
		lost := p.forget(busy)
		if lost == nil {
			return nil, ErrFull
		}
		wish = lost // that is how the hub learns who has lost them
	}
	l := lease{name: name}
	for i, r := range p.ranges {
		a, ok := p.wished(r, wish)
		for !ok {
			if a, ok = p.free(i); !ok && p.forget(busy) == nil {
				return nil, fmt.Errorf("pool %v: %w", r, ErrFull)
			}
		}
		l.addrs = append(l.addrs, a)
	}
	p.add(l)
	p.save()
	return slices.Clone(l.addrs), nil
}

// checkName returns an error unless a line of the file can have the name.
func checkName(name string) error {
	if len(name) > maxName || strings.ContainsAny(name, " \n") || name == "" {
		return fmt.Errorf("%q is not a name for a client of a pool", name)
	}
	return nil
}

// wished returns the address of a range that a client wishes to have, if it can.
func (p *Pool) wished(r netip.Prefix, wish []netip.Addr) (netip.Addr, bool) {
	for _, a := range wish {
		if p.isFree(r, a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// free returns an address of range i that nobody has. One that was given back is not
// used again before the others.
func (p *Pool) free(i int) (netip.Addr, bool) {
	a, ok := Free(p.ranges[i], p.next[i], func(a netip.Addr) bool { return p.taken[a] || p.reserved[a] })
	p.next[i] = a // of a full range: nothing, so that the next search starts at its begin
	return a, ok
}

// Free returns the first address behind another one of a range, or else from its
// beginning on, that a host can have and that is not taken.
func Free(r netip.Prefix, behind netip.Addr, taken func(netip.Addr) bool) (netip.Addr, bool) {
	for a, begun := behind.Next(), false; ; a = a.Next() {
		if !r.Contains(a) {
			if begun {
				return netip.Addr{}, false
			}
			a, begun = r.Masked().Addr(), true
		}
		if usable(r, a) && !taken(a) {
			return a, true
		}
	}
}

// forget takes the addresses of the client that was away for the longest time, and
// returns them: nil if none is away.
func (p *Pool) forget(busy func(name string) bool) (lost []netip.Addr) {
	i := slices.IndexFunc(p.leases, func(l lease) bool { return !busy(l.name) })
	if i < 0 {
		return nil
	}
	lost = p.leases[i].addrs
	p.log.Warn("the pool is full: a client that is away loses its address", "client", p.leases[i].name, "address", p.leases[i].addrs)
	p.drop(i)
	return lost
}

// usable reports whether a host of a network can have an address: not the first and
// the last one of it, unless it is too small for that.
func usable(r netip.Prefix, a netip.Addr) bool {
	if !r.Contains(a) {
		return false
	}
	if r.Addr().BitLen()-r.Bits() < 2 {
		return true
	}
	first := a == r.Masked().Addr()
	last := a.Is4() && !r.Contains(a.Next())
	return !first && !last
}

// Close stores what is not stored.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	return p.store()
}
