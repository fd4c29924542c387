package tunnel

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

// unanswered waits until the server gives up on a caller, and checks that it
// took the whole time and not a word.
func unanswered(t *testing.T, e *end, conn *pipeEnd, why refusal) {
	t.Helper()
	began := time.Now()
	if _, err := io.Copy(io.Discard, conn); err == nil {
		t.Error("connection ended politely, want the same end for all")
	}
	if took := time.Since(began); took != lobbyTimeout {
		t.Errorf("kept for %v, want %v", took, lobbyTimeout)
	}
	if n := conn.peer.written(); n != 0 {
		t.Errorf("a stranger got %d bytes", n)
	}
	for i, n := range e.Stats().Refused {
		if want := map[bool]uint64{true: 1}[i == refusedNames[why]]; n != want {
			t.Errorf("refused %q counts %d, want %d", i, n, want)
		}
	}
	if s := e.Stats(); s.State != "down" || s.Links != 0 || s.Reason == "" {
		t.Errorf("state is %+v", s)
	}
}

// TestStrangers sends what does not prove a key.
func TestStrangers(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(f1 []byte) []byte
		why  refusal
		log  string
	}{
		{"silent", func([]byte) []byte { return nil }, refusedSilent, "no complete first flight: not a vpnd"},
		{"a byte short", func(f []byte) []byte { return f[:len(f)-1] }, refusedSilent, "no complete first flight: not a vpnd"},
		{"garbage", func(f []byte) []byte { return bytes.Repeat([]byte{7}, len(f)) }, refusedDoor, "wrong key, or not a vpnd"},
		{"a lot of garbage", func(f []byte) []byte { return make([]byte, 100000) }, refusedDoor, "wrong key, or not a vpnd"},
		{"first bit", func(f []byte) []byte { f[0] ^= 0x80; return f }, refusedDoor, "wrong key, or not a vpnd"},
		{"last bit", func(f []byte) []byte { f[len(f)-1] ^= 1; return f }, refusedDoor, "wrong key, or not a vpnd"},
		{"wrong key", nil, refusedDoor, "wrong key, or not a vpnd"},
	} {
		sim(t, test.name, func(t *testing.T) {
			c := testConfig(t)
			e, r := simServer(t, c)
			if test.send == nil {
				c.Keys = []*crypto.Key{testKey(t, 2)}
				test.send = func(f []byte) []byte { return f }
			}
			_, f1 := flight(t, c)
			conn := r.caller(t)
			conn.Write(test.send(f1))
			unanswered(t, e, conn, test.why)
			e.log.says(t, 1, test.log)
		})
	}
}

// TestSlowStranger sends a byte a second: the time for a handshake is absolute.
func TestSlowStranger(t *testing.T) {
	sim(t, "a byte a second", func(t *testing.T) {
		c := testConfig(t)
		e, r := simServer(t, c)
		_, f1 := flight(t, c)
		conn := r.caller(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, b := range f1 {
				time.Sleep(time.Second)
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
			}
		}()
		unanswered(t, e, conn, refusedSilent)
		<-done
	})
}

func TestReplay(t *testing.T) {
	sim(t, "first flight", func(t *testing.T) {
		c := testConfig(t)
		e, r := simServer(t, c)
		_, f1 := flight(t, c)
		first := r.caller(t)
		first.Write(f1)
		io.ReadFull(first, make([]byte, crypto.F2Size))
		first.Close()
		time.Sleep(lobbyTimeout)
		e.count.refused[refusedConfirm].Store(0)

		conn := r.caller(t)
		conn.Write(f1)
		unanswered(t, e, conn, refusedReplay)
		e.log.says(t, 1, "recorded first flight, played again")
	})
}

func TestAdmit(t *testing.T) {
	sim(t, "other address", func(t *testing.T) {
		c := testConfig(t)
		c.Admit = func(a netip.AddrPort) bool { return a.Addr() == netip.MustParseAddr("203.0.113.9") }
		e, r := simServer(t, c)
		conn := r.caller(t)
		_, f1 := flight(t, c)
		conn.Write(f1)
		unanswered(t, e, conn, refusedAddress)
		e.log.says(t, 1, "not the configured client address")
		// The right one comes in. Its port is the third of this road.
		right, err := r.dialFrom(t.Context(), netip.MustParseAddr("203.0.113.9"))
		if err != nil {
			t.Fatal(err)
		}
		puppetCaller(t, right, c).confirmed(e).drain()
	})
}

