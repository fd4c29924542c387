package tunnel

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"vpnd/crypto"
)

// calling is a client's part of the handshakes of a line.
type calling struct {
	call    *crypto.Initiator // under way; nil: none
	f1      []byte            // framed, to be sent again
	hello   hello
	wait    time.Duration // for the answer
	repeats int           // of f1
	dialled time.Duration // clock when it was sent last
	doubted bool          // the peer hailed, beside a session
	known   uint64        // what the session had got by then, bytes
}

// dial makes a first flight and sends it.
func (d *lineDriver) dial() {
	c := &d.calling
	c.hello = d.hello()
	call, f1, err := d.key.Initiate(c.hello.append(nil))
	if err != nil {
		d.failed(err)
		d.timer.Reset(mostWait)
		return
	}
	c.call, c.f1, c.repeats = call, d.framed(lineF1, f1), 0
	d.repeat()
}

// repeat sends the first flight, and has it sent again later: the more often, the
// later, and never at a fixed time, because two ends of a half-duplex line that do
// the same at the same time never hear each other.
func (d *lineDriver) repeat() {
	c := &d.calling
	c.repeats++
	c.dialled = d.config.Now()
	d.say(c.f1)
	d.timer.Reset(c.wait + rand.N(c.wait))
	c.wait = min(2*c.wait, mostWait)
}

// again sends the first flight again, or another one when it was sent often enough.
func (d *lineDriver) again() {
	if d.calling.repeats < mostRepeats {
		d.repeat()
	} else {
		d.dial()
	}
}

// overdue is called when an answer did not come in time, or it is time to see whether
// anything came over a session that is in doubt.
func (d *lineDriver) overdue() {
	c := &d.calling
	switch {
	case c.call != nil:
		d.again()
	case d.current == nil, d.current.bytesIn.Load() == c.known:
		d.begin()
	default:
		c.doubted = false
	}
}

// heardHail starts a call. Anybody can play a hail again: a session goes on when the
// peer answers in it. A hail that comes soon after a call was sent before that.
func (d *lineDriver) heardHail(message []byte) {
	c := &d.calling
	if d.config.Now()-c.dialled < d.flightTime() || !d.key.Hails(message) {
		return
	}
	switch {
	case c.call != nil:
		c.wait = d.flightTime()
		d.again()
	case d.current == nil:
		d.begin()
	case !c.doubted && d.ask():
		c.doubted, c.known = true, d.current.bytesIn.Load()
		usual := time.Duration(d.current.rtt.Load())
		d.timer.Reset(max(d.flightTime()+d.pace.time(d.config.MTU), 2*usual)) // one may be in a frame
	}
}

// answered takes a second flight.
func (d *lineDriver) answered(ctx context.Context, f2 []byte) {
	c := &d.calling
	text, keys, err := c.call.Finish(f2)
	if err != nil {
		return // of another call, or made by somebody without the key
	}
	c.call = nil
	d.timer.Stop()
	if err := d.accept(ctx, text, keys); err != nil {
		d.failed(err)
		d.config.Log.Warn("no link", "cause", err)
		wait := mostWait
		if errors.Is(err, errTold) {
			wait = d.flightTime()
		}
		d.timer.Reset(wait)
	}
}

// accept makes the link that the peer's answer describes.
func (d *lineDriver) accept(ctx context.Context, text []byte, keys *crypto.Generation) error {
	a, err := parseAnswer(text)
	if err != nil {
		return err
	}
	if err := judge(d.key, d.calling.hello, a); err != nil {
		return err
	}
	if err := d.checkAddrs(a); err != nil {
		return err
	}
	g := greeting{answer: a, peer: a.terms, inner: a.inner, keys: keys, who: Caller{Key: d.key.ID()}}
	s, err := d.session(ctx, g)
	if err != nil {
		return err
	}
	d.up(s, g)
	return nil
}
