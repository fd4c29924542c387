package tunnel

import (
	"slices"
	"sync"
	"time"
)

// speed is how fast a line really takes bytes. Between the driver, which tells what
// waits in it, and the wire may be a modem that is slower and keeps a second's worth.
// A PONG says when its PING came, by the peer's clock. How much longer that took than
// with the quickest PING of late is how long it waited below this end: neither the
// difference of the clocks matters nor what waits below the other end. So this end
//   - writes a little more than the line takes, as long as little waits;
//   - knows when too much waits that the line takes what it carried between the last
//     two PINGs, and writes so much less that nothing is left at the next one;
//   - does that now and then anyway, because only so the quickest way is seen, and when
//     a little too much waits;
//   - takes the line for faster when nothing waits though it should: what was written by
//     chance beyond what this end wanted says nothing;
//   - takes the way for longer when to write less did not help.
type speed struct {
	mu      sync.Mutex
	nominal int             // bit/s
	shared  bool            // by both directions: then a PING waits for its turn, and tells nothing
	found   int             // bit/s that the line takes, at most nominal
	set     int             // bit/s that this end writes, at most nominal
	bytes   int64           // written
	busy    time.Duration   // that this took
	spared  time.Duration   // of the line's time, until since, by writing less than it takes
	since   time.Duration   // when that was reckoned
	open    []question      // PINGs that wait for an answer, or are lost
	last    question        // the one answered last
	answers int             // so far
	ways    []time.Duration // of the last PINGs
}

// question is a PING, and what there was before it.
type question struct {
	at     time.Duration
	bytes  int64
	busy   time.Duration
	spared time.Duration
	way    time.Duration // how long it took, and the difference of the clocks
	waited time.Duration // of that
	closed time.Duration // when the PONG came
}

const (
	// tolerable is how long a PING may wait below this end, and growth how much longer
	// the next one shall wait, so that the line never has to.
	tolerable = 30 * time.Millisecond
	growth    = 10 * time.Millisecond
	// suspicious is tolerable on a line that is as fast as its port: hosts that have
	// more to do are likelier there than a modem.
	suspicious = 4 * tolerable
	// lagging is how long one PING may wait before less is written for a while: that may
	// have piled up while a host was late.
	lagging = lineBacklog + tolerable
	// lateWays is how many PINGs are of late: nothing waits below one of them.
	lateWays = 10
	// leastSpeed is where all guesses end, as a part of the nominal speed.
	leastSpeed = 100
	// askShare is which part of the line PINGs may take, while it is as fast as it
	// should be; askEvery is what lies at least between a PONG and the next PING.
	askShare = 240
	askEvery = time.Second
	// mostOpen is how many PINGs may be under way or lost.
	mostOpen = 8
	// pingFrame is a PING on the line.
	pingFrame = lineHeader + 1 + stampSize + 16 + 2
)

func (s *speed) init(nominal int, shared bool) {
	s.nominal, s.found, s.set, s.shared = nominal, nominal, nominal, shared
}

// bytesIn returns how many bytes of 10 bits the line takes in a time.
func (s *speed) bytesIn(t time.Duration) int { return int(t * time.Duration(s.set) / 10 / time.Second) }

// timeFor returns how long the line takes for n bytes.
func (s *speed) timeFor(n int) time.Duration {
	return time.Duration(n) * 10 * time.Second / time.Duration(s.set)
}

// best returns how long the line takes for n bytes if it is as fast as it should be.
func (s *speed) best(n int) time.Duration {
	return time.Duration(n) * 10 * time.Second / time.Duration(s.nominal)
}

func (s *speed) sent(n int, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += int64(n)
	s.busy += took
}

// forget is called when another peer's clock may answer from now on.
func (s *speed) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open, s.last, s.ways = s.open[:0], question{}, s.ways[:0]
}

