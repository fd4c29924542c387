package tunnel

import (
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

// TestCrowd fills the lobby with strangers: the oldest gives way, at once, and an
// honest client from elsewhere is served.
func TestCrowd(t *testing.T) {
	sim(t, "one network", func(t *testing.T) {
		c := testConfig(t)
		e, r := simServer(t, c)
		var strangers []*pipeEnd
		for range lobbySize - lobbyKnown + 10 {
			strangers = append(strangers, r.caller(t))
			synctest.Wait()
		}
		for i, s := range strangers {
			if closed, _ := s.peer.isClosed(); closed != (i < 10) {
				t.Errorf("stranger %d: closed is %v", i, closed)
			}
		}
		honest, err := r.dialFrom(t.Context(), netip.MustParseAddr("203.0.113.9"))
		if err != nil {
			t.Fatal(err)
		}
		puppetCaller(t, honest, c).confirmed(e).drain()
		if n := e.Stats().Refused["crowd"]; n != 11 {
			t.Errorf("%d gave way, want 11", n)
		}
		if n := strangers[20].peer.written(); n != 0 {
			t.Errorf("a stranger got %d bytes", n)
		}
	})
}

// TestCrowdOfRecordings fills the lobby with first flights that open, as recorded
// ones do after a restart of the server, and with strangers behind them. An
// honest client from elsewhere is served although it is slow at both steps.
func TestCrowdOfRecordings(t *testing.T) {
	sim(t, "one network", func(t *testing.T) {
		c := testConfig(t)
		e, r := simServer(t, c)
		flood := func() {
			for range lobbySize {
				_, f1 := flight(t, c)
				r.caller(t).Write(f1)
				synctest.Wait()
			}
			for range lobbySize {
				r.caller(t)
				synctest.Wait()
			}
		}
		flood()
		honest, err := r.dialFrom(t.Context(), netip.MustParseAddr("203.0.113.9"))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		flood()
		p := puppetCaller(t, honest, c)
		flood()
		p.confirmed(e).drain()
	})
}

// TestLinkHasNoPlace has a link and as many callers with a good first flight as may
// be: nobody has to go.
func TestLinkHasNoPlace(t *testing.T) {
	sim(t, "known callers", func(t *testing.T) {
		c := testConfig(t)
		e, r := simServer(t, c)
		link, err := r.dialFrom(t.Context(), netip.MustParseAddr("203.0.113.9"))
		if err != nil {
			t.Fatal(err)
		}
		puppetCaller(t, link, c).confirmed(e).drain()
		for i, crowd := range []uint64{lobbyKnown - 1: 0, lobbyKnown: 1} {
			puppetCaller(t, r.caller(t), c)
			synctest.Wait()
			if n := e.Stats().Refused["crowd"]; n != crowd {
				t.Fatalf("%d have given way to %d callers, want %d", n, i+1, crowd)
			}
		}
	})
}

// TestCallersAreBounded has callers that cannot be sent away at once, because a
// name is being looked up for them. The next ones are not taken before those are
// gone.
func TestCallersAreBounded(t *testing.T) {
	sim(t, "slow to leave", func(t *testing.T) {
		c := testConfig(t)
		c.Admit = func(netip.AddrPort) bool { time.Sleep(time.Second); return false }
		e, r := simServer(t, c)
		const flood = 2 * lobbySize
		for range flood {
			r.caller(t)
		}
		synctest.Wait()
		// One is accepted and waits for a place.
		if taken := flood - len(r.arrived); taken != lobbySize+lobbyExit+1 {
			t.Errorf("%d callers are taken, want %d", taken, lobbySize+lobbyExit+1)
		}
		time.Sleep(2 * lobbyTimeout)
		if n := len(r.arrived); n != 0 {
			t.Errorf("%d callers still wait", n)
		}
		synctest.Wait()
		if n := e.Stats().Refused["address"] + e.Stats().Refused["crowd"]; n != flood {
			t.Errorf("%d callers refused, want %d", n, flood)
		}
	})
}

// sized is a connection whose receive buffer can be set.
type sized struct {
	*pipeEnd
	size int
}

func (s *sized) SetReadBuffer(n int) error {
	s.size = n
	return nil
}

// TestIgnored sees that the kernel is not made to keep what a refused caller
// sends, beyond a first window that is read, and that a link's buffer is left
// alone.
func TestIgnored(t *testing.T) {
	sim(t, "receive buffer", func(t *testing.T) {
		c := testConfig(t)
		e, r := simServer(t, c)
		server := make([]*sized, 2)
		for i, wrong := range []bool{true, false} {
			p := newPipe(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1024 + i}, r.Addr())
			defer p.client.Close()
			server[i] = &sized{pipeEnd: p.server}
			r.arrived <- server[i]
			if wrong {
				p.client.Write(make([]byte, crypto.F1Size+firstWindow+100))
			} else {
				puppetCaller(t, p.client, c).confirmed(e).drain()
			}
		}
		synctest.Wait()
		if server[0].size != 1 || server[1].size != 0 {
			t.Errorf("receive buffers are set to %d and %d, want 1 and 0 for unset", server[0].size, server[1].size)
		}
		if n := len(server[0].data); n != 100 {
			t.Errorf("%d bytes are left unread, want 100", n)
		}
	})
}
