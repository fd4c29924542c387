package tunnel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

// TestHubInside has somebody call the hub by a way on which he takes what is inside for
// outer addresses: none of it may be lost for the others.
func TestHubInside(t *testing.T) {
	lan := address("192.168.20.1")
	for _, test := range []struct {
		name     string
		from, to netip.Addr
		far      netip.Addr // no client may reach it
	}{
		{"through a link, to another address of the hub's host", hubAddrs(1)[0], lan, netip.Addr{}},
		{"through a link, to the hub's inner address", hubAddrs(1)[0], hubAddrs(100)[0], netip.Addr{}},
		{"from a neighbour of the hub, to its inner address", hubFrom(3), hubAddrs(100)[0], hubFrom(3)},
	} {
		sim(t, test.name, func(t *testing.T) {
			b := newHubBench(t, 2, nil)
			c := b.config(3)
			c.Servers = []Dial{func(context.Context) (net.Conn, error) {
				p := newPipe(net.TCPAddrFromAddrPort(netip.AddrPortFrom(test.from, 5000)), net.TCPAddrFromAddrPort(netip.AddrPortFrom(test.to, 379)))
				b.road.arrived <- p.server
				return p.client, nil
			}}
			third := start(t, c)
			await(t, b.hub.up, "link of the hub")
			p := between(hubAddrs(2)[0], test.to)
			b.clients[1].device.in <- p
			arrives(t, b.hub, p)
			if test.far.IsValid() {
				b.clients[1].device.in <- between(hubAddrs(2)[0], test.far)
				if n := b.peer(2).DropsIn["outer_address"]; n != 1 {
					t.Errorf("%d packets to an outer address were dropped", n)
				}
			}
			third.stop(t)
			await(t, b.hub.down, "end of a link")
			b.clients[1].device.in <- p
			arrives(t, b.hub, p)
		})
	}
}

// TestMovedWhileCalling gives a client another address while it calls: the link would
// be one on which nothing passes.
func TestMovedWhileCalling(t *testing.T) {
	sim(t, "another address", func(t *testing.T) {
		b := newHubBench(t, 1, nil)
		if err := b.hub.SetPeers([]HubPeer{hubPeer(1), hubPeer(2)}); err != nil {
			t.Fatal(err)
		}
		p := puppetCaller(t, b.road.caller(t), b.config(2))
		changed := hubPeer(2)
		changed.Addrs = hubAddrs(22)
		if err := b.hub.SetPeers([]HubPeer{hubPeer(1), changed}); err != nil {
			t.Fatal(err)
		}
		p.send(frameConfirm)
		if reason := p.closing(); reason != closeShutdown {
			t.Errorf("closed with %v", reason)
		}
		pingPong(t, b, 0)
	})
}

// TestSilentClient has a client that does not answer any more: its link ends, as the
// tuning says, and no other.
func TestSilentClient(t *testing.T) {
	sim(t, "one of two", func(t *testing.T) {
		b := newHubBench(t, 1, func(c *Config) { c.Tuning.Keepalive, c.Tuning.NoAnswer = 5*time.Second, 3 })
		puppetCaller(t, b.road.caller(t), b.config(2)).confirmed(b.hub).drain()
		began := time.Now()
		cause := await(t, b.hub.down, "end of a link")
		if took := time.Since(began); !errors.Is(cause, ErrNoAnswer) || took < 20*time.Second || took > 21*time.Second {
			t.Errorf("cause is %v, after %v", cause, took)
		}
		if p := b.peer(2); p.State != "down" || p.Reason != cause.Error() || !p.Since.Equal(time.Now()) {
			t.Errorf("the client is %s since %v: %s", p.State, p.Since, p.Reason)
		}
		pingPong(t, b, 0)
		time.Sleep(time.Minute)
		puppetCaller(t, b.road.caller(t), b.config(2)).confirmed(b.hub).drain()
		if p := b.peer(2); p.State != "up" || p.Reason != "" || !p.Since.Equal(time.Now()) {
			t.Errorf("the client is %s since %v: %s", p.State, p.Since, p.Reason)
		}
	})
}

