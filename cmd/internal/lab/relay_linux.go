package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Relay passes TCP connections on to a target, in a namespace between the
// ends. It can do to them what bad networks do.
type Relay struct {
	ns     *Namespace
	target netip.AddrPort
	ctx    context.Context // ends with the relay
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	addr     netip.AddrPort
	listener *net.TCPListener // nil while refusing
	served   chan struct{}    // closed when nobody uses listener any more
	gate     chan struct{}    // nil unless stalled, closed by Resume
	delay    time.Duration
	tap      Tap
	pairs    map[*pair]struct{}
	stats    RelayStats
}

// RelayStats is what a relay has seen.
type RelayStats struct {
	Accepted int   // connections ever
	Open     int   // connections now
	Up, Down int64 // bytes passed on, counted after the tap
}

// Relay starts a relay that listens on addr in the namespace; port 0 takes a
// free one. The lab closes it.
func (n *Namespace) Relay(addr, target netip.AddrPort) (*Relay, error) {
	r := &Relay{ns: n, addr: addr, target: target, pairs: make(map[*pair]struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if err := r.Accept(); err != nil {
		r.cancel()
		return nil, err
	}
	n.lab.onClose(r.close)
	return r, nil
}

func (r *Relay) close() error {
	r.cancel()
	err := r.Refuse()
	r.wg.Wait()
	return err
}

// Addr returns where the relay listens.
func (r *Relay) Addr() netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addr
}

// Stats returns what the relay has seen so far.
func (r *Relay) Stats() RelayStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Open = len(r.pairs)
	return r.stats
}

// Refuse makes the relay refuse new connections until Accept. Those that are
// open go on.
func (r *Relay) Refuse() error {
	r.mu.Lock()
	ln, served := r.listener, r.served
	r.listener = nil
	r.mu.Unlock()
	if ln == nil {
		return nil
	}
	err := ln.Close()
	<-served // until then the kernel goes on listening
	return err
}

// Accept ends Refuse: the relay listens on its address again.
func (r *Relay) Accept() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != nil {
		return nil
	}
	ln, err := r.ns.Listen(r.addr)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	r.listener = ln
	r.addr = ln.Addr().(*net.TCPAddr).AddrPort()
	served := make(chan struct{})
	r.served = served
	r.wg.Go(func() {
		defer close(served)
		r.serve(ln)
	})
	return nil
}

// Reset resets all open connections, both ends get a RST, and returns how
// many there were.
func (r *Relay) Reset() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.pairs {
		p.end(errReset)
	}
	return len(r.pairs)
}

// Blackhole swallows all that the open connections send from now on; neither
// end is told. New connections are not concerned.
func (r *Relay) Blackhole() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.pairs {
		p.lost.Store(true)
	}
}

// Stall holds the bytes of all connections back until Resume.
func (r *Relay) Stall() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gate == nil {
		r.gate = make(chan struct{})
	}
}

// Resume ends Stall. Nothing was lost.
func (r *Relay) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gate != nil {
		close(r.gate)
		r.gate = nil
	}
}

// Delay holds each chunk back for d, one after the other: more than a
// chunk's 64 KiB in d do not pass.
func (r *Relay) Delay(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

// Tap lets tap see and change all bytes, nil takes it away.
func (r *Relay) Tap(tap Tap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tap = tap
}

func (r *Relay) serve(ln *net.TCPListener) {
	for {
		client, err := ln.AcceptTCP()
		if err != nil { // closed by Refuse
			return
		}
		p := r.admit(client)
		r.wg.Go(func() {
			p.carry()
			r.dismiss(p)
		})
	}
}

func (r *Relay) admit(client *net.TCPConn) *pair {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &pair{relay: r, number: r.stats.Accepted, client: client}
	p.ctx, p.end = context.WithCancelCause(r.ctx)
	r.pairs[p] = struct{}{}
	r.stats.Accepted++
	return p
}

func (r *Relay) dismiss(p *pair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.end(nil)
	delete(r.pairs, p)
}

// way returns what a chunk meets now.
func (r *Relay) way() (tap Tap, delay time.Duration, gate <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tap, r.delay, r.gate
}

func (r *Relay) count(d Direction, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d == Up {
		r.stats.Up += int64(n)
	} else {
		r.stats.Down += int64(n)
	}
}
