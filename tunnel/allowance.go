package tunnel

import (
	"net"
	"sync/atomic"
	"time"
)

// meter tells how a connection carries what is written to it.
type meter interface {
	// measure reports false when nobody knows.
	measure() (gauge, bool)
	// hold makes the connection keep back the end of what is written, when that does not
	// fill a packet, until more is written, or lets go of it.
	hold(bool)
	// retry makes the connection send again what does not arrive, with no longer waits
	// than most between.
	retry(most time.Duration)
	// patient makes the connection wait a little before it acknowledges what comes, so that
	// what is written soon can do so. It has to be said again and again.
	patient()
}

// gauge is the state of a connection.
type gauge struct {
	acked   int64         // bytes that have arrived, in all
	pending int           // bytes that have not
	unsent  int           // bytes of these that have not even been sent
	segment int           // bytes in a full packet
	rtt     time.Duration // as it is now
	least   time.Duration // the shortest ever
	losing  bool          // it makes up for losses
	mending bool          // it does, or may have to: packets came in another order
	again   int           // how often the oldest was sent again, in vain so far
	asked   int           // how often it was asked, in vain so far, whether more may be sent
	full    bool          // the peer takes no more
	tries   int           // how often it is sent again, or asked, before the connection is given up
}

// allowance decides how much may be on its way in a connection. A modem or a router in
// front of a slow line keeps seconds of what it is given, and what is there nobody can
// overtake. So no more is written than the line carries, at the rate at which it
// carries it, a little ahead of it so that it never rests. Packets wait in the queue,
// where a keystroke passes a file.
//
//	learning  the line may be slow: twice as much with each round trip
//	open      the line is fast, or nobody knows: as much as the connection takes
//	bounded   the round trip has grown: at a rate that keeps it short
//
// How far the line lags behind the rate tells which rate is right: what has been
// written and has not arrived, less what the rate says is still on its way.
type allowance struct {
	meter meter // nil: nobody knows
	began time.Time
	told  func(rate int) // of each change of the rate; 0 is fast
	open  atomic.Bool

	rate float64       // bytes a second, of a bounded flight; else 0
	base time.Duration // round trip while nothing waits
	free time.Duration // when the line has sent all that was written
	busy time.Duration // when it began with what it has not rested since
	turn time.Duration // when the wait for the present write was over; 0: there was none
	work time.Duration // between that and the write, as a rule
	held bool          // the connection holds back

	seen  gauge // at the last look
	at    time.Duration
	since gauge // when a learning flight became busy
	start time.Duration
	late  int // looks in a row of an open flight that found it late

	span  span
	lag   time.Duration // of the line, in the last span
	fast  int           // spans in a row in which the line was faster
	slow  int           // spans in a row in which it lagged
	probe probe
}

// probe finds out what the round trip is while nothing waits: nothing is written until
// all has arrived, and then a PING first. What is longer would measure the line as well, of
// which nobody knows how fast it is.
type probe struct {
	drains, measures bool
	raises           bool          // the way seems to have become longer
	last             time.Duration // when one began
	at               time.Duration // of the first write after it
	size             int           // of that; 0: not written yet
	end              int64         // bytes acknowledged when it has arrived
}

// span is a time in which the rate stays as it is.
type span struct {
	began   time.Duration
	acked   int64
	written int
	lag     time.Duration // the shortest
	looks   int
	blocked bool // more was wanted than may be on its way
	losing  bool
}

const (
	// segmentSize is a full packet of the connection, more or less.
	segmentSize = 1500
	// packetHeaders is what stands in front of a packet's bytes, more or less.
	packetHeaders = 52
	// firstFlight is what may be on its way when nothing has arrived, and proven what has
	// arrived when the line counts as fast.
	firstFlight = 2 * segmentSize
	proven      = 512 << 10
	// lookEvery is how often an open flight is looked at, and lookWait how often one that
	// waits.
	lookEvery = 50 * time.Millisecond
	lookWait  = 20 * time.Millisecond
	lookSoon  = 5 * time.Millisecond
	// mayGrow is by how much the round trip may grow in an open flight.
	mayGrow = 40 * time.Millisecond
	// fastRate is where lines begin that are never bounded, and slowRate where all
	// guesses end: bytes a second.
	fastRate = 100_000_000 / 8
	slowRate = 2400 / 8
	// ahead is how long before the line is free the next frame is written.
	ahead = 5 * time.Millisecond
	// writeTime is how long a frame with several packets may take.
	writeTime = 10 * time.Millisecond
	// hostNoise is by how much what is measured may be wrong, because a host was late.
	hostNoise = 4 * time.Millisecond
	// stubborn is how many spans the line may lag before all is let arrive, to see
	// whether the way has become longer.
	stubborn = 6
	// probeEvery is how often a busy line is looked at for whether the way has become
	// shorter, and probeShare how much longer that is than the line rests for it.
	probeEvery = 20 * time.Second
	probeShare = 100
)

func (a *allowance) init(conn net.Conn, told func(rate int)) {
	a.began, a.told = time.Now(), told
	a.meter = meterOf(conn)
	a.open.Store(a.meter == nil)
}

func (a *allowance) now() time.Duration { return time.Since(a.began) }

// wait returns how long nothing is to be written; 0 is not at all. It is to be asked
// again then.
func (a *allowance) wait() time.Duration {
	if a.open.Load() {
		return 0
	}
	now := a.now()
	if !a.look(now) || a.open.Load() {
		return 0
	}
	if a.rate == 0 {
		if a.seen.pending > 0 && a.room() <= 0 {
			return lookSoon
		}
		return 0
	}
	wait := a.free - now - ahead - a.work - a.timeFor(min(a.seen.unsent, segmentSize))
	if over := a.seen.pending - a.most(); over > 0 {
		a.span.blocked = true
		wait = max(wait, a.timeFor(over), time.Millisecond)
	}
	if a.probe.drains {
		wait = lookSoon
	}
	switch {
	case wait <= 0:
		a.turn = now
		return 0
	case a.probe.measures && a.probe.size > 0: // too long a way would look like a faster line
		return time.Millisecond
	}
	return min(max(wait, time.Millisecond), lookWait)
}

