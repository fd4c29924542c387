package tunnel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

// What the hub of the tests looks like: client n has the address 10.9.0.n and fd09::n
// and the network 10.n.0.0/16 behind it.
func hubAddrs(n int) []netip.Addr {
	return []netip.Addr{
		netip.AddrFrom4([4]byte{10, 9, 0, byte(n)}),
		netip.AddrFrom16([16]byte{0xfd, 9, 15: byte(n)}),
	}
}

func hubPeer(n int) HubPeer {
	return HubPeer{
		Name: fmt.Sprintf("client%d", n), Addrs: hubAddrs(n),
		Subnets: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n), 0, 0}), 16)},
	}
}

// hubBench is a hub with clients.
type hubBench struct {
	t       *testing.T
	hub     *end
	road    *road
	clients []*end
}

// from is where client n calls from.
func hubFrom(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }

func (b *hubBench) config(n int) Config {
	c := testConfig(b.t)
	c.Client, c.Auto = crypto.ClientID{byte(n)}, true
	c.Servers = []Dial{b.road.from(hubFrom(n))}
	return c
}

// guestOf knows client n by its id.
func guestOf(id crypto.ClientID, _ []netip.Addr, _ func(string) bool) (HubPeer, error) {
	if id[0] == 0 {
		return HubPeer{}, errTest
	}
	return hubPeer(int(id[0])), nil
}

// lengthened is a packet of IPv4 with its length in the header.
func lengthened(p []byte) []byte {
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	return p
}

// newHubBench starts a hub whose clients 1 to n are there.
func newHubBench(t *testing.T, n int, change func(*Config)) *hubBench {
	t.Helper()
	b := &hubBench{t: t, road: newRoad()}
	c := testConfig(t)
	c.Listener, c.Local = b.road, hubAddrs(100)
	c.Hub = &Hub{Guest: guestOf}
	if change != nil {
		change(&c)
	}
	b.hub = start(t, c)
	for i := range n {
		b.clients = append(b.clients, start(t, b.config(i+1)))
		await(t, b.clients[i].up, "link of a client")
		await(t, b.hub.up, "link of the hub")
	}
	return b
}

// peer returns what the hub says of client n.
func (b *hubBench) peer(n int) PeerStats {
	b.t.Helper()
	synctest.Wait()
	for _, p := range b.hub.Stats().Peers {
		if p.Name == hubPeer(n).Name {
			return p
		}
	}
	b.t.Fatalf("no client %d", n)
	panic("not reached")
}

// from returns the way of a client to a road.
func (r *road) from(a netip.Addr) Dial {
	return func(ctx context.Context) (net.Conn, error) { return r.dialFrom(ctx, a) }
}

// between returns a packet from one address to another.
func between(from, to netip.Addr) []byte {
	if from.Is4() {
		p := udp(100, byte(from.As4()[3]))
		copy(p[12:], from.AsSlice())
		copy(p[16:], to.AsSlice())
		return p
	}
	p := ipv6(17, make([]byte, 60))
	copy(p[8:], from.AsSlice())
	copy(p[24:], to.AsSlice())
	return p
}

func address(s string) netip.Addr { return netip.MustParseAddr(s) }

// arrives sees that a packet, and no other, comes out of a device.
func arrives(t *testing.T, e *end, want []byte) {
	t.Helper()
	if got := e.device.take(t); !bytes.Equal(got, want) {
		t.Errorf("packet is %x, want %x", got, want)
	}
}

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

