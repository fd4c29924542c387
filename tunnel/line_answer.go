package tunnel

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// answering is a server's part of the handshakes of a line.
type answering struct {
	hails   int           // sent since there is no session
	hailed  time.Duration // clock when the last one was
	callers []*lineGuest  // who have not proved their keys yet, oldest first
}

// lineGuest is a caller that was answered.
type lineGuest struct {
	f1      []byte // to know it again
	answer  []byte // framed
	answers int    // how often that was sent
	at      time.Duration
	session *session // nil: refused
	terms   greeting
}

const (
	// maxCallers is how many callers may be unproven: more than one, because recorded
	// first flights of before a restart look like an honest client's.
	maxCallers = 4
	// callerTime is how long a caller has to prove its keys, besides the time that the
	// line takes.
	callerTime = time.Minute
)

// hail tells a client that there is no session here; not often.
func (d *lineDriver) hail() {
	a, now := &d.answering, d.config.Now()
	every := max(hailEvery, 2*d.flightTime()) // or the next one is on its way when the first is answered
	if now-a.hailed < every {
		d.timer.Reset(every - (now - a.hailed))
		return
	}
	a.hailed = now
	if a.hails++; a.hails < firstHails {
		d.timer.Reset(every)
	}
	hails, err := d.door.Hails()
	if err != nil {
		d.failed(err)
		return
	}
	for _, hail := range hails {
		d.say(d.framed(lineHail, hail))
	}
}

// called takes a first flight.
func (d *lineDriver) called(ctx context.Context, f1 []byte) {
	for _, c := range d.answering.callers {
		if bytes.Equal(f1, c.f1) {
			d.reply(c)
			return
		}
	}
	call, err := d.door.Open(f1)
	d.suspect(call, d.config.Line.Name)
	if err != nil {
		d.refuse(refusalOf(err))
		return
	}
	c, why, err := d.receive(ctx, call)
	if err != nil {
		d.refuse(why, err)
	}
	if c != nil {
		c.f1 = bytes.Clone(f1)
		d.remember(c)
		d.reply(c)
	}
}

// refuse counts a caller who gets no session. Strangers are no news: noise may look
// like one.
func (d *lineDriver) refuse(why refusal, err error) {
	d.count.refuse(why)
	if why != refusedDoor {
		d.limits[why].Warn(d.config.Log, "caller refused", "peer", d.config.Line.Name, "cause", err)
	}
}

// receive makes the second flight, and the session if there can be one.
func (d *lineDriver) receive(ctx context.Context, call *Call) (*lineGuest, refusal, error) {
	r, err := d.respond(call, d.config.Line.Name)
	if err != nil {
		return nil, refusedTerms, err
	}
	c := &lineGuest{answer: d.framed(lineF2, r.f2), at: d.config.Now(), terms: r.greeting}
	if r.err != nil {
		return c, r.why, r.err
	}
	if c.session, err = d.session(ctx, c.terms); err != nil {
		return nil, refusedTerms, err
	}
	return c, 0, nil
}

// reply sends the second flight, no more often than a client sends the first one.
func (d *lineDriver) reply(c *lineGuest) {
	if c.answers++; c.answers <= mostRepeats {
		d.say(c.answer)
	}
}

// remember adds a caller to those that are to prove their keys.
func (d *lineDriver) remember(c *lineGuest) {
	a := &d.answering
	if len(a.callers) == maxCallers {
		d.forget(1)
	}
	a.callers = append(a.callers, c)
}

// forget gives the n oldest callers up.
func (d *lineDriver) forget(n int) {
	a := &d.answering
	for _, c := range a.callers[:n] {
		if c.session != nil {
			c.session.end(errDisplaced)
			c.session.keys.forget()
		}
	}
	a.callers = a.callers[n:]
}

// proves reports whether a frame of the data channel is a caller's. The first one
// makes its session the link.
func (d *lineDriver) proves(f []byte) bool {
	a := &d.answering
	for len(a.callers) > 0 && d.config.Now()-a.callers[0].at > callerTime+4*d.flightTime() {
		d.forget(1)
	}
	for i, c := range a.callers {
		s := c.session
		if s == nil {
			continue
		}
		err := s.receive.fromLine(bytes.Clone(f))
		if errors.Is(err, errForeign) {
			continue
		}
		c.session = nil
		if err != nil {
			s.end(err)
			s.keys.forget()
		} else {
			d.forget(i + 1)
			d.up(s, c.terms)
		}
		return true
	}
	return false
}
