package tunnel

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/pool"
)

// pooled gives a hub the addresses of a pool, as the daemon does.
func pooled(t *testing.T, size string) func(*Config) {
	return func(c *Config) {
		p, err := pool.Open(filepath.Join(t.TempDir(), "pool"), []netip.Prefix{netip.MustParsePrefix(size)}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		c.Local = []netip.Addr{address("10.9.0.1")}
		p.Reserve(c.Local)
		c.Hub.Guest = func(id crypto.ClientID, wish []netip.Addr, busy func(string) bool) (HubPeer, error) {
			addrs, err := p.Offer(id.String(), wish, busy)
			return HubPeer{Name: id.String(), Addrs: addrs}, err
		}
		c.Hub.Settle = func(h HubPeer, busy func(string) bool) error {
			addrs, err := p.Take(h.Name, h.Addrs, busy)
			if err == nil && addrs[0] != h.Addrs[0] {
				err = errTest
			}
			return err
		}
	}
}

// arrival starts client n, and returns it and the address that it has.
func (b *hubBench) arrival(n int) (*end, string) {
	b.t.Helper()
	client := start(b.t, b.config(n))
	await(b.t, client.up, "link of a client")
	synctest.Wait()
	return client, client.Stats().Link.Local[0].String()
}

// TestGuestUnconfirmed has callers that show a first flight, which may be a recorded one,
// and confirm nothing. They take no address and no place.
func TestGuestUnconfirmed(t *testing.T) {
	sim(t, "the only address", func(t *testing.T) {
		b := newHubBench(t, 0, pooled(t, "10.9.0.0/30"))
		for n := range 20 {
			puppetCaller(t, b.road.caller(t), b.config(50+n)).drain()
		}
		if s := b.hub.Stats(); len(s.Peers) > 0 || s.Links > 0 {
			t.Errorf("the hub has %d clients", len(s.Peers))
		}
		if _, got := b.arrival(1); got != "10.9.0.2" {
			t.Errorf("the client has %s", got)
		}
	})
	sim(t, "that of a client which is away", func(t *testing.T) {
		b := newHubBench(t, 0, pooled(t, "10.9.0.0/30"))
		client, _ := b.arrival(1)
		client.stop(t)
		await(t, b.hub.down, "end of a link")
		for n := range 20 {
			puppetCaller(t, b.road.caller(t), b.config(50+n)).drain()
		}
		synctest.Wait()
		if s := b.hub.Stats(); len(s.Peers) != 1 {
			t.Errorf("the hub has %d clients", len(s.Peers))
		}
		time.Sleep(2 * lobbyTimeout)
		if _, got := b.arrival(1); got != "10.9.0.2" {
			t.Errorf("the client comes back and has %s", got)
		}
		b.hub.log.says(t, 0, "loses its address")
	})
	sim(t, "that of a client from before the hub was started", func(t *testing.T) {
		b := newHubBench(t, 0, func(c *Config) {
			pooled(t, "10.9.0.0/30")(c)
			before := HubPeer{Name: "before", Addrs: []netip.Addr{address("10.9.0.2")}}
			if err := c.Hub.Settle(before, func(string) bool { return false }); err != nil {
				t.Fatal(err)
			}
		})
		if _, got := b.arrival(1); got != "10.9.0.2" {
			t.Errorf("the client has %s", got)
		}
	})
	sim(t, "packets to what was offered", func(t *testing.T) {
		b := newHubBench(t, 0, pooled(t, "10.9.0.0/30"))
		puppetCaller(t, b.road.caller(t), b.config(50)).drain()
		b.hub.device.in <- between(address("10.200.0.1"), address("10.9.0.2"))
		synctest.Wait()
		if n := b.hub.Stats().DropsOut["no_peer"]; n != 1 {
			t.Errorf("%d packets without a client", n)
		}
	})
}

// TestGuestOfferedTwice has two callers that were offered the same address. The first that
// confirms has it, the other one has to call again.
func TestGuestOfferedTwice(t *testing.T) {
	sim(t, "the only address", func(t *testing.T) {
		b := newHubBench(t, 0, pooled(t, "10.9.0.0/30"))
		slow := puppetCaller(t, b.road.caller(t), b.config(50))
		client, _ := b.arrival(1)
		await(t, b.hub.up, "link of the hub")
		slow.send(frameConfirm)
		if reason := slow.closing(); reason != closeShutdown {
			t.Errorf("closed with %v", reason)
		}
		synctest.Wait()
		if s := b.hub.Stats(); s.Links != 1 || len(s.Peers) != 1 || s.Peers[0].State != "up" {
			t.Errorf("clients are %+v", s.Peers)
		}
		p := between(address("10.9.0.2"), address("10.200.0.1"))
		client.device.in <- p
		arrives(t, b.hub, p)
		conserved(t, b.hub)
	})
	sim(t, "one client twice", func(t *testing.T) {
		b := newHubBench(t, 0, pooled(t, "10.9.0.0/24"))
		c := b.config(1)
		c.Auto, c.Local = false, []netip.Addr{address("10.9.0.77")}
		one, two := puppetCaller(t, b.road.caller(t), c), puppetCaller(t, b.road.caller(t), c)
		one.confirmed(b.hub)
		one.drain()
		two.send(frameConfirm)
		if reason := two.closing(); reason != closeShutdown {
			t.Errorf("closed with %v", reason)
		}
		if s := b.hub.Stats(); s.Links != 1 || s.Peers[0].State != "up" {
			t.Errorf("clients are %+v", s.Peers)
		}
		conserved(t, b.hub)
	})
}

// TestGuestMoves has a client that has lost its address to another one: what it had is
// forgotten.
func TestGuestMoves(t *testing.T) {
	sim(t, "there and back", func(t *testing.T) {
		b := newHubBench(t, 0, pooled(t, "10.9.0.0/30"))
		for n := range 5 {
			client, got := b.arrival(1 + n%2)
			await(t, b.hub.up, "link of the hub")
			p := between(address("10.200.0.1"), address(got))
			b.hub.device.in <- p
			arrives(t, client, p)
			client.stop(t)
			await(t, b.hub.down, "end of a link")
			if s := b.hub.Stats(); len(s.Peers) != 1 || int(s.Links) != n+1 {
				t.Errorf("round %d: %d clients, %d links", n, len(s.Peers), s.Links)
			}
		}
		conserved(t, b.hub)
		if strings.Contains(b.hub.log.String(), "ERROR") {
			t.Error("errors in the log")
		}
	})
}

// TestGuestReaddressed has clients that come back to other addresses than they had: of
// what they had nothing is left.
func TestGuestReaddressed(t *testing.T) {
	for _, tt := range []struct {
		name          string
		second        byte // client that comes after the first
		before, after []netip.Addr
		nobody        []netip.Addr
	}{
		{"its own, others", 1, hubAddrs(1), hubAddrs(5), hubAddrs(1)},
		{"its own, one of two", 1, hubAddrs(1), []netip.Addr{hubAddrs(1)[0], hubAddrs(5)[1]}, hubAddrs(1)[1:]},
		{"another's, both", 2, hubAddrs(1), hubAddrs(1), nil},
		{"another's, the first of two", 2, hubAddrs(1), []netip.Addr{hubAddrs(1)[0], hubAddrs(5)[1]}, hubAddrs(1)[1:]},
		{"another's, the second of two", 2, hubAddrs(1), []netip.Addr{hubAddrs(5)[0], hubAddrs(1)[1]}, hubAddrs(1)[:1]},
	} {
		sim(t, tt.name, func(t *testing.T) {
			addrs := tt.before
			b := newHubBench(t, 0, func(c *Config) {
				c.Hub.Guest = func(id crypto.ClientID, _ []netip.Addr, _ func(string) bool) (HubPeer, error) {
					return HubPeer{Name: id.String(), Addrs: addrs}, nil
				}
			})
			first, _ := b.arrival(1)
			await(t, b.hub.up, "link of the hub")
			first.stop(t)
			await(t, b.hub.down, "end of a link")
			addrs = tt.after
			second, _ := b.arrival(int(tt.second))
			for _, to := range tt.after {
				p := between(matching(to), to)
				b.hub.device.in <- p
				arrives(t, second, p)
				back := between(to, matching(to))
				second.device.in <- back
				arrives(t, b.hub, back)
			}
			for _, to := range tt.nobody {
				b.hub.device.in <- between(matching(to), to)
			}
			synctest.Wait()
			if s := b.hub.Stats(); len(s.Peers) != 1 || int(s.DropsOut["no_peer"]) != len(tt.nobody) {
				t.Errorf("%d clients, drops %v", len(s.Peers), s.DropsOut)
			}
			conserved(t, b.hub)
		})
	}
}

// TestGuestFullPool has callers whose addresses those had that are not there: with many of
// these a call is no more work than with few, since all clients wait for it.
func TestGuestFullPool(t *testing.T) {
	sim(t, "few and many", func(t *testing.T) {
		b := newHubBench(t, 0, nil)
		hub := b.hub.hub
		b.hub.mu.Lock()
		defer b.hub.mu.Unlock()
		calls := func(network byte, known int) float64 {
			away := func(i int) HubPeer {
				return HubPeer{Name: fmt.Sprint(network, "away", i), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, network, byte(i >> 8), byte(i)})}}
			}
			for i := range known {
				c := away(i)
				hub.peers[c.Name] = b.hub.newPeer(c)
			}
			hub.rebuild()
			n := 0
			return testing.AllocsPerRun(10, func() {
				c := away(n)
				c.Name = fmt.Sprintf("%d of %d", n, known)
				p := b.hub.newPeer(c)
				if !b.hub.settled(p) || hub.owner(c.Addrs[0]) != p || hub.peers[away(n).Name] != nil {
					t.Errorf("caller %d has no place", n)
				}
				n++
			})
		}
		if few, many := calls(1, 1<<8), calls(2, 1<<13); many > 2*few {
			t.Errorf("a call takes %v allocations with few clients, %v with many", few, many)
		}
	})
}

