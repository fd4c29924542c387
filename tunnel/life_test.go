package tunnel

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/tunnel/frame"
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
			{"broken", maxReadErrors, errTest},
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
	sim(t, "one less than too many, twice", func(t *testing.T) {
		c := testConfig(t)
		server, client, _ := simPair(t, c, c)
		for range 2 {
			for range maxReadErrors - 1 {
				client.device.broken <- errTest
			}
			synctest.Wait()
			passes(t, server, client)
		}
		if n := client.Stats().DropsOut["device_read"]; n != 2*(maxReadErrors-1) {
			t.Errorf("%d reads failed", n)
		}
		conserved(t, client)
	})
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

// TestWithoutLink drops what the host sends while there is no link, and what no
// link can carry.
func TestWithoutLink(t *testing.T) {
	sim(t, "server", func(t *testing.T) {
		c := testConfig(t)
		c.MTU = 1600
		e, r := simServer(t, c)
		e.device.in <- udp(60, 1)
		e.device.in <- []byte{1, 2, 3}
		synctest.Wait()
		peer := testConfig(t)
		p := puppetCaller(t, r.caller(t), peer).confirmed(e)
		e.device.in <- append(udp(60, 1), 0) // longer than it says
		e.device.in <- udp(61, 1)[:60]       // shorter
		e.device.in <- udp(60, 1)
		p.expect(frameBatch)
		s := e.Stats()
		if s.DropsOut["no_link"] != 1 || s.DropsOut["malformed"] != 3 || s.Wire.PacketsOut != 1 {
			t.Errorf("state is %+v", s)
		}
		conserved(t, e)
		p.drain()
	})
	sim(t, "small frames", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		c.Servers = []Dial{r.dial}
		e := start(t, c)
		p := puppetServer(t, r, c, func(a *answer) { a.terms.maxFrame = 1000 })
		await(t, e.up, "link")
		e.device.in <- udp(998, 1)
		e.device.in <- udp(999, 1)
		if got := p.expect(frameBatch); len(got) > 999 {
			t.Errorf("batch of %d bytes", len(got))
		}
		synctest.Wait()
		if n := e.Stats().DropsOut["too_long"]; n != 1 {
			t.Errorf("%d were too long", n)
		}
		conserved(t, e)
		p.drain()
	})
	sim(t, "no frames at all", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		c.Servers = []Dial{r.dial}
		e := start(t, c)
		p := puppetServer(t, r, c, func(a *answer) { a.terms.maxFrame, a.terms.mtu = 0, 0 })
		await(t, e.up, "link")
		e.device.in <- udp(20, 1)
		synctest.Wait()
		if n := e.Stats().DropsOut["too_long"]; n != 1 {
			t.Errorf("%d were too long", n)
		}
		p.drain()
	})
}

// TestFullQueue gives more packets than the link takes.
func TestFullQueue(t *testing.T) {
	sim(t, "slow peer", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress = "off"
		e, p := silences["server"](t, c)
		const packets = 3000
		for n := range packets {
			e.device.in <- udp(1400, byte(n))
			if n%500 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		s := e.Stats()
		if s.DropsOut["queue_full"] == 0 || s.Waiting != queueBytes/c.MTU {
			t.Errorf("%d dropped, %d wait", s.DropsOut["queue_full"], s.Waiting)
		}
		got := 0
		for got < packets-int(s.DropsOut["queue_full"]) {
			if batch := p.expect(frameBatch); batch[0] == 0 {
				got += (len(batch) - 1) / 1400
			}
		}
		p.drain()
		synctest.Wait()
		conserved(t, e)
		if n := e.Stats().Wire.PacketsOut; n != uint64(got) {
			t.Errorf("%d sent, %d came", n, got)
		}
	})
}

// TestSendBuf looks at the size of batches, before and after a change.
func TestSendBuf(t *testing.T) {
	sim(t, "1400 and 16384", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress, c.Tuning.SendBuf = "off", 1400
		e, p := silences["server"](t, c)
		for _, most := range []int{1400, 16384, 100000} {
			tune := c.Tuning
			tune.SendBuf = most
			e.Tune(tune)
			longest := 0
			for range 100 {
				e.device.in <- udp(700, 1)
			}
			for left := 100; left > 0; {
				n := len(p.expect(frameBatch)) - 1
				left -= n / 700
				longest = max(longest, n)
			}
			if longest > most || longest > frame.MaxText {
				t.Errorf("batch of %d bytes, want at most %d", longest, most)
			}
		}
		p.drain()
	})
}

// TestTuneCompress changes the compression of a link that is up.
func TestTuneCompress(t *testing.T) {
	sim(t, "each to each", func(t *testing.T) {
		c := testConfig(t)
		server, client, _ := simPair(t, c, c)
		text := append(udp(20, 0)[:20], strings.Repeat("the same again, ", 60)...)
		text[2], text[3] = byte(len(text)>>8), byte(len(text))
		policies := []string{"off", "s2", "deflate", "zstd", "auto", "asym"}
		for _, from := range policies {
			for _, to := range policies {
				for _, policy := range []string{from, to} {
					tune := c.Tuning
					tune.Compress = policy
					client.Tune(tune)
					for range 3 {
						client.device.in <- text
						if got := server.device.take(t); !bytes.Equal(got, text) {
							t.Fatalf("%s to %s: packet is %q", from, to, got)
						}
					}
				}
			}
		}
		if s := client.Stats(); s.Links != 1 || s.CompressionOut < 1.5 {
			t.Errorf("%d links, compression %v", s.Links, s.CompressionOut)
		}
		if out, in := client.Stats().CompressionOut, server.Stats().CompressionIn; out != in {
			t.Errorf("compression %v out, %v in", out, in)
		}
	})
}

// TestStatsMeanwhile asks for the state all the time while links come and go.
func TestStatsMeanwhile(t *testing.T) {
	sim(t, "a minute", func(t *testing.T) {
		c := testConfig(t)
		c.KeyTTL = 5 * time.Second
		server, client, r := simPair(t, c, c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				for _, e := range []*end{server, client} {
					if s := e.Stats(); (s.Link != nil) != (s.State == "up") {
						t.Errorf("state is %+v", s)
					}
				}
				time.Sleep(time.Millisecond)
			}
		}()
		for i := range 60 {
			client.device.in <- udp(1000, 1)
			server.device.in <- udp(1000, 1)
			time.Sleep(time.Second)
			switch i % 6 {
			case 1:
				r.pipe(-1).reset()
			case 3:
				client.Redial()
			case 5:
				server.Tune(c.Tuning)
			}
		}
		cancel()
		<-done
		synctest.Wait()
		for _, e := range []*end{server, client} {
			conserved(t, e)
			if n := e.Stats().Links; n < 21 {
				t.Errorf("%d links", n)
			}
		}
	})
}