// TestPrepare sees each end prepare its connection, and that of the link again when
// the tuning changes.
func TestPrepare(t *testing.T) {
	sim(t, "both ends", func(t *testing.T) {
		var prepared [2][]net.Conn
		configs := [2]Config{testConfig(t), testConfig(t)}
		for i := range configs {
			configs[i].Prepare = func(conn net.Conn) error {
				prepared[i] = append(prepared[i], conn)
				return nil
			}
		}
		server, client, r := simPair(t, configs[0], configs[1])
		server.Tune(configs[0].Tuning)
		client.Tune(configs[1].Tuning)
		p := r.pipe(0)
		if !slices.Equal(prepared[0], []net.Conn{p.server, p.server}) || !slices.Equal(prepared[1], []net.Conn{p.client, p.client}) {
			t.Errorf("prepared %v", prepared)
		}
		client.stop(t)
		client.Tune(configs[1].Tuning)
		if len(prepared[1]) != 2 {
			t.Error("prepared without a link")
		}
	})
	sim(t, "fails on a client", func(t *testing.T) {
		c, r := testConfig(t), newRoad()
		c.Servers, c.Prepare = []Dial{r.dial}, func(net.Conn) error { return errTest }
		e := start(t, c)
		synctest.Wait()
		if closed, _ := r.pipe(0).client.isClosed(); !closed {
			t.Error("connection stays open")
		}
		e.log.says(t, 1, "prepare connection: made by the test")
	})
	sim(t, "fails on a server", func(t *testing.T) {
		c := testConfig(t)
		c.Prepare = func(net.Conn) error { return errTest }
		e, r := simServer(t, c)
		conn := r.caller(t)
		_, f1 := flight(t, c)
		conn.Write(f1)
		unanswered(t, e, conn, refusedSilent)
		e.log.says(t, 1, "prepare connection: made by the test")
	})
}

// TestUnconfirmed brings good first flights without a CONFIRM against a link
// that is up: nothing of it changes.
func TestUnconfirmed(t *testing.T) {
	for name, after := range map[string]func(p *puppet){
		"silent":       func(p *puppet) {},
		"gone":         func(p *puppet) { p.conn.Close() },
		"garbage":      func(p *puppet) { p.sendRaw(make([]byte, 1000)) },
		"half a frame": func(p *puppet) { p.sendRaw(p.seal(frameConfirm)[:10]) },
		"ping":         func(p *puppet) { p.send(framePing, stamped(0)...) },
		"batch":        func(p *puppet) { p.send(frameBatch, stored(udp(100, 1))...) },
		"close":        func(p *puppet) { p.send(frameClose, byte(closeShutdown)) },
		"late":         func(p *puppet) { time.AfterFunc(lobbyTimeout+1, func() { p.send(frameConfirm) }) },
	} {
		sim(t, name, func(t *testing.T) {
			c := testConfig(t)
			server, client, r := simPair(t, c, c)
			before := server.Stats().Link
			p := puppetCaller(t, r.caller(t), c)
			began := time.Now()
			after(p)
			passes(t, server, client)
			if err := p.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if all := p.collect(); len(all) > 0 {
				t.Errorf("got %d frames", len(all))
			}
			time.Sleep(time.Until(began.Add(lobbyTimeout + time.Second)))
			passes(t, server, client)
			s := server.Stats()
			if s.Refused["no_confirm"] != 1 || s.Links != 1 || s.Link.Peer != before.Peer {
				t.Errorf("state is %+v", s)
			}
			if closed, _ := p.conn.(*pipeEnd).peer.isClosed(); !closed {
				t.Error("still connected")
			}
			if len(server.down) > 0 || len(client.down) > 0 {
				t.Error("the link went down")
			}
		})
	}
}

// TestUnconfirmedLength announces a long frame in place of CONFIRM: it is refused
// before memory is taken for it.
func TestUnconfirmedLength(t *testing.T) {
	for _, n := range []byte{2, 255} {
		sim(t, fmt.Sprint(n), func(t *testing.T) {
			c := testConfig(t)
			e, r := simServer(t, c)
			puppetCaller(t, r.caller(t), c).sendRaw([]byte{0, n})
			synctest.Wait()
			e.log.says(t, 1, fmt.Sprintf("session keys not confirmed: protocol error: frame length out of bounds: %d", n))
		})
	}
}

// TestDisplaced brings a second client with the same key: the first has to go
// when the second has proved itself, and stays away for a while.
func TestDisplaced(t *testing.T) {
	sim(t, "by CONFIRM", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress = "off"
		server, client, r := simPair(t, c, c)
		p := puppetCaller(t, r.caller(t), c)
		synctest.Wait()
		if len(server.down) > 0 {
			t.Fatal("displaced before the newcomer has proved itself")
		}
		began := time.Now()
		p.confirmed(server)
		if err := await(t, server.down, "end of the first link"); err != errDisplaced {
			t.Errorf("cause at the server is %v", err)
		}
		if err := await(t, client.down, "end of the first link"); !unwelcome(err) {
			t.Errorf("cause at the client is %v", err)
		}
		// The server serves the newcomer at once.
		want := udp(50, 3)
		server.device.in <- want
		if got := p.expect(frameBatch); !bytes.Equal(got[1:], want) {
			t.Errorf("packet is %x", got)
		}
		p.drain()
		client.log.says(t, 1, `msg="link is down" peer=198.51.100.1:379 cause="peer closed the link: displaced by a newer link"`)
		await(t, client.up, "return of the first client")
		if took := time.Since(began); took < c.Tuning.Retry || took > c.Tuning.Retry+2*time.Second {
			t.Errorf("the displaced client is back after %v, want %v at least", took, c.Tuning.Retry)
		}
	})
	sim(t, "again and again", func(t *testing.T) {
		c := testConfig(t)
		server, _, r := simPair(t, c, c)
		twin := testConfig(t)
		twin.Servers = []Dial{r.from(netip.MustParseAddr("192.0.2.50"))}
		start(t, twin)
		time.Sleep(5 * time.Minute)
		server.log.says(t, 1, "two clients seem to have the same key")
	})
}