// TestGate has a client send what it may not.
func TestGate(t *testing.T) {
	own, other, host := hubAddrs(1), hubAddrs(2), address("10.200.0.1")
	routed := func(options ...byte) []byte {
		p := ipv4(17, len(options), make([]byte, 8))
		copy(p[12:], own[0].AsSlice())
		copy(p[16:], host.AsSlice())
		copy(p[ipv4Header:], options)
		return p
	}
	header := between(own[1], address("fd02::1"))
	header[6] = routingHeader
	redirect := between(own[0], host)
	redirect[9], redirect[20] = protocolICMP, icmpRedirect
	for _, test := range []struct {
		name   string
		packet []byte
		why    string // "" passes
	}{
		{"own address", between(own[0], host), ""},
		{"own address of IPv6", between(own[1], address("fd02::1")), ""},
		{"own subnet", between(address("10.1.255.255"), host), ""},
		{"to the hub", between(own[0], hubAddrs(100)[0]), ""},
		{"another's address", between(other[0], host), "spoofed"},
		{"another's address of IPv6", between(other[1], address("fd02::1")), "spoofed"},
		{"another's subnet", between(address("10.2.0.1"), host), "spoofed"},
		{"nobody's address", between(address("10.9.0.9"), host), "spoofed"},
		{"the hub's address", between(hubAddrs(100)[0], host), "spoofed"},
		{"loopback", between(address("127.0.0.1"), host), "spoofed"},
		{"beside its own", between(address("10.9.0.0"), host), "spoofed"},
		{"from no address", between(address("0.0.0.0"), host), "spoofed"},
		{"link-local", between(address("fe80::1"), address("fd02::1")), "spoofed"},
		{"another client", between(own[0], other[0]), "client_to_client"},
		{"another client's subnet", between(own[0], address("10.2.9.9")), "client_to_client"},
		{"itself", between(own[0], own[0]), "client_to_client"},
		{"multicast", between(own[0], address("224.0.0.251")), "multicast"},
		{"multicast of IPv6", between(address("fe80::1"), address("ff02::fb")), "multicast"},
		{"broadcast", between(own[0], address("255.255.255.255")), "multicast"},
		{"the server from outside", between(own[0], address("198.51.100.1")), "outer_address"},
		{"a client from outside", between(own[0], hubFrom(2)), "outer_address"},
		{"beside the server", between(own[0], address("198.51.100.2")), ""},
		{"redirect", redirect, "discovery"},
		{"loose source route", routed(1, 1, looseRoute, 7, 4, 192, 0, 2, 9, 0, 0, 0), "source_route"},
		{"strict source route", routed(strictRoute, 7, 4, 192, 0, 2, 9, 0), "source_route"},
		{"option that is too long", routed(7, 9, 0, 0), "source_route"},
		{"option without a length", routed(1, 1, 1, 7), "source_route"},
		{"record route", routed(7, 7, 4, 0, 0, 0, 0, 0), ""},
		{"behind the end of options", routed(0, looseRoute, 3, 4), ""},
		{"routing header", header, "source_route"},
	} {
		sim(t, test.name, func(t *testing.T) {
			b := newHubBench(t, 2, nil)
			after := between(own[0], address("10.200.0.2"))
			b.clients[0].device.in <- test.packet
			b.clients[0].device.in <- after
			if test.why == "" {
				arrives(t, b.hub, test.packet)
			}
			arrives(t, b.hub, after)
			p := b.peer(1)
			switch {
			case test.why == "" && len(p.DropsIn) > 0:
				t.Errorf("dropped: %v", p.DropsIn)
			case test.why != "" && (len(p.DropsIn) != 1 || p.DropsIn[test.why] != 1):
				t.Errorf("drops are %v, want %s", p.DropsIn, test.why)
			}
			if p.State != "up" || len(b.clients[1].device.out) > 0 {
				t.Error("the link ended, or another client got something")
			}
			conserved(t, b.hub)
		})
	}
	sim(t, "whole segments", func(t *testing.T) {
		b := newHubBench(t, 2, nil)
		for i, addrs := range [][2]netip.Addr{{other[0], host}, {own[0], other[0]}, {own[0], hubFrom(2)}, {own[0], host}} {
			o, p := segments(t, 4, 3000, 1400)
			copy(p[12:], addrs[0].AsSlice())
			copy(p[16:], addrs[1].AsSlice())
			b.clients[0].device.raw <- raw(o, p)
			synctest.Wait()
			if got := len(b.hub.device.out); got > 0 != (i == 3) {
				t.Errorf("%v: %d packets arrive", addrs, got)
			}
		}
		p := b.peer(1)
		if p.DropsIn["spoofed"] != 1 || p.DropsIn["client_to_client"] != 1 || p.DropsIn["outer_address"] != 1 {
			t.Errorf("drops are %v", p.DropsIn)
		}
		conserved(t, b.hub)
	})
	sim(t, "in the middle of a batch", func(t *testing.T) {
		b := newHubBench(t, 1, nil)
		p := b.peer(1)
		good := func(n byte) []byte { return between(own[0], netip.AddrFrom4([4]byte{10, 200, 0, n})) }
		bad := between(other[0], host)
		g := &gate{t: b.hub.Tunnel, from: b.hub.Tunnel.peers()[0]}
		for _, test := range []struct{ block, want []byte }{
			{slices.Concat(good(1), bad, good(2), good(3), bad, bad, good(4)), slices.Concat(good(1), good(2), good(3), good(4))},
			{slices.Concat(bad, good(1), []byte{1, 2, 3}), slices.Concat(good(1), []byte{1, 2, 3})},
			{slices.Concat(good(1), good(2)), slices.Concat(good(1), good(2))},
			{bad, nil},
			{nil, nil},
		} {
			if got := g.sift(bytes.Clone(test.block)); !bytes.Equal(got, test.want) {
				t.Errorf("%x is left of %x", got, test.block)
			}
		}
		if got := b.peer(1).DropsIn["spoofed"] - p.DropsIn["spoofed"]; got != 5 {
			t.Errorf("%d were dropped", got)
		}
	})
}

