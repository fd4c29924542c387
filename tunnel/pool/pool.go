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
	"os"
	"path/filepath"
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
// forgotten.
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

// read returns the text of a file, none if there is no file.
func read(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return header + "\n", nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return "", errors.New("not a file of a pool")
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

func (p *Pool) parse(text string) error {
	first, rest, _ := strings.Cut(text, "\n")
	if first != header {
		return fmt.Errorf("it does not begin with %q", header)
	}
	num := 1
	for line := range strings.Lines(rest) {
		num++
		l, err := parseLease(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return fmt.Errorf("line %d: %w", num, err)
		}
		if p.fits(l) && len(p.leases) < maxClients {
			p.add(l)
		}
	}
	return nil
}

func parseLease(line string) (l lease, err error) {
	words := strings.Split(line, " ")
	if len(words) < 2 || len(words) > 3 || words[0] == "" || len(words[0]) > maxName {
		return l, errors.New("not a name and addresses")
	}
	l.name = words[0]
	for _, word := range words[1:] {
		a, err := netip.ParseAddr(word)
		if err != nil {
			return l, err
		}
		l.addrs = append(l.addrs, a)
	}
	return l, nil
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

// Take returns the addresses of a client, the same as ever if it had some. A wish is
// granted if nobody else has the address. When none is left, the client that was
// away for the longest time loses its addresses; busy tells which are not away. When
// too many are remembered it does so, too, and the client gets just these.
func (p *Pool) Take(name string, wish []netip.Addr, busy func(name string) bool) ([]netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(name) > maxName || strings.ContainsAny(name, " \n") || name == "" {
		return nil, fmt.Errorf("%q is not a name for a client of a pool", name)
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
	r := p.ranges[i]
	for range len(p.taken) + len(p.reserved) + 3 { // one more than there can be in the way
		a := p.next[i].Next()
		if !r.Contains(a) {
			a = r.Masked().Addr()
		}
		p.next[i] = a
		if p.isFree(r, a) {
			return a, true
		}
	}
	return netip.Addr{}, false
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

// save has the file written soon.
func (p *Pool) save() {
	p.dirty = true
	if p.timer != nil || p.closed {
		return
	}
	p.timer = time.AfterFunc(saveAfter, func() {
		if err := p.store(); err != nil {
			p.log.Error("addresses of the pool not stored: they may be others after a restart", "error", err)
		}
	})
}

// store writes the file if there is news.
func (p *Pool) store() error {
	p.writing.Lock()
	defer p.writing.Unlock()
	text, dirty := p.text()
	if !dirty {
		return nil
	}
	err := replace(p.path, text)
	if err != nil {
		p.mu.Lock()
		p.dirty = true // the next one tries again
		p.mu.Unlock()
	}
	return err
}

// text returns what is to be written, and whether that is news.
func (p *Pool) text() (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	b.WriteString(header + "\n")
	for _, l := range p.leases {
		b.WriteString(l.name)
		for _, a := range l.addrs {
			b.WriteString(" " + a.String())
		}
		b.WriteString("\n")
	}
	dirty := p.dirty
	p.dirty, p.timer = false, nil
	return b.String(), dirty
}

// replace makes path a new file with this text. At any moment the old one or the new
// one is there.
func replace(path, text string) (err error) {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
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
