package tunnel

import (
	"fmt"
	"time"
)

// watch is what a session knows from the last look at the time.
type watch struct {
	pings    int   // since the peer was heard
	asked    int64 // s.heard at that time
	released bool  // what the sender had
	emptied  bool  // what the receiver had
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
