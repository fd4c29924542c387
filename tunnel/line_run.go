package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	d.life, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	d.parts.Go(d.read)
	d.parts.Go(d.talk)
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
	d.stop()
	d.pace.limit(d.life, time.Now().Add(closeTimeout))
	d.sessions.Wait()
	d.forget(len(d.answering.callers))
	limit, cancel := context.WithTimeout(context.Background(), drainTimeout)
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
	timer           *time.Timer
	life            context.Context // of read and talk
	stop            func()
	parts, sessions sync.WaitGroup
	frames          chan []byte   // from read; valid until taken is sent
	taken           chan struct{} // to read
	broken          chan error    // from read
	spoke           chan struct{} // the modem said that it hung up
	speech          chan []byte   // to talk
	ended           chan ending
	current         *session
	asked           time.Duration // clock when current was asked out of turn; 0: never

	calling   calling   // of a client
	answering answering // of a server
}

func newLineDriver(t *Tunnel, port Port) *lineDriver {
	line := t.config.Line
	return &lineDriver{
		Tunnel: t,
		port:   port,
		pace:   newPacer(port, line),
		out:    frame.NewLineWriter(line.Filter),
		timer:  time.NewTimer(time.Hour),
		frames: make(chan []byte),
		taken:  make(chan struct{}),
		broken: make(chan error, 1),
		spoke:  make(chan struct{}, 1),
		speech: make(chan []byte, 4),
		ended:  make(chan ending, maxSessions),
	}
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

// read reads frames until the line fails or the driver's life ends.
func (d *lineDriver) read() {
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
			d.broken <- err
			return
		}
		select {
		case d.frames <- f:
			<-d.taken
		case <-d.life.Done():
			return
		}
	}
}

// talk writes flights and hails, so that nobody has to wait for a line whose flow
// control stands still.
func (d *lineDriver) talk() {
	for {
		select {
		case b := <-d.speech:
			d.pace.write(d.life, b)
		case <-d.life.Done():
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
		case err := <-d.broken:
			return fmt.Errorf("%w: %w", errLine, err)
		case f := <-d.frames:
			d.frame(ctx, f)
			d.taken <- struct{}{}
		case <-d.spoke:
			d.ask()
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
			d.current = nil
			if d.config.Line.Modem || isIdle(e.err) {
				return e.err
			}
			d.begin()
		case <-d.redial:
			switch {
			case d.current != nil:
				d.current.end(errShutdown)
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
	if d.config.Line.Answers {
		d.answering.hails = 0
		d.hail()
		return
	}
	d.calling.wait = d.flightTime()
	d.dial()
}

// flightTime is the time of both flights on the line, there and back, and some more.
func (d *lineDriver) flightTime() time.Duration {
	return firstWait + 2*d.pace.speed.best(crypto.F1Size+crypto.F2Size)
}

// tick is called when an answer is overdue.
func (d *lineDriver) tick() {
	switch {
	case !d.config.Line.Answers:
		d.overdue()
	case d.current == nil:
		d.hail()
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
	case control == lineHail && !d.config.Line.Answers:
		d.heardHail(message)
	case control == lineF1 && d.config.Line.Answers:
		d.called(ctx, message)
	case control == lineF2 && d.calling.call != nil:
		d.answered(ctx, message)
	}
}

// data gives a frame to the session it belongs to.
func (d *lineDriver) data(f []byte) {
	if d.proves(f) {
		return
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
	if d.config.Line.Answers && d.current == nil {
		d.hail()
	}
}

// up makes s the link. What it is like is of interest from now on: before, the
// caller may be a recording.
func (d *lineDriver) up(s *session, g greeting) {
	s.compare(g)
	d.pace.speed.forget()
	d.current, d.calling.doubted = s, false
	d.attach(s)
	d.sessions.Go(func() {
		err := s.run()
		d.ended <- ending{s, err}
	})
}

// ask sends a PING, and reports whether it was time for one: anybody can have it
// sent.
func (d *lineDriver) ask() bool {
	now := d.config.Now()
	if d.current == nil || d.asked != 0 && now-d.asked < d.flightTime() {
		return false
	}
	d.asked = now
	return d.current.post(message{kind: framePing})
}

func (d *lineDriver) session(ctx context.Context, g greeting) (*session, error) {
	conn := &lineConn{pacer: d.pace, name: d.config.Line.Name}
	g.conn, g.line, g.wire = conn, d.pace, &lineWire{frames: frame.NewLineWriter(d.config.Line.Filter)}
	s, err := d.newSession(context.WithoutCancel(ctx), g, !d.config.Line.Answers)
	if err == nil {
		conn.ctx = s.ctx
	}
	return s, err
}
