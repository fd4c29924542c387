package tunnel

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
)

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
	extended := func(next byte, payload []byte) []byte {
		p := ipv6(next, payload)
		copy(p[8:], own[1].AsSlice())
		copy(p[24:], address("fd02::1").AsSlice())
		return p
	}
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
		{"to loopback", between(own[0], address("127.0.0.53")), "outer_address"},
		{"to loopback of IPv6", between(own[1], address("::1")), "outer_address"},
		{"to no address", between(own[0], address("0.0.0.0")), "outer_address"},
		{"to no address of IPv6", between(own[1], address("::")), "outer_address"},
		{"redirect", redirect, "discovery"},
		{"loose source route", routed(1, 1, looseRoute, 7, 4, 192, 0, 2, 9, 0, 0, 0), "source_route"},
		{"strict source route", routed(strictRoute, 7, 4, 192, 0, 2, 9, 0), "source_route"},
		{"option that is too long", routed(7, 9, 0, 0), "source_route"},
		{"option without a length", routed(1, 1, 1, 7), "source_route"},
		{"record route", routed(7, 7, 4, 0, 0, 0, 0, 0), ""},
		{"behind the end of options", routed(0, looseRoute, 3, 4), ""},
		{"options up to the end", routed(1, 1, 7, 2), ""},
		{"end of options behind nothing", routed(1, 1, 1, 0), ""},
		{"option of no length", routed(7, 0, 0, 0), "source_route"},
		{"option of a length too short for it", routed(7, 1, 0, 0), "source_route"},
		{"routing header", extended(routingHeader, extension(17, 0)), "source_route"},
		{"routing header behind another", extended(60, append(extension(routingHeader, 1), extension(17, 0)...)), "source_route"},
		{"routing header behind the last byte", extended(60, extension(routingHeader, 0)), "source_route"},
		{"content like a routing header", extended(17, extension(routingHeader, 0)), ""},
		{"header that is too long", extended(60, extension(routingHeader, 1)[:8]), ""},
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

// TestAddressesOf looks for the addresses of what is hardly a packet.
func TestAddressesOf(t *testing.T) {
	four, six := ipv4(17, 0, nil), ipv6(17, nil)
	other := slices.Clone(six)
	other[0] = 0x50
	none := netip.Addr{}
	for _, test := range []struct {
		name     string
		p        []byte
		from, to netip.Addr
	}{
		{"IPv4", four, address("10.0.0.1"), address("10.0.0.2")},
		{"IPv6", six, address("fd00::1"), address("fd00::2")},
		{"a byte less of IPv4", four[:ipv4Header-1], none, none},
		{"a byte less of IPv6", six[:ipv6Header-1], none, none},
		{"another version", other, none, none},
		{"nothing", nil, none, none},
	} {
		t.Run(test.name, func(t *testing.T) {
			if from, to := sourceOf(test.p), destinationOf(test.p); from != test.from || to != test.to {
				t.Errorf("from %v to %v, want %v and %v", from, to, test.from, test.to)
			}
		})
	}
	if !sourceRouted(ipv6(60, slices.Repeat(extension(60, 0), maxExtensions))) {
		t.Error("what cannot be looked behind is no source route")
	}
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
		redirect := between(hubAddrs(1)[0], hubAddrs(3)[0])
		redirect[9], redirect[ipv4Header] = protocolICMP, icmpRedirect
		b.clients[0].device.in <- redirect
		b.clients[1].stop(t)
		await(t, b.hub.down, "end of a link")
		b.clients[0].device.in <- between(hubAddrs(1)[0], hubAddrs(2)[0])
		synctest.Wait()
		if len(b.hub.device.out) > 0 {
			t.Error("a packet between clients went to the host")
		}
		if d := b.peer(1).DropsIn; d["client_to_client"] != 1 || d["spoofed"] != 1 || d["discovery"] != 1 {
			t.Errorf("drops of the first are %v", d)
		}
		if d := b.peer(2).DropsOut; d["no_link"] != 1 {
			t.Errorf("drops to the second are %v", d)
		}
		// Each of them has sent and got a packet of each family from both others; the first
		// has sent one more to the second.
		const both = 100 + 100
		for n, extra := range []uint64{100, 0, 0} {
			if p := b.peer(n + 1); p.Inside.BytesOut != 2*both+extra || p.Inside.PacketsOut != 4+extra/100 {
				t.Errorf("client %d has sent %d bytes, %d packets", n+1, p.Inside.BytesOut, p.Inside.PacketsOut)
			}
		}
		for n, extra := range []uint64{0, 100, 0} {
			if p := b.peer(n + 1); p.Inside.BytesIn != 2*both+extra || p.Inside.PacketsIn != 4+extra/100 {
				t.Errorf("client %d was sent %d bytes, %d packets", n+1, p.Inside.BytesIn, p.Inside.PacketsIn)
			}
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
	sim(t, "segments that are too long for one frame, and to nobody", func(t *testing.T) {
		b := newHubBench(t, 2, func(c *Config) {
			on(c)
			c.Tuning.SendBuf = 2000
		})
		o, p := segments(t, 4, 5000, 1400)
		copy(p[12:], hubAddrs(1)[0].AsSlice())
		copy(p[16:], hubAddrs(2)[0].AsSlice())
		b.clients[0].device.raw <- raw(o, p)
		var cut [][]byte
		for range 4 {
			cut = append(cut, b.clients[1].device.take(t))
		}
		checkSegments(t, o, p, cut)
		if n := b.peer(2).Wire.PacketsOut; n != 4 {
			t.Errorf("%d packets left", n)
		}
		b.clients[1].stop(t)
		await(t, b.hub.down, "end of a link")
		b.clients[0].device.raw <- raw(o, p)
		if n := b.peer(2).DropsOut["no_link"]; n != 4 {
			t.Errorf("%d segments find no link", n)
		}
		conserved(t, b.hub)
		if len(b.hub.device.out) > 0 {
			t.Error("packets went to the host")
		}
	})
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
