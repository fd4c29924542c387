package tunnel

import (
	"bytes"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/lobby"
)

// lastListener gives out a connection when it has been closed, as one does that
// was about to.
type lastListener struct{ *road }

func (l lastListener) Accept() (net.Conn, error) {
	<-l.closed
	return <-l.arrived, nil
}

// TestLastCaller comes in the moment in which the server ends: it is sent away.
func TestLastCaller(t *testing.T) {
	sim(t, "shutdown", func(t *testing.T) {
		c := testConfig(t)
		l := lastListener{newRoad()}
		conn := l.caller(t)
		c.Listener = l
		e := start(t, c)
		synctest.Wait()
		if err := e.stop(t); err != nil {
			t.Error(err)
		}
		if closed, _ := conn.peer.isClosed(); !closed {
			t.Error("still connected")
		}
		if n := conn.peer.written(); n != 0 {
			t.Errorf("it got %d bytes", n)
		}
	})
}

// TestAcceptPause counts how often a listener is asked that fails each time.
func TestAcceptPause(t *testing.T) {
	sim(t, "a second", func(t *testing.T) {
		c := testConfig(t)
		l := brokenListener{newRoad(), make(chan error, 100)}
		for range 100 {
			l.failures <- errTest
		}
		c.Listener = l
		start(t, c)
		time.Sleep(10*acceptPause + 1)
		synctest.Wait()
		if n := 100 - len(l.failures); n != 11 {
			t.Errorf("asked %d times, want 11", n)
		}
	})
}

// TestRoundTrips answers with stamps of different ages. One from the future is not
// believed.
func TestRoundTrips(t *testing.T) {
	sim(t, "pong", func(t *testing.T) {
		e, p := silences["server"](t, testConfig(t))
		for _, step := range []struct{ age, want time.Duration }{
			{5 * time.Millisecond, 5 * time.Millisecond},
			{-time.Millisecond, 5 * time.Millisecond},
			{0, 0},
			{time.Second, time.Second},
		} {
			p.send(framePong, stamped(e.config.Now()-step.age, 0)...)
			synctest.Wait()
			if got := e.Stats().Link.RoundTrip; got != step.want {
				t.Errorf("age %v: round trip %v, want %v", step.age, got, step.want)
			}
		}
		p.drain()
	})
}

// TestConfirmTooLate takes a CONFIRM in time, and looks at it when the time for
// the handshake is over: that is no link.
func TestConfirmTooLate(t *testing.T) {
	sim(t, "asleep", func(t *testing.T) {
		c := testConfig(t)
		e, r := simServer(t, c)
		pipe := newPipe(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1024}, r.Addr())
		defer pipe.client.Close()
		asleep := &late{pipeEnd: pipe.server}
		r.arrived <- asleep
		p := puppetCaller(t, pipe.client, c)
		asleep.nap.Store(int64(lobbyTimeout + time.Second))
		p.send(frameConfirm)
		time.Sleep(2 * lobbyTimeout)
		synctest.Wait()
		e.log.says(t, 1, "session keys confirmed too late")
		if s := e.Stats(); s.Links != 0 || s.Refused["no_confirm"] != 1 {
			t.Errorf("state is %+v", s)
		}
	})
}

// TestAnswerWithoutRandomBytes has a server that cannot make a key for the
// session: the caller gets no answer.
func TestAnswerWithoutRandomBytes(t *testing.T) {
	sim(t, "server", func(t *testing.T) {
		c := testConfig(t)
		_, f1 := flight(t, c)
		c.Random = iotest.ErrReader(errTest)
		e, r := simServer(t, c)
		conn := r.caller(t)
		conn.Write(f1)
		unanswered(t, e, conn, refusedTerms)
		e.log.says(t, 1, "write second flight: made by the test")
	})
}

// deaf is a connection to a peer that cannot be reached any more.
type deaf struct{ *pipeEnd }

func (deaf) Write([]byte) (int, error) { return 0, errTest }

// TestAnswerLost loses the connection when the second flight is to be sent.
func TestAnswerLost(t *testing.T) {
	sim(t, "server", func(t *testing.T) {
		c := testConfig(t)
		e, r := simServer(t, c)
		pipe := newPipe(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1024}, r.Addr())
		defer pipe.client.Close()
		r.arrived <- deaf{pipe.server}
		_, f1 := flight(t, c)
		pipe.client.Write(f1)
		unanswered(t, e, pipe.client, refusedTerms)
		e.log.says(t, 1, "connection lost: made by the test")
	})
}

// TestRefusedLeave sees that callers who were refused give their places back.
func TestRefusedLeave(t *testing.T) {
	sim(t, "garbage", func(t *testing.T) {
		c := testConfig(t)
		e, r := simServer(t, c)
		pipe := newPipe(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1024}, r.Addr())
		defer pipe.client.Close()
		pipe.client.Write(make([]byte, crypto.F1Size))
		l := lobby.New(2, 2)
		enter := func(from string) {
			l.Enter(netip.MustParseAddr(from), func() { t.Error("a place is taken") })
		}
		enter("10.0.0.1")
		e.receiveCaller(t.Context(), l, pipe.server, func() {})
		enter("10.0.1.1")
	})
}

// TestSuccessorInOrder has a link begin while the one before it has a frame in hand: what
// was sent over that one arrives before what the newcomer sends.
func TestSuccessorInOrder(t *testing.T) {
	for name, ends := range map[string]func(*session){
		"it is displaced": func(*session) {},
		"it has ended":    func(s *session) { s.end(errKeyAge) },
	} {
		sim(t, name, func(t *testing.T) {
			c := testConfig(t)
			c.Tuning.Compress = "off"
			server, r := simServer(t, c)
			conn := newPipe(r.Addr(), r.Addr())
			slow := &slowConn{pipeEnd: conn.server, hold: make(chan struct{})}
			r.arrived <- slow
			first := puppetCaller(t, conn.client, c).confirmed(server)
			synctest.Wait()
			slow.held.Store(true)
			first.send(frameBatch, append([]byte{0}, udp(50, 1)...)...)
			synctest.Wait()
			ends(server.point.link.Load())
			synctest.Wait()
			second := puppetCaller(t, r.caller(t), c).confirmed(server)
			second.send(frameBatch, append([]byte{0}, udp(50, 2)...)...)
			synctest.Wait()
			close(slow.hold)
			for n := byte(1); n <= 2; n++ {
				if got := server.device.take(t); !bytes.Equal(got, udp(50, n)) {
					t.Errorf("%x is number %d", got, n)
				}
			}
		})
	}
}

// slowConn gives what it has read when it is let.
type slowConn struct {
	*pipeEnd
	held atomic.Bool
	hold chan struct{}
}

func (c *slowConn) Read(b []byte) (int, error) {
	n, err := c.pipeEnd.Read(b)
	if n > 0 && c.held.Load() {
		<-c.hold
	}
	return n, err
}
