package mesh

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"vpnd/cmd/internal/registry"
)

const (
	// pollMin and pollMax bound the time from one table to the next.
	pollMin = 45 * time.Second
	pollMax = 60 * time.Second
	// pollSoon is the time to the next table after one with news, or out of doubt, if no nudge
	// has come at this place yet: others may be about to register, too. It doubles with each
	// table.
	pollSoon = 4 * time.Second
	// nudgeSpread is how long a gateway may wait after a nudge, so that not all ask at
	// once; nudgePause is the shortest time between two tables that nudges ask for.
	nudgeSpread = 300 * time.Millisecond
	nudgePause  = time.Second
	// After busy tables in a short time, one of which is forgotten each calmPause, that is
	// the pause: one gateway that changes all the time must not keep all others busy.
	busy      = 30
	calmPause = 10 * time.Second
	// A gateway asks doubts times out of doubt as well, and then once in doubtPause: a peer
	// whose link breaks all the time must not keep it from what nudges tell. Some of them
	// may move in the same minute.
	doubts     = 10
	doubtPause = 30 * time.Second
	// retryMin and retryMax bound the time to the next try when nexus does not answer.
	retryMin = time.Second
	retryMax = pollMax
	// leaseSpread is how long after the end of a peer's lease nexus is asked.
	leaseSpread = 3 * time.Second
	// leaveTimeout bounds the farewell.
	leaveTimeout = 3 * time.Second
)

// nexus is what a Follower needs of a registry.Client.
type nexus interface {
	Register(ctx context.Context) (*registry.Table, error)
	Leave(ctx context.Context) error
	Receive(datagram []byte) (ask bool)
}

// Follower keeps a gateway registered, and its table up to date.
type Follower struct {
	nexus nexus
	saved *Saved
	log   *slog.Logger
	// changed is told of each table. It is called by one goroutine, and does not wait.
	changed func(*registry.Table)
	kick    chan struct{} // register at once
	nudge   chan struct{} // register soon
	doubt   chan struct{} // the same, but nexus has not said so

	mu    sync.Mutex
	abort context.CancelFunc // ends the question that is under way; nil: there is none
	table *registry.Table    // nil: none yet
	err   error              // of the last try
	at    time.Time          // of the last table from nexus

	nudged bool // nudges reach this place
	same   int  // tables in a row that had no news

	asked    tally         // questions that something else than doubt led to
	doubted  tally         // the others
	doubting bool          // the present question is one of these
	pause    time.Duration // the shortest time to the next question that is not urgent
	patience time.Duration // the same, out of doubt
	unsaved  string        // why the table is not saved
}

// tally is a number of questions, of which one is forgotten now and then.
type tally struct {
	n     int
	since time.Time // when the last one was forgotten
}

// forget forgets one in each span that has passed.
func (c *tally) forget(each time.Duration) {
	if c.n == 0 {
		c.since = time.Now() // there was nothing to forget
	}
	spans := time.Since(c.since) / each
	c.since = c.since.Add(spans * each)
	c.n = max(0, c.n-int(spans))
}

// NewFollower returns a follower that begins with the saved table. changed is called
// with that one, if there is one, and with each that nexus sends.
func NewFollower(client *registry.Client, saved *Saved, log *slog.Logger, changed func(*registry.Table)) *Follower {
	f := newFollower(client, saved, log, changed)
	if f.table != nil {
		client.Resume(f.table)
	}
	return f
}

func newFollower(n nexus, saved *Saved, log *slog.Logger, changed func(*registry.Table)) *Follower {
	f := &Follower{nexus: n, saved: saved, log: log, changed: changed, kick: make(chan struct{}, 1), nudge: make(chan struct{}, 1), doubt: make(chan struct{}, 1)}
	table, err := saved.load()
	if err != nil {
		log.Warn("saved table is not used", "error", err)
	}
	f.table = table
	return f
}

// Register makes the follower register at once. A question that is under way is given
// up: it may wait for an answer to an address that is not ours any more.
func (f *Follower) Register() {
	ring(f.kick)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nudged, f.same = false, -1
	if f.abort != nil {
		f.abort()
	}
}

// Doubt makes the follower ask soon: a peer may be elsewhere. It does not wait.
func (f *Follower) Doubt() { ring(f.doubt) }

func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Status returns the last table, nil if there is none, when nexus sent it, the zero
// Time for a saved one, and why it does not answer.
func (f *Follower) Status() (t *registry.Table, at time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table, f.at, f.err
}

