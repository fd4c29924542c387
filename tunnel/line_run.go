package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// overLine keeps a link over a serial line until ctx ends.
func (t *Tunnel) overLine(ctx context.Context) error {
	line, told := t.config.Line, reporter{}
	wait, rests := lineRetry, line.Demand
	for ctx.Err() == nil {
		if rests && !line.Answers {
			t.demand.await(ctx)
		}
		links := t.count.links.Load()
		err := t.useLine(ctx)
		t.demand.forget()
		if ctx.Err() != nil {
			break
		}
		t.failed(err)
		if rests = line.Demand || isIdle(err); isIdle(err) {
			continue
		}
		told.report(t, err)
		if t.count.links.Load() > links || line.Answers || errors.Is(err, fs.ErrNotExist) {
			wait = lineRetry // the line was good, has to wait for calls, or may be plugged in any time
		}
		t.pauseOrRedial(ctx, jitter(wait, wait*3/2))
		wait = min(2*wait, t.tuning.Load().Retry)
	}
	return nil
}

const (
	// lineRetry is the first wait before a line is opened again; it doubles.
	lineRetry = time.Second
	// strangeCall is how long a call may last without a link: somebody else answers,
	// or calls.
	strangeCall = time.Minute
)

// errNobody says that a call came to nothing.
var errNobody = errors.New("no vpnd with this key at the other end of the line")

// useLine opens the line and keeps a link over it until the line fails.
func (t *Tunnel) useLine(ctx context.Context) error {
	port, err := t.config.Line.Open(ctx)
	if err != nil {
		return err
	}
	d := newLineDriver(t, port)
	var life context.Context
	life, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	d.parts.Go(func() { d.read(life) })
	d.parts.Go(func() { d.talk(life) })
	err = d.run(ctx)
	d.hangUp(err)
	return err
}

// hangUp ends the sessions and closes the line.
func (d *lineDriver) hangUp(cause error) {
	d.timer.Stop()
	if d.current != nil {
		d.current.end(cause)
	}
	d.sessions.Wait()
	d.stop()
	limit, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	d.pace.finish(limit) // the good-bye; closing forgets what is not sent
	d.port.Close()
	d.parts.Wait()
}

// lineDriver has the handshakes of a line, and gives the frames of the data channel
// to the session whose keys they have. All but read and talk runs in one
// goroutine.
type lineDriver struct {
	*Tunnel
	port            Port
	pace            *pacer
	out             *frame.LineWriter
	door            *crypto.Door // of a server
	timer           *time.Timer
	stop            func()
	parts, sessions sync.WaitGroup
	frames          chan []byte // from read; valid until taken is sent
	taken           chan struct{}
	failed          chan error
	spoke           chan struct{} // the modem said that it hung up
	speech          chan []byte   // to talk
	ended           chan ending
	current         *session

	// Of a client: the call under way.
	call    *crypto.Initiator
	f1      []byte // framed, to be sent again
	spoilt  bool   // an answer came that was none: the call may be of no more use
	hello   hello
	wait    time.Duration // for the answer
	repeats int           // of f1
	dialled time.Duration // clock when it was sent last; 0: never

	// Of a server without a session.
	hails  int           // sent since it has none
	hailed time.Duration // clock when the last one was; 0: never

	// Of a server: the last caller, who has not proved its keys yet.
	asked   []byte // its first flight
	answer  []byte // the second one, framed
	pending *session
}

func newLineDriver(t *Tunnel, port Port) *lineDriver {
	line := t.config.Line
	d := &lineDriver{
		Tunnel: t,
		port:   port,
		pace:   newPacer(port, line, t.config.MTU),
		out:    frame.NewLineWriter(line.Filter),
		timer:  time.NewTimer(time.Hour),
		frames: make(chan []byte),
		taken:  make(chan struct{}),
		failed: make(chan error, 1),
		spoke:  make(chan struct{}, 1),
		speech: make(chan []byte, 4),
		ended:  make(chan ending, maxSessions),
	}
	if line.Answers {
		d.door = crypto.NewDoor(t.config.Random, t.config.Keys...)
	}
	return d
}

// ending is a session that has ended, and why.
type ending struct {
	session *session
	err     error
}

// maxSessions is how many sessions can have ended and not be noticed yet: the
// present one and those that it and its predecessors displaced.
const maxSessions = 16

// largestFrame is room for a frame with an uncompressed batch.
const largestFrame = lineHeader + 1 + frame.MaxText + crypto.TagSize

