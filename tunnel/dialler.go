package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"vpnd/tunnel/loglimit"
)

const (
	// throughTimeout is what an attempt through third peers is given: others may have a
	// link with both ends, and these not.
	throughTimeout = 3 * time.Second
	// throughRetry is the longest wait between two of these: a third peer may have come.
	throughRetry = 5 * time.Second
	// manyWays is how many third peers are asked to pass on one call.
	manyWays = 32
	// directMin and directMax bound the time from one attempt to the next to replace a
	// link through a third peer by a direct one.
	directMin = 30 * time.Second
	directMax = 60 * time.Second
	// never is the wait for something to happen.
	never = 1 << 62
)

// dialler calls one peer of a mesh when that has no link that is trusted, the direct
// way or through third peers. There is one for each way: who cannot be reached directly
// mostly does not say so.
type dialler struct {
	t       *Tunnel
	p       *peer
	through bool
	plan    schedule
	fresh   atomic.Bool // the plan begins anew
	woken   chan struct{}
	told    reporter
	toldAt  time.Duration // clock when a new cause may be logged

	abort  context.CancelFunc // of the attempt that is under way, nil for none; guarded by Tunnel.mu
	turn   int                // of the third peers; guarded by Tunnel.mu
	called bool               // since a fresh start; guarded by Tunnel.mu
	alone  bool               // the next call goes through one third peer; guarded by Tunnel.mu
}

func newDialler(t *Tunnel, p *peer, through bool) *dialler {
	d := &dialler{t: t, p: p, through: through, woken: make(chan struct{}, 1), told: reporter{}}
	d.fresh.Store(true)
	return d
}

// wakeUp has the dialler look again. Tunnel.mu is held.
func (d *dialler) wakeUp(fresh bool) {
	if fresh {
		d.fresh.Store(true)
		d.called, d.alone = false, false
		if d.abort != nil {
			d.abort()
		}
	}
	select {
	case d.woken <- struct{}{}:
	default:
	}
}

// run calls until ctx ends.
func (d *dialler) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(d.next())
		select {
		case <-ctx.Done():
			return
		case <-d.woken:
			continue
		case <-timer.C:
		}
		if d.wants() {
			d.attempt(ctx)
		}
	}
}

// wants reports whether a link of this kind would be better than what there is, and can
// be called for.
func (d *dialler) wants() bool {
	d.t.mu.Lock()
	defer d.t.mu.Unlock()
	if c := d.p.calls; c.key == nil || !d.through && !c.endpoint.IsValid() {
		return false
	}
	s := d.p.link.Load()
	return !d.p.trusts(s) || s.relayed && !d.through
}

// next returns how long to wait before the next attempt.
func (d *dialler) next() time.Duration {
	now := d.t.config.Now()
	if d.fresh.Swap(false) {
		d.plan = schedule{began: now}
		if d.through {
			d.plan.attempts = len(eager) // the direct way comes first
		}
	}
	s := d.p.link.Load()
	switch {
	case !d.wants():
		return never
	case d.p.trusts(s) && d.hasCalled(): // else it is yet to do what it was woken for
		return jitter(directMin, directMax)
	case s != nil && d.plan.attempts == 0:
		d.plan.attempts++
		return doubtTime
	}
	most := d.t.tuning.Load().Retry
	if d.through {
		most = min(most, throughRetry)
	}
	return d.plan.next(now, most)
}

// hasCalled reports whether there was an attempt since a fresh start.
func (d *dialler) hasCalled() bool {
	d.t.mu.Lock()
	defer d.t.mu.Unlock()
	return d.called
}

var (
	// errNoThird says that there is nobody to call through.
	errNoThird = errors.New("no third peer has a link")
	// errLeft says that the peer is not to be called any more, since a moment ago.
	errLeft = errors.New("the peer has left")
)

// attempt calls once.
func (d *dialler) attempt(ctx context.Context) {
	t := d.t
	limit, stop := context.WithTimeoutCause(ctx, d.timeout(), errSlow)
	defer stop() // also of what follows: ctx lasts as long as the peer is known
	limit, cancel := context.WithCancelCause(limit)
	target, life, err := d.target(func() { cancel(errSlow) })
	var s *session
	if err == nil {
		s, err = t.reach(life, limit, target)
	}
	if err == nil {
		t.attach(s)
		t.hub.calls.Go(func() { s.run() })
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d.abort = nil
	if d.through {
		d.p.ways.Store(nil)
	}
	if err != nil && err != errLeft && d.p.link.Load() == nil && !d.through && ctx.Err() == nil {
		d.p.reason = err.Error()
		d.tell(fmt.Errorf("%s: %w", d.p.name, err))
	}
}

// tell logs why there is no link. A peer that tells another endpoint again and again
// makes a new cause each time.
func (d *dialler) tell(cause error) {
	now := d.t.config.Now()
	if _, old := d.told[cause.Error()]; !old {
		if now < d.toldAt {
			return
		}
		d.toldAt = now + loglimit.Interval
	}
	d.told.report(d.t, cause)
}

func (d *dialler) timeout() time.Duration {
	if d.through {
		return throughTimeout
	}
	return attemptTimeout
}

// target returns what is to be called now, and the life of its session.
func (d *dialler) target(abort context.CancelFunc) (to target, life context.Context, err error) {
	t, c := d.t, &d.p.calls
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.key == nil {
		return to, nil, errLeft
	}
	d.abort, d.called = abort, true
	to, life = target{key: c.key, owner: d.p}, t.hub.life
	endpoint, mesh := c.endpoint, t.hub.config.Mesh
	if !d.through {
		to.dial = func(ctx context.Context) (net.Conn, error) { return mesh.Dial(ctx, endpoint) }
		return to, life, nil
	}
	if !d.chooseWays() {
		return to, life, errNoThird
	}
	inner := d.p.addrs[0]
	to.dial = func(ctx context.Context) (net.Conn, error) { return mesh.Through(ctx, inner) }
	return to, life, nil
}

// chooseWays takes the next peers that the call could go through. It reports whether
// there are any. t.mu is held.
func (d *dialler) chooseWays() bool {
	var third, ways []*peer
	for _, p := range d.t.hub.list() {
		if p != d.p && p.isDirect() {
			third = append(third, p)
		}
	}
	if len(d.p.addrs) == 0 || len(third) == 0 {
		return false
	}
	many := min(len(third), manyWays)
	if d.alone { // one that answers in the peer's name must not have all calls
		many = 1
	}
	d.alone = !d.alone
	for range many {
		ways = append(ways, third[d.turn%len(third)])
		d.turn++
	}
	d.p.ways.Store(&ways)
	return true
}
