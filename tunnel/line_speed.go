package tunnel

import (
	"sync"
	"time"
)

// speed is how fast a line really takes bytes. Between the driver, which tells what
// waits in it, and the wire may be a modem that is slower and keeps a second's worth:
// a PONG comes late then, and this end writes more slowly until the modem is empty.
type speed struct {
	mu      sync.Mutex
	nominal int           // bit/s
	frame   int           // bytes that may be on their way before a PONG
	set     int           // bit/s, at most nominal
	found   int           // bit/s that the line takes; 0: not known
	base    time.Duration // round trip while nothing waits; 0: not known
	bytes   int64         // written
	busy    time.Duration // that this took
	open    question      // PING under way; at 0: none
	last    question      // answered last
	came    time.Duration // its answer
	late    time.Duration // by how much one was late when this end began to write less
	spared  time.Duration // of the line's time since then
}

// question is a PING.
type question struct {
	at     time.Duration
	before int64         // bytes written before it
	busy   time.Duration // that was spent with writing before it
}

const (
	// leastSpeed is where all guesses end, as a part of the nominal speed.
	leastSpeed = 100
	// askShare is which part of the line PINGs may take, while it is as fast as it
	// should be; askEvery is their distance at least.
	askShare = 240
	askEvery = time.Second
	// inVain is how much of the line's time is spared before the way counts as longer.
	inVain = 2 * time.Second
	// askLost is after how long a PING is lost.
	askLost = 30 * time.Second
	// pingFrame is a PING or PONG on the line.
	pingFrame = lineHeader + 1 + stampSize + 16 + 2
)

func (s *speed) init(nominal, mtu int) {
	s.nominal, s.set = nominal, nominal
	s.frame = max(mtu+pingFrame, s.bytesIn(batchTime))
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

// due reports whether it is time for a PING, while packets are sent.
func (s *speed) due(now time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	share := askShare
	if s.set < s.nominal {
		share /= 4
	}
	return !s.waits(now) && now-s.last.at >= max(askEvery, s.timeFor(share*pingFrame))
}

// waits reports whether a PING is under way, which may be lost.
func (s *speed) waits(now time.Duration) bool { return s.open.at != 0 && now-s.open.at < askLost }

// asked notes that a PING with a stamp is written next.
func (s *speed) asked(stamp time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.waits(stamp) {
		s.open = question{stamp, s.bytes, s.busy}
	}
}

// answered takes a PONG and corrects the speed.
func (s *speed) answered(stamp, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stamp != s.open.at || stamp == 0 {
		return
	}
	q, rtt := s.open, now-stamp
	if s.base == 0 || rtt < s.base {
		s.base = rtt
	}
	// The driver at both ends may have a backlog, and the peer be in a frame.
	late := rtt - s.base - 2*lineBacklog - s.timeFor(s.frame)
	if took := now - s.came; s.came != 0 && took > 0 {
		carried, over := int(float64(q.before-s.last.before)*10/took.Seconds()), q.at-s.last.at
		if q.busy-s.last.busy < over/2 {
			late = 0 // it does not wait behind what this end has sent
		}
		if late <= 0 {
			s.spared = 0
		} else if s.farther(late, over) {
			s.base, late = rtt, 0
		}
		s.correct(carried, late, over)
	}
	s.open, s.last, s.came = question{}, q, now
}

// farther finds out that the way itself takes longer now, because a modem has found
// another speed or the line another way: this end has written so much less than the
// line takes that nothing of it can be waiting, and that did not help. What the other
// end has written makes a PONG late too; it notices that by itself.
func (s *speed) farther(late, over time.Duration) bool {
	if s.spared == 0 {
		s.late = late
	}
	s.spared += time.Duration(float64(over) * (1 - float64(s.set)/float64(max(s.found, s.set))))
	switch {
	case s.late-late > s.spared/4:
		s.spared = 0
		return false
	case s.spared < inVain || s.spared < 2*late:
		return false
	}
	s.spared = 0
	return true
}

// correct sets the speed after a time in which the line has carried so much and a
// PONG was so much later than it should. When it was late there is more below this
// end than the line takes, so that what the line carried is what it can.
func (s *speed) correct(carried int, late, over time.Duration) {
	switch {
	case late > 0:
		if s.found == 0 {
			s.found = carried
		}
		if carried > s.found {
			s.found = (s.found + carried) / 2
		} else {
			s.found += (carried - s.found) / 8
		}
		s.set = s.found - int(float64(s.found)*min(0.5, late.Seconds()/(2*over.Seconds())))
	case s.set < s.found: // the modem is empty now
		s.set = s.found
	case carried > s.set*3/4:
		s.set += s.set / 32
		s.found = s.set
	}
	s.set = min(max(s.set, s.nominal/leastSpeed), s.nominal)
}