// read reads frames until the line fails or ctx ends.
func (d *lineDriver) read(ctx context.Context) {
	heard := func() {
		select {
		case d.spoke <- struct{}{}:
		default:
		}
	}
	in := frame.NewLineReader(d.pace, d.config.Line.Filter, largestFrame, modemText, heard)
	for {
		f, err := in.Next()
		if err != nil {
			d.failed <- err
			return
		}
		select {
		case d.frames <- f:
			<-d.taken
		case <-ctx.Done():
			return
		}
	}
}

// talk writes flights and hails, so that nobody has to wait for a line whose flow
// control stands still.
func (d *lineDriver) talk(ctx context.Context) {
	for {
		select {
		case b := <-d.speech:
			d.pace.write(ctx, b)
		case <-ctx.Done():
			return
		}
	}
}

// say has bytes sent, or forgets them when others wait already.
func (d *lineDriver) say(b []byte) {
	select {
	case d.speech <- b:
	default:
	}
}

// framed puts a handshake message into a frame.
func (d *lineDriver) framed(control byte, message []byte) []byte {
	return d.out.Append(nil, frame.AppendFCS(append([]byte{control}, message...)))
}

// run is the life of an open line. It returns why the line is of no more use.
func (d *lineDriver) run(ctx context.Context) error {
	d.begin()
	strange := time.NewTimer(strangeCall + 4*d.flightTime())
	defer strange.Stop()
	for {
		select {
		case <-ctx.Done():
			return errShutdown
		case err := <-d.failed:
			return fmt.Errorf("%w: %w", errLine, err)
		case f := <-d.frames:
			d.frame(ctx, f)
			d.taken <- struct{}{}
		case <-d.spoke:
			if s := d.current; s != nil {
				s.post(message{kind: framePing})
			}
		case <-d.timer.C:
			d.tick()
		case <-strange.C:
			if d.config.Line.Modem && d.current == nil {
				return errNobody
			}
		case e := <-d.ended:
			if e.session != d.current {
				continue
			}
			if d.current = nil; d.config.Line.Modem || isIdle(e.err) {
				return e.err
			}
			d.begin()
		case <-d.redial:
			switch s := d.current; {
			case s != nil:
				s.end(errShutdown)
			case d.config.Line.Modem:
				return errShutdown
			default:
				d.begin()
			}
		}
	}
}

// begin starts to look for the peer.
func (d *lineDriver) begin() {
	if d.door != nil {
		d.hails = 0
		d.hail()
		return
	}
	d.wait = d.flightTime()
	d.dial()
}

// flightTime is the time of both flights on the line, there and back, and some more.
func (d *lineDriver) flightTime() time.Duration {
	return firstWait + 2*d.pace.time(crypto.F1Size+crypto.F2Size)
}

// hail tells a client that there is no session here; not often.
func (d *lineDriver) hail() {
	now := d.config.Now()
	every := max(hailEvery, 2*d.flightTime()) // or the next one is on its way when the first is answered
	if d.hailed != 0 && now-d.hailed < every {
		return
	}
	d.hailed = now
	if d.hails++; d.hails < firstHails {
		d.timer.Reset(every)
	}
	hail, err := d.config.Keys[0].Hail(d.config.Random)
	if err != nil {
		d.Tunnel.failed(err)
		return
	}
	d.say(d.framed(lineHail, hail))
}

// dial makes a first flight and sends it.
func (d *lineDriver) dial() {
	d.hello = d.Tunnel.hello()
	call, f1, err := crypto.Initiate(d.config.Keys[0], d.config.Random, d.hello.append(nil))
	if err != nil {
		d.Tunnel.failed(err)
		d.timer.Reset(mostWait)
		return
	}
	d.call, d.f1, d.spoilt, d.repeats = call, d.framed(lineF1, f1), false, 0
	d.repeat()
}

// repeat sends the first flight, and has it sent again later: the more often, the
// later, and never at a fixed time, because two ends of a half-duplex line that do
// the same at the same time never hear each other.
func (d *lineDriver) repeat() {
	d.repeats++
	d.dialled = d.config.Now()
	d.say(d.f1)
	d.timer.Reset(d.wait + rand.N(d.wait))
	d.wait = min(2*d.wait, mostWait)
}

// tick is called when an answer is overdue.
func (d *lineDriver) tick() {
	switch {
	case d.door != nil && d.current == nil:
		d.hail()
	case d.door != nil:
	case d.call != nil && !d.spoilt && d.repeats < mostRepeats:
		d.repeat()
	case d.call != nil:
		d.dial()
	case d.current == nil:
		d.begin()
	}
}

