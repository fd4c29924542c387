package tunnel

import (
	"cmp"
	"fmt"
	"time"
)

// watch is what a session knows from the last look at the time.
type watch struct {
	pings    int   // since the peer was heard
	asked    int64 // s.heard at that time
	released bool  // what the sender had
	emptied  bool  // what the receiver had

	meter   meter         // of the connection
	written uint64        // s.bytesOut at the last measurement
	arrived bool          // all of that had arrived
	fine    time.Duration // clock of the last look at which nothing was lost; 0: none yet
	retry   time.Duration // longest wait before the connection sends again; 0: as the kernel likes
}

// supervise watches the time until the session ends.
func (s *session) supervise() error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return nil
		case <-timer.C:
		}
		next, err := s.look()
		if err != nil {
			return err
		}
		// A second at most: timers stop while the host is suspended, the clock does
		// not.
		timer.Reset(max(time.Millisecond, min(time.Second, next)))
	}
}

// look sees to what is due: silence, age of the keys, idleness. It returns when to
// look for the next silence.
func (s *session) look() (next time.Duration, err error) {
	w, tune := &s.watch, s.t.tuning.Load()
	now, heard := s.t.config.Now(), s.heard.Load()
	if heard != w.asked {
		w.asked, w.pings = heard, 0
	}
	idle, keepalive, noAnswer := now-time.Duration(heard), tune.Keepalive, tune.NoAnswer
	if s.line != nil && !s.answered.Load() { // the peer may not know of the session
		keepalive, noAnswer = min(keepalive, s.line.answerTime()), max(noAnswer, leastQuestions)
	}
	switch due := int(idle / keepalive); {
	case due > noAnswer:
		return 0, fmt.Errorf("%w for %v", ErrNoAnswer, idle.Round(time.Millisecond))
	case due > w.pings:
		w.pings = due
		s.post(message{kind: framePing})
	}
	s.hurry(now, time.Duration(noAnswer+1)*keepalive)
	if err := s.keys.check(now); err != nil {
		return 0, err
	}
	if s.isIdle(now) {
		return 0, errIdle
	}
	if quiet := s.send.idleSince(now) > idleRelease; !quiet {
		w.released = false
	} else if !w.released {
		w.released = s.post(message{kind: askRelease})
	}
	if quiet := now-time.Duration(s.moved.Load()) > 2*idleRelease; !quiet {
		w.emptied = false
	} else if !w.emptied && s.line == nil { // by then the peer has released what it compresses with
		w.emptied = true
		s.conn.SetReadDeadline(time.Unix(1, 0)) // it is the receiver that has it
	}
	return time.Duration(heard) + time.Duration(w.pings+1)*keepalive - now, nil
}

// isIdle reports whether the line is to be closed for want of packets.
func (s *session) isIdle(now time.Duration) bool {
	if s.line == nil || s.t.config.Line.Idle == 0 {
		return false
	}
	return min(s.send.idleSince(now), now-time.Duration(s.moved.Load())) >= s.t.config.Line.Idle
}

// longestRetry is the longest wait of a connection before it sends again, if nobody says
// otherwise (TCP_RTO_MAX_MS).
const longestRetry = 2 * time.Minute

// hurry keeps the connection from waiting longer and longer while nothing arrives: that the
// way is back is to be noticed soon.
func (s *session) hurry(now, dead time.Duration) {
	w := &s.watch
	have, written := cmp.Or(w.retry, longestRetry), s.bytesOut.Load()
	if have == longestRetry && w.arrived && w.written == written {
		w.fine = now
		return // nothing is under way
	}
	if w.meter == nil {
		if w.meter = meterOf(s.conn); w.meter == nil {
			return
		}
	}
	g, ok := w.meter.measure()
	w.written, w.arrived = written, ok && g.pending == 0
	if !g.fails() && !g.mending {
		w.fine = now
	}
	if want := g.retry(now-w.fine, dead); want != have {
		w.meter.retry(want)
		w.retry = want
	}
}

// fails reports whether what is sent does not arrive, or cannot even be sent.
func (g gauge) fails() bool { return g.again > 0 || g.asked > 0 }

// retry returns how long a connection should wait at most before it sends again, which has
// been in trouble for some time, on a link that is dead after another. The waits have to
// grow, or it would be given up before: Linux counts how long its tries would take together
// with the waits as they are now, from the first loss that is not made up for on, or, while
// it cannot send at all, the tries themselves.
// While the peer takes no more it may count otherwise, and is left alone.
func (g gauge) retry(trouble, dead time.Duration) time.Duration {
	if g.full || !g.fails() {
		return longestRetry
	}
	lasts := trouble
	if g.asked > 0 {
		lasts = dead
	}
	lasts += lasts/4 + 3*time.Second // the next look is in a second
	most := max(time.Second, 4*g.rtt)
	for most < longestRetry && g.lasts(most) < lasts {
		most += most / 4
	}
	return min(most, longestRetry)
}

// lasts returns how long all tries take with no longer waits than most: each is twice as
// long as the one before.
func (g gauge) lasts(most time.Duration) (all time.Duration) {
	wait := 200 * time.Millisecond // TCP_RTO_MIN
	for range g.tries + 1 {
		all += wait
		wait = min(2*wait, most)
	}
	return all
}
