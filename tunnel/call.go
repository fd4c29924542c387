package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"vpnd/crypto"
)

const (
	// attemptTimeout is what one attempt to dial and shake hands is given.
	attemptTimeout = 5 * time.Second
	// maxAttempts is how many may be under way; the oldest makes room.
	maxAttempts = 3
	// portPause is how often a client looks whether its one local port is free.
	portPause = 50 * time.Millisecond
	// goodSession is how long a link lives that was worth dialling eagerly for.
	goodSession = 500 * time.Millisecond
	// patience is how long an outage is met with an attempt every second or two,
	// before the waits grow.
	patience = 10 * time.Minute
	// logAgain is how often a cause that stays the same is logged.
	logAgain = 10 * time.Minute
)

// eager are the waits before the first attempts of an outage: most outages are
// short, and the path is usable again without notice.
var eager = []time.Duration{
	0, 100 * time.Millisecond, 200 * time.Millisecond, 200 * time.Millisecond,
	250 * time.Millisecond, 250 * time.Millisecond, 250 * time.Millisecond,
}

// schedule says when to dial.
type schedule struct {
	attempts int           // since the last good session
	began    time.Duration // clock at the start of the outage
	wait     time.Duration // the last one, once patience is over
}

// next returns how long to wait before the next attempt, and counts it.
func (s *schedule) next(now, most time.Duration) time.Duration {
	n := s.attempts
	s.attempts++
	switch {
	case n < len(eager):
		return min(eager[n], most)
	case now-s.began < patience:
		return min(jitter(time.Second, 1800*time.Millisecond), most)
	}
	s.wait = min(max(2*time.Second, s.wait*3/2), most)
	return jitter(s.wait*2/3, s.wait)
}

func jitter(from, to time.Duration) time.Duration { return from + rand.N(to-from) }

// call keeps a link to one of the servers until ctx ends.
func (t *Tunnel) call(ctx context.Context) error {
	plan := schedule{began: t.config.Now()}
	for {
		s, err := t.connect(ctx, &plan)
		if err != nil {
			return nil // ctx ended
		}
		t.attach(s)
		began := t.config.Now()
		stop := t.onRedial(s)
		err = s.run()
		stop()
		if ctx.Err() != nil {
			return nil
		}
		now := t.config.Now()
		if plan.began = now; now-began >= goodSession {
			plan = schedule{began: now}
		}
		if unwelcome(err) {
			wait := t.tuning.Load().Retry
			t.config.Log.Warn("waiting before the next dial", "wait", wait, "cause", err)
			t.pauseOrRedial(ctx, wait)
		}
	}
}

// onRedial ends the session when Redial is called, until stop is.
func (t *Tunnel) onRedial(s *session) (stop func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-t.redial:
			s.end(errShutdown)
		case <-done:
		case <-s.ctx.Done():
		}
	}()
	return func() { close(done) }
}

func (t *Tunnel) pauseOrRedial(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-t.redial:
	case <-timer.C:
	}
}

// errSlow is the cause of an attempt's end that took too long.
var errSlow = errors.New("no answer in time")

// attempt is one dial and handshake that is under way.
type attempt struct {
	cancel func()
	server int
}

// outcome is how an attempt ended.
type outcome struct {
	*attempt
	session *session
	err     error
}

// search is the search for a server that proves itself. Attempts overlap, so
// that one which is stuck does not hold up the next; the first that succeeds
// wins.
type search struct {
	*Tunnel
	plan     *schedule
	timer    *time.Timer
	running  []*attempt // oldest first
	started  int        // goroutines that have not reported yet
	outcomes chan outcome
	server   int // to try next
	told     reporter
}

// connect dials until a server has proved itself. Its error says that ctx ended.
func (t *Tunnel) connect(ctx context.Context, plan *schedule) (*session, error) {
	f := &search{Tunnel: t, plan: plan, outcomes: make(chan outcome), told: reporter{}}
	f.timer = time.NewTimer(f.wait())
	defer f.stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.redial:
			*plan = schedule{began: t.config.Now()}
			f.start(ctx)
		case <-f.timer.C:
			f.start(ctx)
		case o := <-f.outcomes:
			f.started--
			f.forget(o.attempt)
			if o.session != nil {
				return o.session, nil
			}
			t.failed(o.err)
			f.told.report(t, o.err)
		}
	}
}

func (f *search) wait() time.Duration {
	return f.plan.next(f.config.Now(), f.tuning.Load().Retry)
}

// start begins an attempt. When too many are under way the oldest is given up.
func (f *search) start(ctx context.Context) {
	if f.config.FixedPort && f.started > 0 {
		f.awaitPort()
		return
	}
	if len(f.running) == maxAttempts {
		f.forget(f.running[0])
	}
	limit, cancel := context.WithCancelCause(ctx)
	limit, stop := context.WithTimeoutCause(limit, attemptTimeout, errSlow)
	a := &attempt{func() { cancel(errSlow); stop() }, f.server}
	f.running = append(f.running, a)
	f.started++
	go func() {
		s, err := f.attempt(ctx, limit, f.config.Servers[a.server])
		f.outcomes <- outcome{a, s, err}
	}()
	f.timer.Reset(f.wait())
}

