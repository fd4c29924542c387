package tunnel

import (
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"vpnd/crypto"
)

// peer is one other end: its link, and what is counted of it. A tunnel with two ends
// has one, to which everything belongs; a hub has one for each client.
type peer struct {
	name   string
	count  *counters
	inside *deliverer
	link   atomic.Pointer[session] // where its packets go; nil: nowhere
	rates  rates
	notes  *notes

	// Of a client of a hub.
	key    crypto.KeyID // of a key of its own
	proof  *crypto.Peer // that key with its secret; nil: the secret follows from the key
	addrs  []netip.Addr
	behind []netip.Prefix

	// Of a mesh.
	doubt   atomic.Int64            // clock since when an answer on the link counts, ns
	via     atomic.Pointer[peer]    // whom a link through a third peer goes through
	ways    atomic.Pointer[[]*peer] // whom a call for such a link goes through; nil: there is none
	opening atomic.Pointer[opening] // the peer's last one; nil: none

	// Tunnel.mu guards the rest.
	calls  equal
	since  time.Time // of the state
	reason string    // of no link
	flaps  flapLimit
	turns  turns
	taken  <-chan struct{} // of the last link, in no mesh
	gone   bool            // from the hub: no session may begin any more
}

// links returns the sessions that are links.
func (t *Tunnel) links() (all []*session) {
	for _, p := range t.peers() {
		if s := p.link.Load(); s != nil {
			all = append(all, s)
		}
	}
	return all
}

// peers returns the other ends.
func (t *Tunnel) peers() []*peer {
	if t.hub == nil {
		return []*peer{t.point}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hub.list()
}

// addrsOf returns the inner addresses of a peer.
func (t *Tunnel) addrsOf(p *peer) []netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	return p.addrs
}

// attach makes s the link of its peer. The one before, if there is one, is displaced:
// the new one is used at once, without waiting for the end of the old, but takes
// nothing before the old one has given out what it has in hand. But if the one
// before has called later, s is the one that is displaced: its peer has given it
// up, and somebody on the way held its CONFIRM back.
func (t *Tunnel) attach(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := s.owner
	if p.gone {
		s.end(errRevoked)
		return
	}
	if !s.client && innerOf(p.addrs) != innerOf(s.about.Remote) || !t.settled(p) {
		s.end(errShutdown) // it has other addresses than it was told, and calls again
		return
	}
	if t.hub.isMesh() {
		t.join(s)
		return
	}
	if old := p.link.Load(); old != nil {
		if old.call > s.call {
			s.end(errDisplaced)
			return
		}
		t.tellTurns(old, s)
		t.detachLocked(old, errDisplaced)
		old.end(errDisplaced)
	}
	s.after, p.taken = p.taken, s.taken
	if t.hub == nil {
		p.link.Store(s)
		t.demand.hand(s.queue)
	} else {
		t.hub.meet(s, true)
		p.link.Store(s)
	}
	p.count.links.Add(1)
	p.since, p.reason = time.Now(), ""
	p.flaps.up(s.log, "cipher", s.suite.Cipher, "server", !s.client)
	if t.config.Up != nil {
		t.config.Up(s.snapshot())
	}
}

// detach takes s away if it is the link.
func (t *Tunnel) detach(s *session, cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.detachLocked(s, cause)
}

func (t *Tunnel) detachLocked(s *session, cause error) {
	if t.hub.isMesh() {
		t.part(s, cause)
		return
	}
	p := s.owner
	if !p.link.CompareAndSwap(s, nil) {
		return
	}
	if t.hub != nil {
		t.hub.meet(s, false)
	}
	p.since, p.reason = time.Now(), cause.Error()
	p.flaps.down(s.log, "cause", cause)
	if t.config.Down != nil {
		t.config.Down(s.snapshot(), cause)
	}
}

// failed remembers why there is no link.
func (t *Tunnel) failed(cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.point.link.Load() == nil {
		t.point.reason = cause.Error()
	}
}

// turns finds two clients with the same key: each displaces the other, again and
// again, from where it is.
type turns struct {
	from  [2]netip.Addr // outer addresses of the last two links, the latest first
	count int           // how often the one before the last came back
	last  time.Duration // clock when a link was displaced
}

const (
	// manyTurns is how often a client came back from where it was before, until it is
	// reported that there seem to be two, and longTurn the longest that a turn may last:
	// a laptop that goes to work and home takes longer.
	manyTurns = 3
	longTurn  = 10 * time.Minute
)

// displaced notes that a link from an outer address made way for one from another,
// and reports whether two clients seem to have one key.
func (u *turns) displaced(old, new netip.Addr, now time.Duration) bool {
	if now-u.last > longTurn || old == new {
		*u = turns{}
	}
	back := u.from[1] == new && u.from[0] == old
	u.from, u.last = [2]netip.Addr{new, old}, now
	if back {
		u.count++
	}
	return u.count >= manyTurns
}

// tellTurns looks at a link that makes way for another one of the same peer.
func (t *Tunnel) tellTurns(old, new *session) {
	u := &old.owner.turns
	if !u.displaced(addrOf(old.conn).Addr(), addrOf(new.conn).Addr(), t.config.Now()) {
		return
	}
	old.owner.notes.twins.Warn(new.log, "two clients seem to have the same key: they displace each other", "one at", u.from[0], "the other at", u.from[1])
	u.count = 0
}

var errRevoked = &closeError{reason: closeRevoked}

// errUnknown says that a caller with a right key has no place here.
var errUnknown = errors.New("no such client")

// is reports whether a client has the key, and the secret, of a peer. Whoever was let
// in with another secret may be the one that the new one is to shut out.
func (p *peer) is(key crypto.KeyID, proof *crypto.Peer) bool {
	return p.key == key && (p.proof == nil || proof != nil && p.proof.Same(proof))
}

// holds reports whether the addresses are those that a client says it has: none, if
// it takes what it is given.
func (p *peer) holds(in inner) bool {
	for _, a := range in {
		if a.IsValid() && !slices.Contains(p.addrs, a) {
			return false
		}
	}
	return true
}
