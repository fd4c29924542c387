package tunnel

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestShutdown ends one end of a link: the other hears why, and nothing waits.
func TestShutdown(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		sim(t, side, func(t *testing.T) {
			c := testConfig(t)
			server, client, r := simPair(t, c, c)
			one, other := server, client
			if side == "client" {
				one, other = client, server
			}
			passes(t, one, other)
			r.become(roadRefused)
			begin := time.Now()
			if err := one.stop(t); err != nil {
				t.Error(err)
			}
			if took := time.Since(begin); took != 0 {
				t.Errorf("took %v", took)
			}
			if err := await(t, one.down, "end of the link"); err != errShutdown {
				t.Errorf("cause is %v", err)
			}
			if err := await(t, other.down, "end of the link"); err.Error() != "peer closed the link: shutdown" {
				t.Errorf("cause at the other end is %v", err)
			}
			if s := one.Stats(); s.State != "down" || s.Reason != "shutdown" || s.Link != nil {
				t.Errorf("state is %+v", s)
			}
			select {
			case <-one.device.closed:
			default:
				t.Error("device is open")
			}
			conserved(t, one)
		})
	}
}

// TestFresh looks at a link that is a moment old: it counts as one that was heard, had
// packets and has answered until then.
func TestFresh(t *testing.T) {
	sim(t, "after an hour without a link", func(t *testing.T) {
		time.Sleep(time.Hour)
		server, client, _ := simPair(t, testConfig(t), testConfig(t))
		for _, e := range []*end{server, client} {
			s := e.point.link.Load()
			for what, at := range map[string]int64{"heard": s.heard.Load(), "moved": s.moved.Load(), "ponged": s.ponged.Load()} {
				if age := e.clock() - at; age < 0 || age > int64(time.Second) {
					t.Errorf("%s %v ago", what, time.Duration(age))
				}
			}
			if s.about.Local != nil || s.about.Remote != nil {
				t.Errorf("the peer gave the addresses %v and %v", s.about.Local, s.about.Remote)
			}
		}
	})
}

// TestShutdownStates ends a tunnel that has no link.
func TestShutdownStates(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T) *end{
		"server without callers": func(t *testing.T) *end {
			e, _ := simServer(t, testConfig(t))
			return e
		},
		"server with a stranger": func(t *testing.T) *end {
			e, r := simServer(t, testConfig(t))
			conn := r.caller(t)
			conn.Write(make([]byte, 500))
			return e
		},
		"server with an unconfirmed caller": func(t *testing.T) *end {
			e, r := simServer(t, testConfig(t))
			puppetCaller(t, r.caller(t), testConfig(t))
			return e
		},
		"client, refused": func(t *testing.T) *end {
			c, r := testConfig(t), newRoad()
			r.become(roadRefused)
			c.Servers = []Dial{r.dial}
			return start(t, c)
		},
		"client, dialling": func(t *testing.T) *end {
			c, r := testConfig(t), newRoad()
			r.become(roadDead)
			c.Servers = []Dial{r.dial}
			return start(t, c)
		},
		"client, in the handshake": func(t *testing.T) *end {
			c, r := testConfig(t), newRoad()
			c.Servers = []Dial{r.dial}
			return start(t, c)
		},
		"client, waiting": func(t *testing.T) *end {
			c, r := testConfig(t), newRoad()
			c.Servers = []Dial{r.dial}
			e := start(t, c)
			p := puppetServer(t, r, c, nil)
			p.send(frameClose, byte(closeDisplaced))
			p.collect()
			return e
		},
	} {
		sim(t, name, func(t *testing.T) {
			e := begin(t)
			time.Sleep(1500 * time.Millisecond)
			synctest.Wait()
			began := time.Now()
			if err := e.stop(t); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestShutdownStuck ends an end whose peer takes nothing any more.
func TestShutdownStuck(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		sim(t, side, func(t *testing.T) {
			c := testConfig(t)
			c.Tuning.Compress = "off"
			e, p := silences[side](t, c)
			for range 400 {
				e.device.in <- udp(1400, 1)
			}
			synctest.Wait()
			began := time.Now()
			if err := e.stop(t); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 2*closeTimeout {
				t.Errorf("took %v", took)
			}
			conserved(t, e)
			if n := e.Stats().DropsOut["link_lost"]; n == 0 {
				t.Error("no packet was lost with the link")
			}
			p.drain()
		})
	}
}

// TestDeviceFails takes the device away.
func TestDeviceFails(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		for _, test := range []struct {
			name   string
			errors int
			err    error
		}{
			{"gone", 1, os.ErrClosed},
			{"broken", maxReadErrors, &fs.PathError{Op: "read", Path: "/dev/net/tun", Err: errTest}},
		} {
			sim(t, side+" "+test.name, func(t *testing.T) {
				c := testConfig(t)
				server, client, _ := simPair(t, c, c)
				one, other := server, client
				if side == "client" {
					one, other = client, server
				}
				for range test.errors {
					one.device.broken <- test.err
				}
				if err := one.ended(t); !errors.Is(err, ErrDevice) || !errors.Is(err, test.err) {
					t.Errorf("run ended with %v", err)
				}
				if err := await(t, other.down, "end of the link"); err.Error() != "peer closed the link: shutdown" {
					t.Errorf("cause at the other end is %v", err)
				}
			})
		}
	}
}

// TestBadReads sees that errors of the device which stop again are only counted.
func TestBadReads(t *testing.T) {
	for _, test := range []struct {
		name string
		n    int
		err  error
	}{
		{"one less than too many", maxReadErrors - 1, &fs.PathError{Err: errTest}},
		{"one", 1, errTest},
	} {
		sim(t, test.name, func(t *testing.T) {
			c := testConfig(t)
			server, client, _ := simPair(t, c, c)
			for range 2 {
				for range test.n {
					client.device.broken <- test.err
				}
				synctest.Wait()
				passes(t, server, client)
			}
			if n := client.Stats().DropsOut["device_read"]; n != 2*uint64(test.n) {
				t.Errorf("%d reads failed", n)
			}
			conserved(t, client)
			client.log.says(t, 1, "bad packet from the interface")
		})
	}
}

// brokenListener fails a few times, as a process without file descriptors does.
type brokenListener struct {
	*road
	failures chan error
}

func (l brokenListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.failures:
		return nil, err
	default:
		return l.road.Accept()
	}
}

