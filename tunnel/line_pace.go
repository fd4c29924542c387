package tunnel

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// lineBacklog is how much of the line's time may be waiting below the sender.
	lineBacklog = 20 * time.Millisecond
	// batchTime is how long a frame with several packets may take, and turnTime where
	// each change of direction costs.
	batchTime = 100 * time.Millisecond
	turnTime  = 500 * time.Millisecond
)

// pacer writes to a port, never further ahead of the line than lineBacklog. Its
// users take turns.
type pacer struct {
	port  Port
	turn  chan struct{} // has room for the one whose turn it is
	free  time.Time     // when the line has sent all that was written
	speed speed
	half  bool        // both directions share the line
	timer *time.Timer // of the one whose turn it is

	mu    sync.Mutex
	user  context.Context // of the one who writes
	heard time.Time       // when something came over the line
}

func newPacer(port Port, line *Line) *pacer {
	p := &pacer{port: port, turn: make(chan struct{}, 1), half: line.HalfDuplex, timer: time.NewTimer(0)}
	p.heard = time.Now() // who comes new to a shared line listens first
	p.speed.init(line.Speed, line.HalfDuplex)
	return p
}

// Read reads from the port.
func (p *pacer) Read(b []byte) (int, error) {
	n, err := p.port.Read(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = time.Now()
	return n, err
}

// lastHeard returns when something came over the line last. It has the monotonic
// clock of time.Now: whoever sets the other one must not stall a shared line.
func (p *pacer) lastHeard() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard
}

// write writes b and waits until the line has sent nearly all of it, or ctx ends.
func (p *pacer) write(ctx context.Context, b []byte) error {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	backlog := lineBacklog
	if p.half {
		p.awaitSilence(ctx)
		backlog = 0
	}
	began := time.Now()
	if err := p.put(ctx, b); err != nil {
		return err
	}
	if p.free.Before(began) {
		p.free = began
	}
	p.free = p.free.Add(p.time(len(b)))
	p.drain(ctx, backlog)
	p.speed.sent(len(b), time.Since(began))
	return nil
}

// drain waits until no more than backlog is left to be sent, or ctx ends.
func (p *pacer) drain(ctx context.Context, backlog time.Duration) {
	for ctx.Err() == nil {
		wait := time.Until(p.free)
		if n, err := p.port.Waiting(); err == nil {
			wait = max(wait, p.time(n))
		}
		if wait -= backlog; wait <= 0 {
			return
		}
		p.sleep(ctx, wait)
	}
}

// drainTimeout bounds how long a line is held open for its last bytes.
const drainTimeout = 2 * time.Second

// finish waits for its turn, and then until all is sent.
func (p *pacer) finish(ctx context.Context) {
	select {
	case p.turn <- struct{}{}:
		p.drain(ctx, 0)
		<-p.turn
	case <-ctx.Done():
	}
}

// slot is how long it takes at most until the other end hears that this one speaks:
// adapters keep what they hear for 16 ms.
const slot = 20 * time.Millisecond

// awaitSilence waits until a line that both ends share is free. Who has spoken last
// waits longer, so that the ends take turns; and each time another while, because
// two that begin at the same time never hear each other.
func (p *pacer) awaitSilence(ctx context.Context) {
	one := slot + p.time(4)
	other, own := one+rand.N(one), 3*one+rand.N(2*one)
	for ctx.Err() == nil {
		heard := p.lastHeard()
		free := heard.Add(other)
		if after := p.free.Add(own); after.After(free) && p.free.After(heard) {
			free = after
		}
		wait := time.Until(free)
		if wait <= 0 {
			return
		}
		p.sleep(ctx, wait)
	}
}

// put gives b to the driver, for the user whose context it is.
func (p *pacer) put(ctx context.Context, b []byte) error {
	p.use(ctx)
	defer p.use(nil)
	_, err := p.port.Write(b)
	return err
}

// use notes who writes. Who has ended has little time.
func (p *pacer) use(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.user = ctx; ctx == nil {
		return
	}
	var limit time.Time
	if ctx.Err() != nil {
		limit = time.Now().Add(closeTimeout)
	}
	p.port.SetWriteDeadline(limit)
}

// limit gives a user that has ended until then to write what it is writing.
func (p *pacer) limit(ctx context.Context, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.user == ctx {
		p.port.SetWriteDeadline(until)
	}
}

// sleep waits for d or the end of ctx.
func (p *pacer) sleep(ctx context.Context, d time.Duration) {
	p.timer.Reset(d)
	select {
	case <-ctx.Done():
		p.timer.Stop()
	case <-p.timer.C:
	}
}

// batch is how many bytes of packets a frame may have.
func (p *pacer) batch() int {
	if p.half {
		return p.bytes(turnTime)
	}
	return p.bytes(batchTime)
}

// time returns how long the line takes for n bytes.
func (p *pacer) time(n int) time.Duration {
	p.speed.mu.Lock()
	defer p.speed.mu.Unlock()
	return p.speed.timeFor(n)
}

// bytes returns how many bytes the line takes in a time.
func (p *pacer) bytes(t time.Duration) int {
	p.speed.mu.Lock()
	defer p.speed.mu.Unlock()
	return p.speed.bytesIn(t)
}
