package tunnel

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

// TestHub sends packets from the host to clients and back.
func TestHub(t *testing.T) {
	sim(t, "three clients", func(t *testing.T) {
		b := newHubBench(t, 3, nil)
		host := address("10.200.0.1")
		for i, client := range b.clients {
			n := i + 1
			own := hubAddrs(n)
			behind := netip.AddrFrom4([4]byte{10, byte(n), 3, 4})
			for _, pair := range [][2]netip.Addr{{host, own[0]}, {address("fd02::1"), own[1]}, {host, behind}} {
				there, back := between(pair[0], pair[1]), between(pair[1], pair[0])
				b.hub.device.in <- there
				arrives(t, client, there)
				client.device.in <- back
				arrives(t, b.hub, back)
			}
			if p := b.peer(n); p.State != "up" || p.Inside.PacketsIn != 3 || p.Inside.PacketsOut != 3 || p.Link.Name != p.Name ||
				!slices.Equal(p.Link.Remote, own) || p.Wire.PacketsIn != 3 || p.Inside.BytesIn != 2*100+100 {
				t.Errorf("client %d is %+v", n, p)
			}
			if l := client.Stats().Link; !slices.Equal(l.Local, own) || !slices.Equal(l.Remote, hubAddrs(100)) {
				t.Errorf("client %d has %v, the other end %v", n, l.Local, l.Remote)
			}
			conserved(t, client)
		}
		if s := b.hub.Stats(); s.State != "up" || s.Links != 3 || s.Inside.PacketsIn != 9 {
			t.Errorf("state is %+v", s)
		}
		conserved(t, b.hub)
	})
	sim(t, "nobody there", func(t *testing.T) {
		b := newHubBench(t, 2, nil)
		for _, to := range []string{"10.9.0.77", "10.3.0.1", "fd09::77", "224.0.0.1", "255.255.255.255", "10.9.255.255", "ff02::1"} {
			from := address("10.200.0.1")
			if address(to).Is6() {
				from = address("fd02::1")
			}
			b.hub.device.in <- between(from, address(to))
		}
		b.hub.device.in <- []byte{0x45, 0}
		b.clients[0].stop(t)
		await(t, b.hub.down, "end of a link")
		b.hub.device.in <- between(address("10.200.0.1"), hubAddrs(1)[0])
		synctest.Wait()
		s := b.hub.Stats()
		if s.DropsOut["no_peer"] != 7 || s.DropsOut["malformed"] != 1 || s.DropsOut["no_link"] != 1 || s.Wire.PacketsOut != 0 {
			t.Errorf("drops are %v", s.DropsOut)
		}
		if p := b.peer(1); p.State != "down" || p.DropsOut["no_link"] != 1 || p.Reason == "" {
			t.Errorf("client is %+v", p)
		}
		conserved(t, b.hub)
	})
	sim(t, "whole segments", func(t *testing.T) {
		b := newHubBench(t, 2, nil)
		o, p := segments(t, 4, 9000, 1400)
		copy(p[12:], address("10.200.0.1").AsSlice())
		copy(p[16:], hubAddrs(2)[0].AsSlice())
		b.hub.device.raw <- raw(o, p)
		var cut [][]byte
		for range 7 {
			cut = append(cut, b.clients[1].device.take(t))
		}
		checkSegments(t, o, p, cut)
		if n := b.peer(2).Wire.PacketsOut; n != 1 {
			t.Errorf("%d packets on the wire", n)
		}
		conserved(t, b.hub)
	})
}

// TestManyClients has more clients than callers may be on their way in.
func TestManyClients(t *testing.T) {
	sim(t, "lobby and exit full", func(t *testing.T) {
		b := newHubBench(t, 0, func(c *Config) {
			c.Ciphers = []crypto.Cipher{crypto.AES256GCM} // the one that costs least
			c.Hub.Guest = func(id crypto.ClientID, _ []netip.Addr, _ func(string) bool) (HubPeer, error) {
				return HubPeer{Name: id.String(), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 9, id[1], id[0]})}}, nil
			}
		})
		const many = lobbySize + lobbyExit + 1
		for n := range many {
			c := b.config(1)
			c.Ciphers, c.Client = b.hub.config.Ciphers, crypto.ClientID{byte(n), byte(1 + n>>8)}
			puppetCaller(t, b.road.caller(t), c).confirmed(b.hub).drain()
		}
		synctest.Wait()
		up := 0
		for _, p := range b.hub.Stats().Peers {
			if p.State == "up" {
				up++
			}
		}
		if up != many {
			t.Errorf("%d clients of %d have links", up, many)
		}
	})
}