func TestListenerFails(t *testing.T) {
	sim(t, "for a while", func(t *testing.T) {
		c := testConfig(t)
		l := brokenListener{newRoad(), make(chan error, 100)}
		for range 50 {
			l.failures <- errTest
		}
		c.Listener = l
		e := start(t, c)
		time.Sleep(50*acceptPause + 1)
		puppetCaller(t, l.caller(t), c).confirmed(e).drain()
		e.log.says(t, 1, "made by the test")
	})
	for _, with := range []string{"without a link", "with a link", "with a stranger"} {
		sim(t, "for good, "+with, func(t *testing.T) {
			c := testConfig(t)
			e, r := simServer(t, c)
			switch with {
			case "with a link":
				puppetCaller(t, r.caller(t), c).confirmed(e).drain()
			case "with a stranger":
				r.caller(t)
			}
			synctest.Wait()
			r.Close()
			began := time.Now()
			if err := e.ended(t); !errors.Is(err, net.ErrClosed) {
				t.Errorf("run ended with %v", err)
			}
			if took := time.Since(began); took > closeTimeout {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestLost breaks the connection in each way and sees what both ends call it.
func TestLost(t *testing.T) {
	for _, test := range []struct {
		name string
		cut  func(p *puppet)
		want string
	}{
		{"reset", func(p *puppet) { p.conn.(*pipeEnd).reset() }, "connection lost: connection reset by peer"},
		{"ended", func(p *puppet) { p.conn.Close() }, "connection lost: closed by the other end or on the way"},
		{"ended in a header", func(p *puppet) { p.sendRaw([]byte{0}); p.conn.Close() }, "connection lost: unexpected EOF"},
		{"ended in a frame", func(p *puppet) { p.sendRaw(make([]byte, 1)); p.sendRaw([]byte{9, 1, 2}); p.conn.Close() }, "connection lost: unexpected EOF"},
	} {
		for side, silent := range silences {
			sim(t, side+" "+test.name, func(t *testing.T) {
				e, p := silent(t, testConfig(t))
				p.expect(framePing)
				test.cut(p)
				if err := await(t, e.down, "end of the link"); !errors.Is(err, errLine) || err.Error() != test.want {
					t.Errorf("cause is %q, want %q", err, test.want)
				}
			})
		}
	}
}

// TestEndStopsReceiver ends a session while frames wait that have been read: they
// are not for the host any more.
func TestEndStopsReceiver(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		c := testConfig(t)
		server, r := simServer(t, c)
		p := puppetCaller(t, r.caller(t), c).confirmed(server)
		room := cap(server.device.out)
		for range room + 1000 {
			p.send(frameBatch, stored(udp(40, 1))...)
		}
		synctest.Wait() // the device is full
		server.point.link.Load().end(errTest)
		synctest.Wait()
		got := 0
		for down := false; !down; {
			select {
			case <-server.device.out:
				got++
			default:
				synctest.Wait()
				down = len(server.device.out) == 0
			}
		}
		if got < room || got > room+1 {
			t.Errorf("%d packets, the device had room for %d", got, room)
		}
	})
}