// TestClientToClient has clients of a hub that lets them talk to each other.
func TestClientToClient(t *testing.T) {
	on := func(c *Config) { c.Hub.ClientToClient = true }
	sim(t, "packets", func(t *testing.T) {
		b := newHubBench(t, 3, on)
		for i, from := range b.clients {
			for j, to := range b.clients {
				if i == j {
					continue
				}
				for family := range 2 {
					p := between(hubAddrs(i + 1)[family], hubAddrs(j + 1)[family])
					from.device.in <- p
					arrives(t, to, p)
				}
			}
		}
		b.clients[0].device.in <- between(hubAddrs(1)[0], hubAddrs(1)[0])
		b.clients[0].device.in <- between(hubAddrs(2)[0], hubAddrs(3)[0])
		b.clients[1].stop(t)
		await(t, b.hub.down, "end of a link")
		b.clients[0].device.in <- between(hubAddrs(1)[0], hubAddrs(2)[0])
		synctest.Wait()
		if len(b.hub.device.out) > 0 {
			t.Error("a packet between clients went to the host")
		}
		if d := b.peer(1).DropsIn; d["client_to_client"] != 1 || d["spoofed"] != 1 {
			t.Errorf("drops of the first are %v", d)
		}
		if d := b.peer(2).DropsOut; d["no_link"] != 1 {
			t.Errorf("drops to the second are %v", d)
		}
		conserved(t, b.hub)
	})
	sim(t, "whole segments", func(t *testing.T) {
		b := newHubBench(t, 2, on)
		o, p := segments(t, 6, 20000, 1300)
		copy(p[8:], hubAddrs(1)[1].AsSlice())
		copy(p[24:], hubAddrs(2)[1].AsSlice())
		b.clients[0].device.raw <- raw(o, p)
		var cut [][]byte
		for range 16 {
			cut = append(cut, b.clients[1].device.take(t))
		}
		checkSegments(t, o, p, cut)
		if one, two := b.peer(1), b.peer(2); one.Wire.PacketsIn != 1 || two.Wire.PacketsOut != 1 {
			t.Errorf("%d packets came and %d left", one.Wire.PacketsIn, two.Wire.PacketsOut)
		}
		conserved(t, b.hub)
	})
	sim(t, "segments to one who does not take them", func(t *testing.T) {
		b := newHubBench(t, 1, on)
		c := b.config(2)
		c.MTU = 1000
		b.clients = append(b.clients, start(t, c))
		await(t, b.hub.up, "link of the hub")
		o, p := segments(t, 4, 5000, 1400)
		copy(p[12:], hubAddrs(1)[0].AsSlice())
		copy(p[16:], hubAddrs(2)[0].AsSlice())
		b.clients[0].device.raw <- raw(o, p)
		synctest.Wait()
		conserved(t, b.hub)
		if len(b.hub.device.out) > 0 {
			t.Error("packets went to the host")
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
	} {
		t.Run(test.name, func(t *testing.T) {
			var u turns
			got, now := false, time.Hour
			for i := range len(test.from) - 1 {
				now += test.every
				got = u.displaced(hubFrom(int(test.from[i])), hubFrom(int(test.from[i+1])), now)
			}
			if got != test.want {
				t.Errorf("two clients: %v", got)
			}
		})
	}
}

// pingPong sees that packets go both ways between the host and a client.
func pingPong(t *testing.T, b *hubBench, i int) {
	t.Helper()
	there := between(address("10.200.0.1"), hubAddrs(i + 1)[0])
	b.hub.device.in <- there
	arrives(t, b.clients[i], there)
	back := between(hubAddrs(i + 1)[0], address("10.200.0.1"))
	b.clients[i].device.in <- back
	arrives(t, b.hub, back)
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
	sim(t, "what cannot be", func(t *testing.T) {
		b := newHubBench(t, 1, nil)
		inside := HubPeer{Name: "inside", Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")}}
		around := HubPeer{Name: "around", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		for _, list := range [][]HubPeer{{hubPeer(1), inside}, {hubPeer(1), around}, {hubPeer(2), hubPeer(2)}} {
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

// TestHubAllocs passes a batch through the gate.
func TestHubAllocs(t *testing.T) {
	h := newHub(&Hub{})
	tunnel := &Tunnel{hub: h, point: &peer{inside: &deliverer{}}}
	if err := tunnel.SetPeers([]HubPeer{hubPeer(1), hubPeer(2)}); err != nil {
		t.Fatal(err)
	}
	g := h.peers["client1"].inside.gate
	block := bytes.Repeat(between(hubAddrs(1)[0], address("10.200.0.1")), 40)
	block = append(block, between(hubAddrs(2)[1], address("fd02::1"))...)
	if n := testing.AllocsPerRun(100, func() { g.sift(block) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestNewHub refuses a hub that cannot be.
func TestNewHub(t *testing.T) {
	c := testConfig(t)
	c.Device, c.Servers, c.Hub = newFakeDevice(), []Dial{nil}, &Hub{}
	if _, err := New(c); err == nil || errors.Is(err, errTest) {
		t.Error("a client is a hub")
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

// TestOuterAddresses has two clients behind one address leave.
func TestOuterAddresses(t *testing.T) {
	sim(t, "one by one", func(t *testing.T) {
		b := newHubBench(t, 2, nil)
		third := b.config(3)
		third.Servers = []Dial{b.road.from(hubFrom(2))}
		b.clients = append(b.clients, start(t, third))
		await(t, b.hub.up, "link of the hub")
		for _, test := range []struct {
			leaves *end
			outer  bool // the address is still one of a link
		}{{nil, true}, {b.clients[1], true}, {b.clients[2], false}} {
			if test.leaves != nil {
				test.leaves.stop(t)
				await(t, b.hub.down, "end of a link")
			}
			before := b.peer(1).DropsIn["outer_address"]
			b.clients[0].device.in <- between(hubAddrs(1)[0], hubFrom(2))
			synctest.Wait()
			if got := b.peer(1).DropsIn["outer_address"] > before; got != test.outer || got == (len(b.hub.device.out) > 0) {
				t.Errorf("an address of a link: %v, want %v", got, test.outer)
			}
		}
	})
}