// TestHubAddress has clients that say which address they have.
func TestHubAddress(t *testing.T) {
	for _, test := range []struct {
		name  string
		local []netip.Addr
		id    byte
		up    bool
	}{
		{"its own", hubAddrs(1), 1, true},
		{"one of its own", hubAddrs(1)[:1], 1, true},
		{"another's", hubAddrs(2), 1, false},
		{"one of them another's", []netip.Addr{hubAddrs(1)[0], hubAddrs(2)[1]}, 1, false},
		{"none for it", nil, 0, false},
	} {
		sim(t, test.name, func(t *testing.T) {
			b := newHubBench(t, 0, nil)
			c := b.config(int(test.id))
			c.Local, c.Auto = test.local, test.local == nil
			client := start(t, c)
			if test.up {
				await(t, client.up, "link")
				return
			}
			time.Sleep(time.Second)
			if reason := client.Stats().Reason; !strings.Contains(reason, "the local address is not one that the server has") {
				t.Errorf("reason is %q", reason)
			}
			if s := b.hub.Stats(); s.Refused["terms"] == 0 || s.Links != 0 {
				t.Errorf("state is %+v", s)
			}
			if says := strings.Contains(b.hub.log.String(), "no address for a client"); says != (test.id == 0) {
				t.Errorf("the log says that there is no address: %v", says)
			}
		})
	}
}

// TestHubReplace has a client call again while it has a link.
func TestHubReplace(t *testing.T) {
	sim(t, "not before it has proved itself", func(t *testing.T) {
		b := newHubBench(t, 2, nil)
		p := puppetCaller(t, b.road.caller(t), b.config(1))
		time.Sleep(time.Second)
		for i := range b.clients {
			pingPong(t, b, i)
		}
		p.confirmed(b.hub)
		if cause := await(t, b.clients[0].down, "end"); !strings.Contains(cause.Error(), "displaced") {
			t.Errorf("cause is %v", cause)
		}
		pingPong(t, b, 1)
		p.drain()
	})
	sim(t, "again and again", func(t *testing.T) {
		b := newHubBench(t, 1, nil)
		twin := b.config(1)
		twin.Servers = []Dial{b.road.from(hubFrom(50))}
		start(t, twin)
		time.Sleep(5 * time.Minute)
		b.hub.log.says(t, 1, "two clients seem to have the same key")
		if log := b.hub.log.String(); !strings.Contains(log, hubFrom(50).String()) {
			t.Error("the log does not say where they are")
		}
	})
	sim(t, "a laptop that moves", func(t *testing.T) {
		b := newHubBench(t, 1, nil)
		for i := range 8 {
			c := b.config(1)
			c.Servers = []Dial{b.road.from(hubFrom(50 + i))}
			b.clients[0].stop(t)
			b.clients[0] = start(t, c)
			await(t, b.clients[0].up, "link")
			time.Sleep(time.Minute)
		}
		b.hub.log.says(t, 0, "two clients")
	})
}

// TestTurns lets a client come from one place and another.
func TestTurns(t *testing.T) {
	for _, test := range []struct {
		name  string
		from  string // where links come from, one letter each
		every time.Duration
		want  bool
	}{
		{"two", "ababa", time.Minute, true},
		{"not yet", "abab", time.Minute, false},
		{"slowly", "ababababab", 11 * time.Minute, false},
		{"one that moves", "abcdefghij", time.Minute, false},
		{"one that stays", "aaaaaaaaaa", time.Minute, false},
		{"there and back", "aabbaabb", time.Minute, false},
		{"as slowly as may be", "ababa", longTurn, true},
		{"links that ended in between", "ab ca dc ed", time.Minute, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var u turns
			got, now := false, time.Hour
			for i := range len(test.from) - 1 {
				if strings.Contains(test.from[i:i+2], " ") {
					continue // the next one displaces nobody
				}
				now += test.every
				got = u.displaced(hubFrom(int(test.from[i])), hubFrom(int(test.from[i+1])), now)
			}
			if got != test.want {
				t.Errorf("two clients: %v", got)
			}
		})
	}
}

