package tunnel

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"vpnd/crypto"
)

// TestSessionWithoutKeys wants a session from keys that are in use, and from a
// suite that does not exist.
func TestSessionWithoutKeys(t *testing.T) {
	blowfish := answer{cipher: crypto.Blowfish, terms: terms{keyBits: 448}}
	for _, test := range []struct {
		name   string
		answer answer
		used   bool
	}{
		{"used", blowfish, true},
		{"no such key", answer{cipher: crypto.Blowfish, terms: terms{keyBits: 447}}, false},
		{"no such cipher", answer{cipher: 3}, false},
	} {
		sim(t, test.name, func(t *testing.T) {
			e, _ := simServer(t, testConfig(t))
			keys, _ := generations(t)
			if test.used {
				if _, _, err := keys.Keys(crypto.Suite{Cipher: crypto.Blowfish, KeyBits: 448}); err != nil {
					t.Fatal(err)
				}
			}
			conn := newPipe(&net.TCPAddr{}, &net.TCPAddr{}).server
			s, err := e.newSession(t.Context(), greeting{conn: conn, wire: stream{}, answer: test.answer, keys: keys}, false)
			if s != nil || err == nil {
				t.Errorf("session %v, error %v", s, err)
			}
		})
	}
}

// TestNoClamp sees that a SYN for larger segments passes as it is where packets
// of Ethernet's size and more fit.
func TestNoClamp(t *testing.T) {
	for name, mtu := range map[string]int{"ethernet": 1500, "jumbo": 9000} {
		sim(t, name, func(t *testing.T) {
			c := testConfig(t)
			c.MTU = mtu
			server, client, _ := simPair(t, c, c)
			for _, e := range []*end{server, client} {
				if s := e.point.link.Load(); s.clamp != 0 {
					t.Errorf("segments are clamped to an MTU of %d", s.clamp)
				}
			}
		})
	}
}

// bare is a connection that has nothing but what a net.Conn must have.
type bare struct{ net.Conn }

// TestHangUpBare closes connections that have no direction to close and no
// linger.
func TestHangUpBare(t *testing.T) {
	for name, client := range map[string]bool{"client": true, "server": false} {
		sim(t, name, func(t *testing.T) {
			conn := newPipe(&net.TCPAddr{}, &net.TCPAddr{}).server
			s := &session{conn: bare{conn}, client: client}
			s.hangUpConn(false)
			synctest.Wait()
			if closed, _ := conn.isClosed(); !closed {
				t.Error("not closed")
			}
		})
	}
}

// TestLineErrors tells a line that broke from a peer that is wrong.
func TestLineErrors(t *testing.T) {
	var wrong *closeError
	if err := lineError(errTest); !errors.Is(err, errLine) || !errors.Is(err, errTest) || errors.As(err, &wrong) {
		t.Errorf("a broken line is %v", err)
	}
}

// TestEndWithoutClose sees that an end whose peer has ended the stream without a
// CLOSE says nothing more.
func TestEndWithoutClose(t *testing.T) {
	for side, silent := range silences {
		sim(t, side, func(t *testing.T) {
			e, p := silent(t, testConfig(t))
			p.expect(framePing)
			p.conn.(*pipeEnd).CloseWrite()
			for _, a := range p.collect() {
				if a.kind == frameClose {
					t.Errorf("closed with reason %v", closeReason(a.payload[0]))
				}
			}
			if err := await(t, e.down, "end of the link"); !errors.Is(err, errLine) {
				t.Errorf("cause is %v", err)
			}
		})
	}
}

// brittle is a connection that a test can make unfit for writing.
type brittle struct {
	*pipeEnd
	broken atomic.Bool
	tried  atomic.Int32 // writes since then
}

func (b *brittle) Write(p []byte) (int, error) {
	if !b.broken.Load() {
		return b.pipeEnd.Write(p)
	}
	b.tried.Add(1)
	return 0, errTest
}

// TestNoCloseAfterBrokenWrite ends a session between a write that failed and what
// the receiver makes of it: nobody knows where the stream stands, so no CLOSE is
// put behind it.
func TestNoCloseAfterBrokenWrite(t *testing.T) {
	sim(t, "server", func(t *testing.T) {
		c := testConfig(t)
		e, r := simServer(t, c)
		pipe := newPipe(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1024}, r.Addr())
		defer pipe.client.Close()
		conn := &brittle{pipeEnd: pipe.server}
		r.arrived <- conn
		puppetCaller(t, pipe.client, c).confirmed(e).drain()
		synctest.Wait()
		conn.broken.Store(true)
		e.device.in <- udp(100, 1)
		synctest.Wait()
		if err := e.stop(t); err != nil {
			t.Error(err)
		}
		if n := conn.tried.Load(); n != 1 {
			t.Errorf("%d writes, want the one that failed", n)
		}
	})
}

// TestWhoClosesFirst sees that the server ends its direction with its good-bye and
// the client does not, whose port would be in use for a minute longer: it closes
// behind the server, and leaves nothing in the kernel.
func TestWhoClosesFirst(t *testing.T) {
	for side, want := range map[string]bool{"client": false, "server": true} {
		sim(t, side, func(t *testing.T) {
			e, p := silences[side](t, testConfig(t))
			p.drain()
			if err := e.stop(t); err != nil {
				t.Error(err)
			}
			end := p.conn.(*pipeEnd).peer
			if closed, abrupt := end.isClosed(); !closed || abrupt != (side == "client") {
				t.Errorf("closed is %v, abruptly %v", closed, abrupt)
			}
			end.mu.Lock()
			defer end.mu.Unlock()
			if end.ended != want {
				t.Errorf("the direction was ended: %v, want %v", end.ended, want)
			}
		})
	}
}