// TestGuestNames has somebody with the shared key call again and again, each time with
// another client id: the log does not grow as he likes, and says what it leaves out.
func TestGuestNames(t *testing.T) {
	named := func(b *hubBench, n int) Config {
		c := b.config(0)
		c.Client, c.MTU = crypto.ClientID{1, byte(n >> 8), byte(n)}, 1400
		return c
	}
	sim(t, "links", func(t *testing.T) {
		b := newHubBench(t, 0, pooled(t, "10.9.0.0/24"))
		for n := range 2 * guestLines {
			conn := b.road.caller(t)
			puppetCaller(t, conn, named(b, n)).confirmed(b.hub)
			conn.Close()
			await(t, b.hub.down, "end of a link")
		}
		const each = "msg=\"link is "
		b.hub.log.says(t, guestLines+1, each)
		b.hub.log.says(t, 1, "mtu differs")
		time.Sleep(time.Minute)
		client, _ := b.arrival(1)
		await(t, b.hub.up, "link of the hub")
		b.hub.log.says(t, guestLines+2, each)
		b.hub.log.says(t, 1, fmt.Sprintf(`"others not logged"=%d`, 4*guestLines-guestLines-1))
		client.stop(t)
		await(t, b.hub.down, "end of a link")
		b.hub.log.says(t, guestLines+3, each)
	})
	sim(t, "from two places", func(t *testing.T) {
		b := newHubBench(t, 0, pooled(t, "10.9.0.0/24"))
		for n := range 5 {
			for i := range 8 {
				conn, err := b.road.dialFrom(t.Context(), hubFrom(50+i%2))
				if err != nil {
					t.Fatal(err)
				}
				puppetCaller(t, conn, named(b, n)).confirmed(b.hub).drain()
			}
		}
		b.hub.log.says(t, 1, "two clients seem to have the same key")
	})
}

// matching is a host of the family of an address.
func matching(a netip.Addr) netip.Addr {
	if a.Is6() {
		return address("fd02::1")
	}
	return address("10.200.0.1")
}