// TestSetPeers changes which clients there are.
func TestSetPeers(t *testing.T) {
	sim(t, "removed", func(t *testing.T) {
		b := newHubBench(t, 3, nil)
		pingPong(t, b, 1)
		before := time.Now()
		if err := b.hub.SetPeers([]HubPeer{hubPeer(1), hubPeer(3)}); err != nil {
			t.Fatal(err)
		}
		if cause := await(t, b.clients[1].down, "end"); cause.Error() != "peer closed the link: key revoked" || time.Since(before) > time.Second {
			t.Errorf("cause is %v, after %v", cause, time.Since(before))
		}
		pingPong(t, b, 0)
		pingPong(t, b, 2)
		b.hub.device.in <- between(address("10.200.0.1"), hubAddrs(2)[0])
		synctest.Wait()
		if s := b.hub.Stats(); s.DropsOut["no_peer"] != 1 || len(s.Peers) != 2 {
			t.Errorf("state is %+v", s)
		}
		conserved(t, b.hub) // what the one that is gone had counted, too
	})
	sim(t, "while it calls", func(t *testing.T) {
		b := newHubBench(t, 1, nil)
		if err := b.hub.SetPeers([]HubPeer{hubPeer(1), hubPeer(2)}); err != nil {
			t.Fatal(err)
		}
		p := puppetCaller(t, b.road.caller(t), b.config(2))
		if err := b.hub.SetPeers([]HubPeer{hubPeer(1)}); err != nil {
			t.Fatal(err)
		}
		p.send(frameConfirm)
		if reason := p.closing(); reason != closeRevoked {
			t.Errorf("closed with %v", reason)
		}
		pingPong(t, b, 0)
	})
	sim(t, "another key", func(t *testing.T) {
		b := newHubBench(t, 2, nil)
		changed := hubPeer(2)
		changed.Key = crypto.KeyID{1}
		if err := b.hub.SetPeers([]HubPeer{hubPeer(1), changed}); err != nil {
			t.Fatal(err)
		}
		if cause := await(t, b.clients[1].down, "end"); cause.Error() != "peer closed the link: key revoked" {
			t.Errorf("cause is %v", cause)
		}
		pingPong(t, b, 0)
	})
	sim(t, "another address", func(t *testing.T) {
		b := newHubBench(t, 2, nil)
		changed := hubPeer(2)
		changed.Addrs = hubAddrs(22)
		if err := b.hub.SetPeers([]HubPeer{hubPeer(1), changed}); err != nil {
			t.Fatal(err)
		}
		await(t, b.clients[1].down, "end")
	})
	sim(t, "another subnet", func(t *testing.T) {
		b := newHubBench(t, 1, nil)
		changed := hubPeer(1)
		changed.Subnets = []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16")}
		if err := b.hub.SetPeers([]HubPeer{changed}); err != nil {
			t.Fatal(err)
		}
		p := between(address("10.77.0.1"), address("10.200.0.1"))
		b.clients[0].device.in <- p
		arrives(t, b.hub, p)
		b.clients[0].device.in <- between(address("10.1.0.1"), address("10.200.0.1"))
		if n := b.peer(1).DropsIn["spoofed"]; n != 1 || b.hub.Stats().Links != 1 {
			t.Errorf("%d were spoofed", n)
		}
	})
	sim(t, "outer addresses that become inner ones for a while", func(t *testing.T) {
		b := newHubBench(t, 2, nil)
		around := hubPeer(1)
		around.Subnets = []netip.Prefix{netip.PrefixFrom(hubFrom(0), 24)}
		for _, first := range []HubPeer{around, hubPeer(1)} {
			if err := b.hub.SetPeers([]HubPeer{first, hubPeer(2)}); err != nil {
				t.Fatal(err)
			}
			if first.Subnets[0] == around.Subnets[0] {
				b.clients[1].stop(t)
				await(t, b.hub.down, "end of a link")
			}
		}
		p := between(hubAddrs(1)[0], hubFrom(2)) // nobody is there any more
		b.clients[0].device.in <- p
		arrives(t, b.hub, p)
	})
	sim(t, "what cannot be", func(t *testing.T) {
		b := newHubBench(t, 1, nil)
		inside := HubPeer{Name: "inside", Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")}}
		around := HubPeer{Name: "around", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		for _, list := range [][]HubPeer{{hubPeer(1), inside}, {hubPeer(1), around}, {{Name: "twice"}, {Name: "twice"}}} {
			if err := b.hub.SetPeers(list); err == nil {
				t.Errorf("%v can be", list)
			}
			pingPong(t, b, 0)
		}
	})
}

// TestRate has clients with a limit and without.
func TestRate(t *testing.T) {
	const limit, seconds = 10_000, 100
	limited := func(c *Config) {
		c.Tuning.Compress = "off"
		guest := c.Hub.Guest
		c.Hub.Guest = func(id crypto.ClientID, wish []netip.Addr, busy func(string) bool) (HubPeer, error) {
			p, err := guest(id, wish, busy)
			if p.Name == "client1" {
				p.Rate = limit
			}
			return p, err
		}
	}
	for _, test := range []struct {
		name string
		out  bool // of the hub
	}{{"to the client", true}, {"from the client", false}} {
		sim(t, test.name, func(t *testing.T) {
			b := newHubBench(t, 2, limited)
			var got [2]int
			for _, client := range b.clients {
				tune := testConfig(t).Tuning
				tune.Compress = "off"
				client.Tune(tune)
			}
			for i, client := range b.clients {
				from := client
				p := between(hubAddrs(i + 1)[0], address("10.200.0.1"))
				if test.out {
					from = b.hub
					p = between(address("10.200.0.1"), hubAddrs(i + 1)[0])
				}
				p = append(p, make([]byte, 1300)...)
				binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
				for range seconds {
					for range 20 {
						from.device.in <- p
					}
					time.Sleep(time.Second)
				}
				synctest.Wait()
				got[i] = int(b.peer(i + 1).Inside.BytesOut)
				if test.out {
					got[i] = int(client.device.wrote.Load())
				}
			}
			if got[0] < limit*seconds*8/10 || got[0] > limit*seconds*11/10+maxBurst || got[1] != seconds*20*1400 {
				t.Errorf("%d bytes of the limited client in %d s, %d of the other", got[0], seconds, got[1])
			}
			if b.peer(1).State != "up" {
				t.Error("the link ended")
			}
		})
	}
}

// TestNewHub refuses a hub that cannot be.
func TestNewHub(t *testing.T) {
	c := testConfig(t)
	c.Device, c.Servers, c.Hub = newFakeDevice(), []Dial{nil}, &Hub{}
	if _, err := New(c); err == nil || errors.Is(err, errTest) {
		t.Error("a client is a hub")
	}
	if p := newHub(&Hub{}).gateway(hubAddrs(1)[0]); p != nil {
		t.Errorf("a hub that nobody told of gateways has %s", p.name)
	}
}

// TestRest leaves a link alone for so long that both ends give memory back.
func TestRest(t *testing.T) {
	for _, policy := range []string{"off", "s2", "deflate", "zstd"} {
		sim(t, policy, func(t *testing.T) {
			c := testConfig(t)
			c.Tuning.Compress = policy
			server, client, _ := simPair(t, c, c)
			for range 5 {
				passes(t, server, client)
				time.Sleep(2*idleRelease + 3*time.Second)
				synctest.Wait()
				for _, e := range []*end{server, client} {
					if s := e.point.link.Load(); !s.watch.emptied || !s.watch.released {
						t.Errorf("what a link at rest has: %+v", s.watch)
					}
				}
			}
			passes(t, server, client)
			if n := client.Stats().Links; n != 1 {
				t.Errorf("%d links", n)
			}
			conserved(t, server)
			conserved(t, client)
		})
	}
}