// due reports whether it is time for a PING, while packets are sent.
func (s *speed) due(now time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared {
		return false
	}
	if len(s.open) == 0 {
		return now-s.last.closed >= s.pause()
	}
	overdue := now-s.open[len(s.open)-1].at >= 2*s.pause()
	if overdue { // nobody sees how much waits
		s.spare(now)
		s.set = min(s.set, s.found)
	}
	return overdue
}

// pause is the time between a PONG and the next PING.
func (s *speed) pause() time.Duration {
	share := askShare
	if s.found < s.nominal {
		share /= 4
	}
	return max(askEvery, time.Duration(share*pingFrame)*10*time.Second/time.Duration(s.found))
}

// spare reckons what was spared until now.
func (s *speed) spare(now time.Duration) {
	s.spared += time.Duration(float64(now-s.since) * (1 - float64(s.set)/float64(s.found)))
	s.since = now
}

// asked notes that a PING with a stamp is written next.
func (s *speed) asked(stamp time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) == mostOpen {
		s.open = slices.Delete(s.open, 0, 1)
	}
	s.spare(stamp)
	s.open = append(s.open, question{at: stamp, bytes: s.bytes, busy: s.busy, spared: s.spared})
}

// answered takes a PONG and corrects the speed.
func (s *speed) answered(stamp, arrived, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.open, func(q question) bool { return q.at == stamp })
	if i < 0 {
		return
	}
	s.spare(now)
	q, last := s.open[i], s.last
	s.open = slices.Delete(s.open, 0, i+1) // what was asked earlier is lost
	q.way, q.closed = arrived-stamp, now
	if len(s.ways) == lateWays {
		s.ways = slices.Delete(s.ways, 0, 1)
	}
	s.ways = append(s.ways, q.way)
	q.waited = max(0, q.way-slices.Min(s.ways))
	s.last, s.answers = q, s.answers+1
	if last.at != 0 {
		s.correct(last, q)
	}
}

// correct sets the speed after two PINGs. A host may be late once: only what both
// have waited counts.
func (s *speed) correct(last, q question) {
	over, more, limit := q.at-last.at, q.way-last.way, tolerable
	if s.found == s.nominal {
		limit = suspicious
	}
	written := float64(q.bytes-last.bytes) * 10 / over.Seconds()
	// What is written until the next PING changes what waits: all has left by then, if
	// it is not too much.
	change, empty := growth, min(growth, s.spared-q.spared-q.waited-growth)
	switch {
	case s.shared || over <= 0 || over+more <= 0 || q.busy-last.busy < over/2:
	case min(q.waited, last.waited) > limit && s.farther(last, q):
		s.ways, s.last.waited = append(s.ways[:0], q.way), 0
	case min(q.waited, last.waited) > limit:
		s.found = s.bounded(written * float64(over) / float64(over+more))
		change = empty
	case s.answers%lateWays == 0, q.waited > lagging && q.waited <= suspicious:
		change = empty
	case written > float64(s.found) && q.spared < last.spared && more < growth/2 && q.waited+last.waited < 2*growth:
		s.found = s.bounded(float64(s.set) * 33 / 32)
	}
	s.set = s.bounded(float64(s.found) * max(0.5, 1+change.Seconds()/s.pause().Seconds()))
}

// farther reports whether the way itself takes longer now: this end has written less
// than the line takes, because it wanted to and not because the driver was full, and
// that did not help.
func (s *speed) farther(last, q question) bool {
	over, more := q.at-last.at, q.way-last.way
	written := time.Duration(float64(q.bytes-last.bytes) * 10 / float64(s.found) * float64(time.Second))
	spared, meant := over-written, over-(q.spared-last.spared)
	return spared > tolerable && max(more, -more) < spared/2 && written > meant*3/4
}

// bounded returns a speed that can be.
func (s *speed) bounded(speed float64) int {
	return int(min(max(speed, float64(s.nominal)/leastSpeed), float64(s.nominal)))
}
