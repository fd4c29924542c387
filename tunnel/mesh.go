package tunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// Mesh makes a hub one of equals: it calls its peers, as they call it.
//
// Two ends may have two links with each other for a while, because both called, one that
// does not trust the link has called again, or there is a direct way now. Each end sends on
// one, and takes what comes on both. It goes on with the one that it has unless it does not
// trust that: what it knows of the new one is a handshake, which somebody on the way may
// have let through, and nothing else since. Which one stays is the same at both ends, see
// isBetter; it is used as soon as it has answered, and the other one is closed when nobody
// has sent on it for a while.
type Mesh struct {
	// Dial opens a connection to a peer. Through opens one through the tunnel, to the
	// inner address of a peer, from InnerCallPort to InnerPort.
	Dial    func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	Through func(ctx context.Context, to netip.Addr) (net.Conn, error)
	// Astray is called when a peer is lost, or the link with it runs through a third one
	// instead of directly: it may be elsewhere. Astray does not wait, and does not call the
	// tunnel. It may be nil.
	Astray func()
}

const (
	// spareTime is how long a second link stays. A few seconds less have gone by since
	// somebody sent on it.
	spareTime = 5 * time.Second
	// doubtTime is how long a link that is not trusted has to answer.
	doubtTime = 300 * time.Millisecond
	// silentTime is how long one of two links has to answer that has answered before, at
	// least: the peer may have moved since, and use the other one.
	silentTime = 1500 * time.Millisecond
)

// equal is what a mesh has with a peer beside the link.
type equal struct {
	key      Key            // to call with
	endpoint netip.AddrPort // to call at; the zero AddrPort: not known
	ours     bool           // of two links, the one that this end has called for stays
	diallers [2]*dialler
	stop     context.CancelFunc // ends the diallers; nil: they do not run

	spare *session // a second link; nil: there is none
	later *session // of the two, the one that came last
	tied  int64    // clock when there were two, ns
	asked int64    // clock when both were asked for an answer, the last time, ns
	upAt  int64    // clock when there was one after there was none, ns
}

// isMesh reports whether this end calls its peers.
func (h *hub) isMesh() bool { return h != nil && h.config.Mesh != nil }

func (t *Tunnel) clock() int64 { return int64(t.config.Now()) }

// SetMesh makes these the peers of a mesh, in which this end has an inner address. Else
// it is SetPeers.
func (t *Tunnel) SetMesh(inner netip.Addr, list []HubPeer) error {
	if err := t.SetPeers(list); err != nil {
		return err
	}
	t.hub.inner.Store(&inner)
	return nil
}

// startMesh begins to call. The function that it returns ends that, and the sessions
// that came of it.
func (t *Tunnel) startMesh(ctx context.Context) (stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	life, end := context.WithCancelCause(ctx)
	t.hub.life = life
	for _, p := range t.hub.peers {
		t.startCalls(p)
	}
	return func() {
		t.mu.Lock()
		end(errShutdown)
		t.hub.life = nil
		t.mu.Unlock()
		t.hub.calls.Wait()
	}
}

// startCalls begins to call one peer. t.mu is held.
func (t *Tunnel) startCalls(p *peer) {
	var ctx context.Context
	ctx, p.calls.stop = context.WithCancel(t.hub.life)
	for i := range p.calls.diallers {
		d := newDialler(t, p, i == 1)
		p.calls.diallers[i] = d
		t.hub.calls.Go(func() { d.run(ctx) })
	}
}

// enrollCalls notes how a peer is called. Where that has changed, or it is to be called
// again, its link may be dead. t.mu is held.
func (t *Tunnel) enrollCalls(p *peer, c HubPeer) {
	moved := p.calls.endpoint != c.Endpoint || p.calls.key == nil && c.Call != nil
	p.calls.key, p.calls.endpoint, p.calls.ours = c.Call, c.Endpoint, c.Ours
	switch {
	case p.calls.stop != nil && moved:
		t.mistrust(p)
	case p.calls.stop == nil && t.hub.life != nil:
		t.startCalls(p)
	}
}