// frame takes what stood between two flags.
func (d *lineDriver) frame(ctx context.Context, f []byte) {
	if f[0]&handshakeBit == 0 {
		d.data(f)
		return
	}
	message, err := frame.CutFCS(f)
	if err != nil {
		return
	}
	switch control, message := message[0], message[1:]; {
	case control == lineHail && d.door == nil:
		d.heardHail(message)
	case control == lineF1 && d.door != nil:
		d.called(ctx, message)
	case control == lineF2 && d.call != nil:
		d.answered(ctx, message)
	}
}

// data gives a frame to the session it belongs to.
func (d *lineDriver) data(f []byte) {
	if p := d.pending; p != nil {
		switch err := p.receive.fromLine(bytes.Clone(f)); {
		case errors.Is(err, errForeign):
		case err != nil:
			d.pending = nil
			p.end(err)
			return
		default:
			d.pending, d.asked, d.answer = nil, nil, nil
			d.up(p)
			return
		}
	}
	if s := d.current; s != nil && s.ctx.Err() == nil {
		err := s.receive.fromLine(f)
		if err != nil && !errors.Is(err, errForeign) {
			s.end(err)
		}
		if err == nil {
			return
		}
		d.count.damaged.Add(1)
	}
	if d.door != nil && d.current == nil {
		d.hail()
	}
}

// up makes s the link.
func (d *lineDriver) up(s *session) {
	d.current = s
	d.attach(s)
	d.sessions.Go(func() {
		err := s.run()
		d.ended <- ending{s, err}
	})
}

// heardHail starts a call, beside the session if there is one: anybody can play a
// hail again. One that comes soon after a call was sent before that.
func (d *lineDriver) heardHail(message []byte) {
	if d.dialled != 0 && d.config.Now()-d.dialled < d.flightTime() || !d.config.Keys[0].Hails(message) {
		return
	}
	if d.call == nil {
		d.begin()
	} else {
		d.wait = d.flightTime()
		d.repeat()
	}
}

// called takes a first flight.
func (d *lineDriver) called(ctx context.Context, f1 []byte) {
	if bytes.Equal(f1, d.asked) {
		d.say(d.answer)
		return
	}
	call, err := d.door.Open(f1)
	if err != nil {
		return
	}
	h, err := parseHello(call.Hello)
	if err != nil {
		d.refuse(err)
		return
	}
	a := d.choose(h)
	f2, keys, err := call.Answer(a.append(nil))
	if err != nil {
		d.refuse(err)
		return
	}
	d.asked, d.answer, d.pending = bytes.Clone(f1), d.framed(lineF2, f2), nil
	if a.reason == reasonNone {
		d.pending, err = d.session(ctx, greeting{
			answer: a, peer: h.terms, inner: h.inner, keys: keys, keyID: call.Key.ID(), caller: h.client, call: d.calls.Add(1),
		})
	}
	if err != nil {
		d.refuse(err)
		return
	}
	d.say(d.answer)
}

func (d *lineDriver) refuse(err error) {
	d.count.refuse(refusedTerms)
	d.limits[refusedTerms].warn(d.config.Log, d.config.Now(), "caller refused", "peer", d.config.Line.Name, "cause", err)
}

// answered takes a second flight.
func (d *lineDriver) answered(ctx context.Context, f2 []byte) {
	text, keys, err := d.call.Finish(f2)
	if err != nil { // of another call, or made by somebody without the key
		d.spoilt = true
		return
	}
	d.call = nil
	d.timer.Stop()
	a, err := parseAnswer(text)
	if err == nil {
		err = d.hello.check(a)
	}
	var s *session
	if err == nil {
		s, err = d.session(ctx, greeting{answer: a, peer: a.terms, inner: a.inner, keys: keys, keyID: d.config.Keys[0].ID()})
	}
	if err != nil {
		d.Tunnel.failed(err)
		d.config.Log.Warn("no link", "cause", err)
		d.timer.Reset(mostWait)
		return
	}
	d.up(s)
}

func (d *lineDriver) session(ctx context.Context, g greeting) (*session, error) {
	conn := &lineConn{pacer: d.pace, name: d.config.Line.Name}
	g.conn, g.line, g.wire = conn, d.pace, &lineWire{frames: frame.NewLineWriter(d.config.Line.Filter)}
	s, err := d.newSession(context.WithoutCancel(ctx), g, d.door == nil)
	if err == nil {
		conn.ctx = s.ctx
		s.compare(g)
	}
	return s, err
}