// TestRefusedBesideLink has a caller refused while there is a link: that is no reason why
// there is none.
func TestRefusedBesideLink(t *testing.T) {
	sim(t, "garbage", func(t *testing.T) {
		c := testConfig(t)
		server, _, r := simPair(t, c, c)
		conn := r.caller(t)
		conn.Write(make([]byte, crypto.F1Size))
		time.Sleep(2 * lobbyTimeout)
		if s := server.Stats(); s.Refused["door"] != 1 || s.State != "up" || s.Reason != "" {
			t.Errorf("state is %+v", s)
		}
	})
}

// TestReasons sees that an authenticated caller learns why it is not served.
func TestReasons(t *testing.T) {
	for _, test := range []struct {
		name           string
		server, client func(*Config)
		want           string
	}{
		{"no common cipher",
			func(c *Config) { c.Ciphers = []crypto.Cipher{crypto.AES256GCM} },
			func(c *Config) { c.Ciphers = []crypto.Cipher{crypto.ChaCha20Poly1305, crypto.Blowfish} },
			"no common cipher, or blowfish with another keysize"},
		{"other keysize",
			func(c *Config) { c.KeyBits = 128 },
			func(c *Config) {},
			"no common cipher, or blowfish with another keysize"},
	} {
		sim(t, test.name, func(t *testing.T) {
			cs, cc := testConfig(t), testConfig(t)
			test.server(&cs)
			test.client(&cc)
			server, r := simServer(t, cs)
			cc.Servers = []Dial{r.dial}
			client := start(t, cc)
			time.Sleep(30 * time.Second)
			synctest.Wait()
			client.log.says(t, 1, "server refuses: "+test.want)
			server.log.says(t, 3, test.want) // once every ten seconds
			if s := server.Stats(); s.Refused["terms"] == 0 || s.Links != 0 {
				t.Errorf("state is %+v", s)
			}
			if want := "server 198.51.100.1:379: server refuses: " + test.want; client.Stats().Reason != want {
				t.Errorf("reason is %q, want %q", client.Stats().Reason, want)
			}
		})
	}
}

// TestOddAnswers sees what a client makes of a server that is later than itself,
// or broken.
func TestOddAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*answer)
		want   string
	}{
		"version":      {func(a *answer) { a.reason = reasonVersion }, "server refuses: no common version"},
		"other reason": {func(a *answer) { a.reason = 99 }, "server refuses: reason 99"},
		"not offered":  {func(a *answer) { a.cipher = crypto.AES256GCM }, "server chose aes-256-gcm, which was not offered"},
	} {
		sim(t, name, func(t *testing.T) {
			c := testConfig(t)
			r := newRoad()
			c.Servers = []Dial{r.dial}
			client := start(t, c)
			p := puppetServer(t, r, c, test.change)
			r.become(roadRefused)
			if all := p.collect(); len(all) != 0 {
				t.Errorf("client sent %d frames", len(all))
			}
			synctest.Wait()
			client.log.says(t, 1, test.want)
			client.log.says(t, 0, "link is up")
		})
	}
}

// TestTwoKeys calls a server with its old key and with its new one.
func TestTwoKeys(t *testing.T) {
	for seed := range byte(2) {
		sim(t, fmt.Sprint("key ", seed), func(t *testing.T) {
			cs, cc := testConfig(t), testConfig(t)
			cs.Keys = []*crypto.Key{testKey(t, 0), testKey(t, 1)}
			cc.Keys = []*crypto.Key{testKey(t, seed)}
			server, client, _ := simPair(t, cs, cc)
			for _, e := range []*end{server, client} {
				if id := e.Stats().Link.KeyID; id != cc.Keys[0].ID().String() {
					t.Errorf("key id is %s", id)
				}
			}
			passes(t, server, client)
		})
	}
}

// TestNoWarningBeforeProof replays first flights whose terms differ: before the
// caller has proved itself that must not fill the log.
func TestNoWarningBeforeProof(t *testing.T) {
	sim(t, "mtu", func(t *testing.T) {
		cs, cc := testConfig(t), testConfig(t)
		cc.MTU = 1400
		server, r := simServer(t, cs)
		p := puppetCaller(t, r.caller(t), cc)
		synctest.Wait()
		server.log.says(t, 0, "mtu differs")
		p.confirmed(server).drain()
		server.log.says(t, 1, "mtu differs")
	})
}