// room is how many bytes a write should have at most; a single packet may have more.
func (a *allowance) room() int {
	switch {
	case a.open.Load():
		return writeSize
	case a.rate == 0:
		return min(writeSize, firstFlight+int(a.seen.acked)-a.seen.pending)
	}
	return min(writeSize, max(segmentSize, int(a.rate*writeTime.Seconds())))
}

// most is how much may be on its way in a bounded flight whose rate is wrong.
func (a *allowance) most() int {
	return 2*segmentSize + int(1.25*a.rate*(a.base+2*a.target()).Seconds())
}

// target is by how much a line may lag, so that it never rests. The peer may be late with
// an acknowledgement, and tells nothing of parts of a packet.
func (a *allowance) target() time.Duration { return ahead + hostNoise + a.timeFor(segmentSize/4) }

func (a *allowance) timeFor(n int) time.Duration {
	return time.Duration(float64(n) / a.rate * float64(time.Second))
}

// sent notes a write.
func (a *allowance) sent(n int) {
	if a.meter == nil {
		return
	}
	now := a.now()
	switch {
	case a.rate > 0:
		if p := &a.probe; p.measures && p.size == 0 {
			p.at, p.size, p.end = now, n+packetHeaders, a.seen.acked+int64(n)
		}
		if a.free = max(a.free, now-ahead); a.seen.pending == 0 {
			a.busy = a.free
		}
		if a.turn > 0 { // to compress takes its time
			a.work += (min(now-a.turn, lookWait) - a.work) / 8
			a.turn = 0
		}
		a.free += a.timeFor(n)
		a.seen.pending += n
		a.meter.patient()
		a.span.written += n
	case a.open.Load() && now-a.at >= lookEvery:
		a.look(now)
	}
}

// holds reports whether the end of the next n bytes is to wait for more of the same, so
// that packets are full: if it is short, since what overtakes the rest waits for it.
func (a *allowance) holds(n int) bool {
	full := max(a.seen.segment, 1)
	return a.rate > 0 && (a.seen.unsent+n)%full <= full/4
}

// hold makes the connection hold back, or let go.
func (a *allowance) hold(on bool) {
	if on != a.held {
		a.meter.hold(on)
		a.held = on
	}
}

// look measures, and changes the state. It reports false when that cannot be.
func (a *allowance) look(now time.Duration) bool {
	g, ok := a.meter.measure()
	if !ok {
		a.become(0, true)
		return false
	}
	a.shorter(g)
	before, at := a.seen, a.at
	a.seen, a.at = g, now
	switch {
	case a.rate > 0:
		a.follow(now)
	case a.open.Load():
		a.watch(before, now-at)
	default:
		a.learn(now)
	}
	return true
}

// shorter learns of a round trip that is shorter than all before.
func (a *allowance) shorter(g gauge) {
	if a.base == 0 || g.rtt > 0 && g.rtt < a.base {
		a.base = g.rtt
	}
	if g.least > 0 && (a.seen.least == 0 || g.least < a.seen.least) {
		a.base = min(a.base, g.least)
	}
}

// learn looks at a flight that nobody knows yet.
func (a *allowance) learn(now time.Duration) {
	switch g := a.seen; {
	case a.start == 0 || g.pending < segmentSize:
		a.since, a.start = g, now
	case g.rtt > a.base+mayGrow && g.acked > a.since.acked:
		took := max(now-a.start-a.base, lookSoon)
		a.bind(float64(g.acked-a.since.acked)/took.Seconds(), now)
	}
	if a.seen.acked >= proven && a.rate == 0 {
		a.become(0, true)
	}
}

// guess returns what a learning flight has carried, and by how much that has made the round
// trip longer: even a short packet takes its time on a slow line.
func (a *allowance) guess() (n int, took time.Duration, ok bool) {
	if a.rate > 0 || a.meter == nil {
		return 0, 0, false
	}
	g, ok := a.meter.measure()
	return int(g.acked), max(0, g.rtt-g.least-hostNoise), ok
}

// watch looks at an open flight: the time before in which so much arrived.
func (a *allowance) watch(before gauge, took time.Duration) {
	g := a.seen
	rate := float64(g.acked-before.acked) / took.Seconds()
	late := before.pending > 0 && g.acked > before.acked && g.rtt > a.base+mayGrow &&
		rate < fastRate && float64(g.pending) > rate*a.base.Seconds()
	if !late {
		a.late = 0
		return
	}
	if a.late++; a.late > 1 {
		a.bind(rate, a.at)
	}
}

// bind bounds the flight.
func (a *allowance) bind(rate float64, now time.Duration) {
	if a.become(max(rate, slowRate), false); a.rate == 0 {
		return
	}
	a.late, a.lag, a.fast, a.slow, a.probe = 0, 0, 0, 0, probe{last: now}
	a.free, a.busy = now+a.timeFor(a.seen.pending), now
	a.span = span{began: now, acked: a.seen.acked}
}

// become sets the rate, 0 for none, and whether there is a bound at all.
func (a *allowance) become(rate float64, open bool) {
	if rate > fastRate {
		rate, open = 0, true
	}
	if open {
		a.hold(false)
	}
	a.rate = rate
	a.open.Store(open)
	a.told(int(rate))
}