// mistrust lets a peer be called at once unless its link answers soon. t.mu is held.
func (t *Tunnel) mistrust(p *peer) {
	p.doubt.Store(t.clock())
	if s := p.link.Load(); s != nil {
		s.post(message{kind: framePing})
	}
	p.wake(true)
}

// errGivenUp ends a link without a good-bye, for the answer to which nobody waits.
var errGivenUp = errors.New("given up to call again")

// mistrustAll mistrusts all links. A second one goes: it is as likely to be dead, and one
// through a third peer has the ports that another call like it needs, at once.
func (t *Tunnel) mistrustAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.hub.peers {
		if spare := p.calls.spare; spare != nil {
			spare.end(errGivenUp)
		}
		t.mistrust(p)
	}
}

// trusts reports whether a link has answered since it was mistrusted.
func (p *peer) trusts(s *session) bool { return s != nil && s.ponged.Load() >= p.doubt.Load() }

// wake has the diallers look what is to be done. A fresh start gives up what they are
// doing. t.mu is held.
func (p *peer) wake(fresh bool) {
	if p.calls.stop == nil {
		return
	}
	for _, d := range p.calls.diallers {
		d.wakeUp(fresh)
	}
}

// use makes s the link that is used. The diallers look at it: if it runs through a third
// peer, the direct way is to be tried now and then. t.mu is held.
func (p *peer) use(s *session) {
	if old := p.link.Load(); s.relayed && (old == nil || !old.relayed) {
		s.t.orphan(p)
		if p.count.links.Load() > 1 { // the first one has to find its way
			s.t.astray()
		}
	}
	p.link.Store(s)
	p.wake(false)
}

// join makes s a link of its peer, and the one that is used if there is no other one that
// is trusted. t.mu is held.
func (t *Tunnel) join(s *session) {
	p, now := s.owner, t.clock()
	old, spare := p.link.Load(), p.calls.spare
	for _, other := range []*session{old, spare} {
		if other != nil && !s.client && other.call > s.call {
			s.end(errDisplaced) // somebody held its CONFIRM back
			return
		}
	}
	goes := spare // of two; nothing speaks against the other one
	if spare != nil && spare.proved.Load() && !old.proved.Load() {
		goes = old
	}
	if goes != nil && !goes.proved.Load() && goes.relayed == s.relayed && p.isBetter(goes, s) {
		s.end(errDisplaced) // also at the peer, which may have got these two the other way round
		return
	}
	t.hub.meet(s, true)
	p.count.links.Add(1)
	if old == nil {
		s.post(message{kind: framePing})
		p.use(s)
		p.since, p.reason, p.calls.upAt = time.Now(), "", now
		p.flaps.up(s.log, "cipher", s.suite.Cipher, "called", s.client, "through", s.through())
		if t.config.Up != nil {
			t.config.Up(s.snapshot())
		}
		return
	}
	if !s.client && !s.relayed {
		t.tellTurns(old, s)
	}
	if goes != nil {
		if goes == old {
			p.swap()
			old = spare
		}
		t.hub.meet(goes, false)
		goes.end(errDisplaced)
	}
	p.calls.spare, p.calls.later, p.calls.tied = s, s, now
	p.ask(now)
	doubted := !p.trusts(old) && now-p.doubt.Load() >= int64(doubtTime) // and had its time to answer
	if !old.proved.Load() || doubted {
		p.swap()
	}
	s.log.Debug("another link", "called", s.client, "through", s.through())
}

// swap uses the second link. t.mu is held.
func (p *peer) swap() {
	link := p.link.Load()
	p.use(p.calls.spare)
	p.calls.spare = link
}

// isBetter reports whether s stays, of it and a later link of the same peer: that is a
// direct one rather than one through a third peer; the one that the end with the smaller
// key has called for; the later one.
func (p *peer) isBetter(s, later *session) bool {
	if s.relayed != later.relayed {
		return later.relayed
	}
	return s.client != later.client && s.client == p.calls.ours
}

