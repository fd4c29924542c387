package serialtest

import (
	"os"
	"time"
)

// fifo is how many bytes an end takes before the wire has sent them, as a tty
// driver does.
const fifo = 4096

// End is an end of a line, with the methods of a serial.Port that a tunnel needs.
type End struct {
	line *Line
	peer *End

	out    []byte   // written
	modem  []byte   // taken from out by a modem
	sent   []parcel // on the wire
	in     []byte   // arrived
	broken error
	closed bool
	filled time.Time // when something came to be sent that found nothing before it
	begin  time.Time // of the bytes that the wire carries, or carried last
	end    time.Time

	reading, writing deadline
}

// parcel is bytes on their way.
type parcel struct {
	bytes   []byte
	arrives time.Time
}

// deadline is a point of time after which a call does not wait.
type deadline struct {
	passed bool
	timer  *time.Timer
}

// transmit is what the wire does for this end's bytes. A host that is late does not make
// the wire slower.
func (e *End) transmit() {
	l := e.line
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for !l.closed && len(e.out) == 0 && len(e.modem) == 0 {
			l.change.Wait()
		}
		if e.begin = e.end; e.filled.After(e.end) {
			e.begin = e.filled
		}
		if l.closed {
			return
		}
		b := e.take()
		wire := l.wire
		e.end = e.begin.Add(wire.duration(len(b)))
		l.change.Broadcast() // there is room
		l.mu.Unlock()
		time.Sleep(time.Until(e.end))
		l.mu.Lock()
		collided := wire.HalfDuplex && e.peer.begin.Before(e.end) && e.peer.end.After(e.begin)
		if e.broken != nil {
			continue
		}
		b = l.spoil(b, e.end, collided)
		if wire.Latency == 0 {
			e.peer.in = append(e.peer.in, b...)
			l.change.Broadcast()
			continue
		}
		e.sent = append(e.sent, parcel{b, time.Now().Add(wire.Latency)})
		time.AfterFunc(wire.Latency, e.arrive)
	}
}

// take returns the next bytes for the wire.
func (e *End) take() []byte {
	wire := e.line.wire
	from := &e.out
	if wire.Modem > 0 {
		n := min(len(e.out), max(0, wire.Modem-len(e.modem)))
		e.modem = append(e.modem, e.out[:n]...)
		e.out = e.out[n:]
	}
	if len(e.modem) > 0 {
		from = &e.modem
	}
	n := min(len(*from), wire.bytes())
	b := append([]byte(nil), (*from)[:n]...)
	*from = (*from)[n:]
	return b
}

// arrive gives the peer what has arrived by now.
func (e *End) arrive() {
	e.line.do(func() {
		for now := time.Now(); len(e.sent) > 0 && !e.sent[0].arrives.After(now); e.sent = e.sent[1:] {
			e.peer.in = append(e.peer.in, e.sent[0].bytes...)
		}
	})
}

// Inject makes this end read bytes that nobody sent.
func (e *End) Inject(text string) { e.line.do(func() { e.in = append(e.in, text...) }) }

// Read returns what has arrived, and waits until there is something.
func (e *End) Read(b []byte) (int, error) {
	e.line.mu.Lock()
	defer e.line.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, os.ErrClosed
		case e.reading.passed:
			return 0, os.ErrDeadlineExceeded
		case len(e.in) > 0:
			n := copy(b, e.in)
			e.in = e.in[:copy(e.in, e.in[n:])]
			return n, nil
		case e.broken != nil:
			return 0, e.broken
		}
		e.line.change.Wait()
	}
}

// Write waits until all bytes are taken.
func (e *End) Write(b []byte) (n int, err error) {
	e.line.mu.Lock()
	defer e.line.mu.Unlock()
	for n < len(b) {
		switch {
		case e.closed:
			return n, os.ErrClosed
		case e.broken != nil:
			return n, e.broken
		case e.writing.passed:
			return n, os.ErrDeadlineExceeded
		case len(e.out) < fifo:
			if len(e.out) == 0 && len(e.modem) == 0 {
				e.filled = time.Now()
			}
			k := min(len(b)-n, fifo-len(e.out))
			e.out = append(e.out, b[n:n+k]...)
			n += k
			e.line.change.Broadcast()
			continue
		}
		e.line.change.Wait()
	}
	return n, nil
}

// Waiting returns how many bytes the driver has not given to the wire or the
// modem.
func (e *End) Waiting() (int, error) {
	e.line.mu.Lock()
	defer e.line.mu.Unlock()
	return len(e.out), nil
}

// Held returns how many written bytes the wire has not sent, those that a modem keeps
// among them.
func (e *End) Held() int {
	e.line.mu.Lock()
	defer e.line.mu.Unlock()
	return len(e.out) + len(e.modem)
}

// Close makes Read and Write return os.ErrClosed, and forgets what the wire has not
// taken. The line itself goes on; Open gives the end to the next user.
func (e *End) Close() error {
	e.line.do(func() {
		e.closed, e.out = true, nil
		e.reading.stop()
		e.writing.stop()
	})
	return nil
}

// Open makes a closed end usable again, without what came meanwhile.
func (e *End) Open() *End {
	e.line.do(func() { e.closed, e.in, e.out, e.reading, e.writing = false, nil, nil, deadline{}, deadline{} })
	return e
}

// SetDeadline bounds Read and Write.
func (e *End) SetDeadline(t time.Time) error {
	e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

// SetReadDeadline bounds Read.
func (e *End) SetReadDeadline(t time.Time) error {
	e.line.do(func() { e.reading.set(e.line, t) })
	return nil
}

// SetWriteDeadline bounds Write.
func (e *End) SetWriteDeadline(t time.Time) error {
	e.line.do(func() { e.writing.set(e.line, t) })
	return nil
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) set(l *Line, at time.Time) {
	d.stop()
	wait := time.Until(at)
	if d.passed = !at.IsZero() && wait <= 0; at.IsZero() || d.passed {
		return
	}
	var own *time.Timer
	own = time.AfterFunc(wait, func() {
		l.do(func() { d.passed = d.passed || d.timer == own })
	})
	d.timer = own
}