// Run follows until the context ends, and then leaves: the peers remove their routes.
func (f *Follower) Run(ctx context.Context) error {
	if f.table != nil {
		f.changed(f.table)
	}
	failures := 0
	for ctx.Err() == nil {
		wait := f.round(ctx, &failures)
		f.wait(ctx, wait)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if err := f.nexus.Leave(ctx); err != nil {
		f.log.Warn("nexus was not told that this gateway leaves: its lease will end", "error", err)
	}
	return nil
}

// round registers once, and returns the time to the next round.
func (f *Follower) round(ctx context.Context, failures *int) time.Duration {
	f.count()
	t, err := f.ask(ctx)
	switch {
	case err == nil:
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
		return 0 // the end, or somebody cannot wait
	default:
		f.fail(err, *failures)
		*failures++
		return backOff(*failures)
	}
	if *failures > 0 {
		f.log.Info("nexus answers again")
	}
	*failures = 0
	f.take(t)
	return f.untilNext(t)
}

// ask asks nexus, until Register cannot wait any more.
func (f *Follower) ask(ctx context.Context) (*registry.Table, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.setAbort(cancel)
	defer f.setAbort(nil)
	return f.nexus.Register(ctx)
}

func (f *Follower) setAbort(abort context.CancelFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.abort = abort
}

// fail notes why there is no table. The links stay as they are, unless nexus itself
// has said that this gateway is not of the mesh.
func (f *Follower) fail(err error, failures int) {
	f.mu.Lock()
	repeated := f.err != nil && likeness(f.err) == likeness(err)
	f.err = err
	out := errors.Is(err, registry.ErrUnknown) || errors.Is(err, registry.ErrDisabled)
	old := f.table
	f.mu.Unlock()
	if !repeated || failures == 0 {
		f.log.Warn("not registered", "error", err)
	}
	if out && old != nil && len(old.Gateways) > 0 {
		empty := *old
		empty.Gateways = nil
		f.keep(&empty)
	}
}

// likeness returns what errors of the same cause share: no numbers, such as the port that
// was used for the one try.
func likeness(err error) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, err.Error())
}

// take takes a table from nexus.
func (f *Follower) take(t *registry.Table) {
	f.mu.Lock()
	t = merge(t, f.table)
	if f.same++; f.at.IsZero() || f.doubting || !slices.EqualFunc(t.Gateways, f.table.Gateways, f.isOldNews) {
		f.same = 0
	}
	f.err, f.at = nil, time.Now()
	f.mu.Unlock()
	f.keep(t)
}

// isOldNews reports whether two entries tell the same of another gateway.
func (f *Follower) isOldNews(a, b registry.Gateway) bool {
	if a.Name == f.saved.name && b.Name == a.Name {
		return true
	}
	a.Left, b.Left = 0, 0
	return reflect.DeepEqual(a, b)
}

// keep makes a table that of now.
func (f *Follower) keep(t *registry.Table) {
	f.mu.Lock()
	f.table = t
	f.mu.Unlock()
	unsaved := ""
	if err := f.saved.store(t); err != nil {
		unsaved = err.Error()
	}
	if unsaved != "" && unsaved != f.unsaved {
		f.log.Warn("table not saved: a restart without nexus would know nobody", "error", unsaved)
	}
	f.unsaved = unsaved
	f.changed(t)
}

// untilNext returns when to ask again: earlier if a lease ends, as nexus may not tell.
func (f *Follower) untilNext(t *registry.Table) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	wait := pollMin + rand.N(pollMax-pollMin)
	if !f.nudged && f.same < 4 {
		wait = pollSoon << max(0, f.same) // below 0: Register came behind take
	}
	for _, g := range t.Gateways {
		if g.State == registry.Live {
			wait = min(wait, g.Left+rand.N(leaseSpread))
		}
	}
	return max(wait, f.pause)
}

// count counts a question, and sees to how long the pauses after it are.
func (f *Follower) count() {
	f.asked.forget(calmPause)
	f.doubted.forget(doubtPause)
	if f.doubting {
		f.doubted.n++
	} else {
		f.asked.n++
	}
	f.pause = nudgePause
	if f.asked.n > busy {
		f.pause = calmPause
	}
	f.patience = f.pause
	if f.doubted.n >= doubts {
		f.patience = doubtPause
	}
}

// backOff returns the wait after so many failures, with jitter.
func backOff(failures int) time.Duration {
	most := min(retryMin<<min(failures-1, 10), retryMax)
	return most/2 + rand.N(most/2)
}

// wait ends when it is time, or when somebody wants a registration.
func (f *Follower) wait(ctx context.Context, d time.Duration) {
	began := time.Now()
	timer := time.NewTimer(d)
	defer timer.Stop()
	nudge, doubt := f.nudge, f.doubt
	f.doubting = false
	for {
		var pause time.Duration
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-f.kick:
			f.doubting = false
			return
		case <-nudge:
			f.mu.Lock()
			f.nudged = true
			f.mu.Unlock()
			nudge, doubt, pause = nil, nil, f.pause // one is enough
		case <-doubt:
			doubt, pause = nil, f.patience
		}
		passed := time.Since(began)
		if soon := max(passed+rand.N(nudgeSpread), pause); soon < d {
			d, f.doubting = soon, nudge != nil
			timer.Reset(d - passed)
		}
	}
}

// Listen takes nudges and checks until the context ends. It closes the connection.
func (f *Follower) Listen(ctx context.Context, conn net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	datagram := make([]byte, registry.MaxDatagram)
	for {
		n, _, err := conn.ReadFrom(datagram)
		if err == nil {
			if f.nexus.Receive(datagram[:n]) {
				ring(f.nudge)
			}
			continue
		}
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		f.log.Debug("no nudge", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryMin):
		}
	}
}