// ask asks both links for an answer.
func (p *peer) ask(now int64) {
	p.calls.asked = now
	for _, s := range []*session{p.link.Load(), p.calls.spare} {
		s.post(message{kind: framePing})
	}
}

// answers reports whether a link of two has answered what it was asked at some time, or
// later.
func (s *session) answers(asked int64) bool { return s.proved.Load() && s.ponged.Load() >= asked }

// silent reports whether a link of two has not answered what it was asked at some time, and
// has had so long for that, or longer if its way takes longer.
func (s *session) silent(asked int64, long time.Duration) bool {
	long = min(max(long, 2*time.Duration(s.rtt.Load())), spareTime) // a peer may lie about its way
	return !s.answers(asked) && s.t.clock()-asked >= int64(long)
}

// settleTie sees to a peer with two links. t.mu is held.
func (t *Tunnel) settleTie(p *peer) {
	link, spare := p.link.Load(), p.calls.spare
	if spare == nil {
		return
	}
	stays := p.isBetter(spare, link)
	if spare == p.calls.later {
		stays = !p.isBetter(link, spare)
	}
	now, tied, asked := t.clock(), p.calls.tied, p.calls.asked
	answers := link.answers(asked)
	if !answers && asked > tied && !link.silent(asked, silentTime) {
		return // it has answered before
	}
	if spare.answers(asked) && (stays || !answers) {
		p.swap()
		if asked == tied { // somebody on the way may have let through one answer
			p.ask(now)
			return
		}
	}
	switch {
	case now-tied >= int64(spareTime):
		p.calls.spare.end(errDisplaced)
	case answers && spare.answers(asked):
		p.ask(now)
	}
}

// part takes a session away from its peer, if it is one of its links. t.mu is held.
func (t *Tunnel) part(s *session, cause error) {
	p, link, other := s.owner, s.owner.link.Load(), s.owner.calls.spare
	switch {
	case s == other:
		other = link
	case s != link:
		return
	}
	t.hub.meet(s, false)
	if other != nil && !closedFor(cause, closeShutdown) && t.mayGoOn(s, other, cause) {
		p.calls.spare = nil
		p.use(other)
		if !other.answers(p.calls.tied) || other.silent(p.calls.asked, doubtTime) {
			t.mistrust(p)
		}
		return
	}
	p.link.Store(nil)
	p.calls.spare = nil
	if other != nil {
		t.hub.meet(other, false)
		other.end(errDisplaced)
	}
	p.since, p.reason = time.Now(), cause.Error()
	p.flaps.down(link.log, "cause", cause)
	if t.config.Down != nil {
		t.config.Down(link.snapshot(), cause)
	}
	p.wake(t.clock()-p.calls.upAt >= int64(goodSession))
	if !p.gone {
		t.astray()
	}
	t.orphan(p)
}

// astray tells that a peer may be elsewhere.
func (t *Tunnel) astray() {
	if tell := t.hub.config.Mesh.Astray; tell != nil {
		tell()
	}
}

// mayGoOn reports whether a peer has the other one of two links still, when s ends.
func (t *Tunnel) mayGoOn(s, other *session, cause error) bool {
	p := s.owner
	return s == p.calls.spare || other.answers(p.calls.tied) || closedFor(cause, closeDisplaced) ||
		t.clock()-p.calls.tied < int64(doubtTime) // it had no time to answer
}

// closedFor reports whether the peer has closed a link for a reason.
func closedFor(err error, reason closeReason) bool {
	var c *closeError
	return errors.As(err, &c) && c.peer && c.reason == reason
}

// orphan looks at the links that ran through a peer whose own link is gone, or runs through
// another one now. t.mu is held.
func (t *Tunnel) orphan(gone *peer) {
	for _, p := range t.hub.peers {
		if s := p.link.Load(); s != nil && s.relayed && p.via.Load() == gone {
			t.mistrust(p)
		}
	}
}
