package tunnel

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pipeBuffer is how much an end may write ahead of the other's reading.
const pipeBuffer = 256 << 10

// pipe is a TCP connection in memory, with deadlines. A test can hold back what
// is on the way, in one direction or both, and break it.
type pipe struct {
	mu             sync.Mutex
	change         sync.Cond
	client, server *pipeEnd
}

func newPipe(client, server net.Addr) *pipe {
	p := &pipe{}
	p.change.L = &p.mu
	p.client = &pipeEnd{pipe: p, local: client, remote: server}
	p.server = &pipeEnd{pipe: p, local: server, remote: client}
	p.client.peer, p.server.peer = p.server, p.client
	return p
}

// do changes the pipe and wakes whoever waits for that.
func (p *pipe) do(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.change.Broadcast()
}

// cut holds back both directions: the ends hear nothing of each other.
func (p *pipe) cut() {
	p.client.hold(true)
	p.server.hold(true)
}

// reset breaks the connection as a router that reboots does.
func (p *pipe) reset() {
	p.do(func() { p.client.broken, p.server.broken = true, true })
}

// pipeEnd is one end of a pipe.
type pipeEnd struct {
	*pipe
	peer          *pipeEnd
	local, remote net.Addr
	data          []byte // written by the peer, not read yet
	held          bool   // data stays on the way
	full          bool   // takes nothing from its owner
	broken        bool
	ended         bool // CloseWrite
	closed        bool
	abrupt        bool // SetLinger(0)
	wrote         int  // bytes, in all
	reading       deadline
	writing       deadline
}

// hold keeps back, or lets go, what the peer has written.
func (e *pipeEnd) hold(held bool) { e.do(func() { e.held = held }) }

// fill makes a write of this end wait as if the buffer were full, or lets it go on.
func (e *pipeEnd) fill(full bool) { e.do(func() { e.full = full }) }

// written returns how many bytes this end has ever written.
func (e *pipeEnd) written() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.wrote
}

// isClosed reports whether the owner of this end has closed it, and whether
// abruptly.
func (e *pipeEnd) isClosed() (closed, abrupt bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed, e.abrupt
}

func (e *pipeEnd) Read(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, net.ErrClosed
		case e.reading.passed:
			return 0, os.ErrDeadlineExceeded
		case e.broken:
			return 0, syscall.ECONNRESET
		case !e.held && len(e.data) > 0:
			n := copy(b, e.data)
			e.data = e.data[:copy(e.data, e.data[n:])]
			e.change.Broadcast()
			return n, nil
		case !e.held && (e.peer.closed || e.peer.ended):
			return 0, io.EOF
		}
		e.change.Wait()
	}
}

func (e *pipeEnd) Write(b []byte) (n int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for n < len(b) {
		room := pipeBuffer - len(e.peer.data)
		switch {
		case e.closed:
			return n, net.ErrClosed
		case e.writing.passed:
			return n, os.ErrDeadlineExceeded
		case e.ended:
			return n, syscall.EPIPE
		case e.broken, e.peer.closed:
			return n, syscall.ECONNRESET
		case room > 0 && !e.full:
			k := min(room, len(b)-n)
			e.peer.data = append(e.peer.data, b[n:n+k]...)
			n += k
			e.wrote += k
			e.change.Broadcast()
		default:
			e.change.Wait()
		}
	}
	return n, nil
}

func (e *pipeEnd) Close() error {
	e.do(func() {
		e.closed = true
		e.peer.broken = e.peer.broken || e.abrupt && !e.peer.held
		e.reading.stop()
		e.writing.stop()
	})
	return nil
}

// CloseWrite ends the direction away from this end.
func (e *pipeEnd) CloseWrite() error {
	e.do(func() { e.ended = true })
	return nil
}

// SetLinger is what a TCP connection has; 0 makes Close abrupt.
func (e *pipeEnd) SetLinger(sec int) error {
	e.do(func() { e.abrupt = sec == 0 })
	return nil
}

func (e *pipeEnd) LocalAddr() net.Addr  { return e.local }
func (e *pipeEnd) RemoteAddr() net.Addr { return e.remote }

func (e *pipeEnd) SetDeadline(t time.Time) error {
	e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

func (e *pipeEnd) SetReadDeadline(t time.Time) error {
	e.do(func() { e.reading.set(e.pipe, t) })
	return nil
}

func (e *pipeEnd) SetWriteDeadline(t time.Time) error {
	e.do(func() { e.writing.set(e.pipe, t) })
	return nil
}

// deadline is a point of time after which an end does not wait.
type deadline struct {
	passed bool
	timer  *time.Timer
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) set(p *pipe, at time.Time) {
	d.stop()
	wait := time.Until(at)
	if d.passed = !at.IsZero() && wait <= 0; at.IsZero() || d.passed {
		return
	}
	var own *time.Timer
	own = time.AfterFunc(wait, func() {
		p.do(func() { d.passed = d.passed || d.timer == own })
	})
	d.timer = own
}

func TestPipe(t *testing.T) {
	p := newPipe(&net.TCPAddr{}, &net.TCPAddr{})
	p.server.hold(true)
	if n, err := p.client.Write([]byte("hello")); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	b := make([]byte, 9)
	p.server.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, err := p.server.Read(b); n != 0 || err != os.ErrDeadlineExceeded {
		t.Fatal("held, but read", n, err)
	}
	p.server.SetReadDeadline(time.Time{})
	p.server.hold(false)
	if n, err := p.server.Read(b); string(b[:n]) != "hello" || err != nil {
		t.Fatal(n, err)
	}
	p.client.Close()
	if n, err := p.server.Read(b); n != 0 || err != io.EOF {
		t.Fatal(n, err)
	}
}