// TestRemovedWithPackets takes a client out for which packets wait, because it does not
// read: none of them is forgotten.
func TestRemovedWithPackets(t *testing.T) {
	sim(t, "never reads", func(t *testing.T) {
		b := newHubBench(t, 1, func(c *Config) { c.Tuning.Compress = "off" })
		puppetCaller(t, b.road.caller(t), b.config(2)).confirmed(b.hub)
		to := lengthened(append(between(address("10.200.0.1"), hubAddrs(2)[0]), make([]byte, 1300)...))
		for range 500 {
			b.hub.device.in <- to
		}
		synctest.Wait()
		if err := b.hub.SetPeers([]HubPeer{hubPeer(1)}); err != nil {
			t.Fatal(err)
		}
		await(t, b.hub.down, "end of a link")
		time.Sleep(2 * closeTimeout)
		if n := b.hub.Stats().DropsOut["link_lost"]; n == 0 {
			t.Error("no packets waited")
		}
		conserved(t, b.hub)
		pingPong(t, b, 0)
	})
}

// TestRateAlive has a client send more at once than it may in the time after which a
// silent link ends.
func TestRateAlive(t *testing.T) {
	const limit = 1000
	sim(t, "long pauses", func(t *testing.T) {
		b := newHubBench(t, 0, func(c *Config) {
			c.Tuning.Keepalive, c.Tuning.NoAnswer, c.Tuning.Compress = 2*time.Second, 2, "off"
			c.Hub.Guest = func(crypto.ClientID, []netip.Addr, func(string) bool) (HubPeer, error) {
				p := hubPeer(1)
				p.Rate = limit
				return p, nil
			}
		})
		c := b.config(1)
		c.Tuning = b.hub.config.Tuning
		client := start(t, c)
		await(t, client.up, "link")
		p := append(between(hubAddrs(1)[0], address("10.200.0.1")), make([]byte, 1300)...)
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		for range 100 {
			for range 40 {
				client.device.in <- p
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := client.Stats().Links; n != 1 || b.peer(1).State != "up" {
			t.Errorf("%d links, the last is %s", n, b.peer(1).State)
		}
	})
}

// TestResets has a client lose its history again and again: to begin a new one costs a
// hub as much as to compress a hundred packets, so it does that once in a while only.
func TestResets(t *testing.T) {
	sim(t, "a hundred", func(t *testing.T) {
		b := newHubBench(t, 0, func(c *Config) { c.Tuning.Compress = "deflate" })
		p := puppetCaller(t, b.road.caller(t), b.config(1)).confirmed(b.hub)
		text := append(between(address("10.200.0.1"), hubAddrs(1)[0]), bytes.Repeat([]byte("text "), 200)...)
		binary.BigEndian.PutUint16(text[2:], uint16(len(text)))
		begun := func(resets int) (n int) {
			for range resets {
				p.send(frameReset, 0, 0, 0, 1)
				synctest.Wait()
				b.hub.device.in <- text
				if head := p.expect(frameBatch)[0]; head&0x4 != 0 {
					n++
				}
			}
			return n
		}
		if n := begun(100); n > 2 {
			t.Errorf("%d histories begun at once", n)
		}
		time.Sleep(time.Second)
		if n := begun(1); n != 1 {
			t.Error("no new history after a while")
		}
	})
}

// TestOddCaller has a client with another MTU come again and again.
func TestOddCaller(t *testing.T) {
	sim(t, "in a second", func(t *testing.T) {
		b := newHubBench(t, 1, nil)
		c := b.config(2)
		c.MTU = 1400
		for range 50 {
			puppetCaller(t, b.road.caller(t), c).confirmed(b.hub).drain()
			time.Sleep(20 * time.Millisecond)
		}
		b.hub.log.says(t, 1, "mtu differs")
	})
}

// TestRateTurns has a client that may not send much send more: a small packet of another
// conversation passes what waits.
func TestRateTurns(t *testing.T) {
	const limit = 100_000
	sim(t, "a keystroke", func(t *testing.T) {
		b := newHubBench(t, 0, func(c *Config) {
			c.Hub.Guest = func(crypto.ClientID, []netip.Addr, func(string) bool) (HubPeer, error) {
				p := hubPeer(1)
				p.Rate = limit
				return p, nil
			}
		})
		c := b.config(1)
		c.Tuning.Compress = "off"
		client := start(t, c)
		await(t, client.up, "link")
		p := append(between(hubAddrs(1)[0], address("10.200.0.1")), make([]byte, 1300)...)
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		for range 1000 { // three times as much as may be
			client.device.in <- p
			time.Sleep(5 * time.Millisecond)
		}
		key := between(hubAddrs(1)[0], address("10.200.0.9"))
		client.device.in <- key
		for began := time.Now(); !bytes.Equal(b.hub.device.take(t), key); {
			if waited := time.Since(began); waited > 2*time.Second {
				t.Fatalf("it waits for %v", waited)
			}
		}
	})
}