// awaitPort looks again soon whether the one local port is free. Early in an
// outage the attempt that has it is given up: the path may be back before the
// kernel asks again. Later it has its time: the path may be slow.
func (f *search) awaitPort() {
	if len(f.running) > 0 && f.plan.attempts <= len(eager) {
		f.forget(f.running[0])
	}
	f.timer.Reset(portPause)
}

// forget gives an attempt up, and its server for the next one.
func (f *search) forget(a *attempt) {
	a.cancel()
	for i, b := range f.running {
		if a == b {
			f.running = append(f.running[:i], f.running[i+1:]...)
			if a.server == f.server {
				f.server = (f.server + 1) % len(f.config.Servers)
			}
			return
		}
	}
}

// stop gives up what is under way and waits for it.
func (f *search) stop() {
	f.timer.Stop()
	for _, a := range f.running {
		a.cancel()
	}
	for ; f.started > 0; f.started-- {
		if o := <-f.outcomes; o.session != nil {
			o.session.end(errShutdown)
			o.session.hangUpConn(false)
		}
	}
}

// target is whom to call.
type target struct {
	dial  Dial
	key   Key
	owner *peer // in a mesh
}

// attempt calls the server.
func (t *Tunnel) attempt(ctx, limit context.Context, dial Dial) (*session, error) {
	return t.reach(ctx, limit, target{dial: dial, key: t.key})
}

// reach dials once and shakes hands. The session lives in ctx, the attempt in limit.
func (t *Tunnel) reach(ctx, limit context.Context, to target) (*session, error) {
	conn, err := to.dial(limit)
	if err != nil {
		return nil, slow(limit, err)
	}
	if t.config.Prepare != nil {
		if err := t.config.Prepare(conn); err != nil {
			abort(conn)
			return nil, fmt.Errorf("prepare connection: %w", err)
		}
	}
	g, err := t.greetServer(limit, conn, to)
	if err == nil {
		err = context.Cause(limit) // an answer after the end of the time is none
	}
	var s *session
	if err == nil {
		s, err = t.newSession(ctx, g, true)
	}
	if err != nil {
		abort(conn)
		return nil, fmt.Errorf("server %v: %w", conn.RemoteAddr(), err)
	}
	s.compare(g)
	return s, nil
}

// slow names the cause when an attempt was ended, instead of what that looked
// like to the network.
func slow(limit context.Context, err error) error {
	var op *net.OpError
	if limit.Err() == nil || !errors.As(err, &op) || op.Addr == nil {
		return err
	}
	return fmt.Errorf("dial %v: %w", op.Addr, context.Cause(limit))
}

// greetServer sends the first flight and takes the answer.
func (t *Tunnel) greetServer(limit context.Context, conn net.Conn, to target) (greeting, error) {
	h := t.hello()
	handshake, f1, err := to.key.Initiate(h.append(nil))
	if err != nil {
		return greeting{}, err
	}
	if _, err := conn.Write(f1); err != nil {
		return greeting{}, errors.New("connection lost in the handshake")
	}
	// Not before: the disk that keeps the numbers may be slower than limit, and the first
	// number after an old state shows the server what the next one hides.
	defer context.AfterFunc(limit, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	var f2 [crypto.F2Size]byte
	if _, err := io.ReadFull(conn, f2[:]); err != nil {
		return greeting{}, errors.New("no answer: wrong key, address filter, or not a vpnd")
	}
	text, keys, err := handshake.Finish(f2[:])
	if err != nil {
		return greeting{}, errors.New("answer is not authentic: wrong key, or not a vpnd")
	}
	a, err := parseAnswer(text)
	if err != nil {
		return greeting{}, err
	}
	if err := judge(to.key, h, a); err != nil {
		return greeting{}, err
	}
	if err := t.checkAddrs(a); err != nil {
		return greeting{}, err
	}
	return greeting{conn: conn, wire: stream{}, answer: a, peer: a.terms, inner: a.inner, keys: keys, who: Caller{Key: to.key.ID()}, owner: to.owner}, nil
}

// errTold says that the next call will have a greater number.
var errTold = errors.New("the server has told the last transaction number: the next call has a greater one")

// judge is the client's look at an answer that is authentic.
func judge(key Key, h hello, a answer) error {
	if a.reason != reasonNumber {
		return h.check(a)
	}
	if err := key.Raise(a.number); err != nil {
		return err
	}
	return errTold
}

// reporter logs why there is no link: each cause once, and again when it lasts.
type reporter map[string]time.Duration

// maxCauses bounds the causes that a reporter remembers.
const maxCauses = 16

func (r reporter) report(t *Tunnel, cause error) {
	text, now := cause.Error(), t.config.Now()
	if at, ok := r[text]; ok && now-at < logAgain {
		return
	}
	if len(r) == maxCauses {
		clear(r)
	}
	r[text] = now
	t.config.Log.Warn("no link", "cause", text)
}
