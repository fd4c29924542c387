package tunnel

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// carrier returns a TCP packet between two addresses.
func carrier(from, to netip.Addr, fromPort, toPort uint16) []byte {
	p := ipv4(protocolTCP, 0, tcp(0x10, nil, "text"))
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	binary.BigEndian.PutUint16(p[20:], fromPort)
	binary.BigEndian.PutUint16(p[22:], toPort)
	return p
}

// TestCarrier sends the packets of a link through a third gateway, and others that look
// like them.
func TestCarrier(t *testing.T) {
	inner, behind := meshInner, func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n), 0, 2}) }
	for _, test := range []struct {
		name     string
		p        []byte
		arrives  int  // 0: nowhere
		learnt   bool // by gateway 2
		fromHost int  // the gateway whose host sends it; 0: 1
	}{
		{name: "call", p: carrier(inner(1), inner(2), InnerCallPort, InnerPort), arrives: 2, learnt: true},
		{name: "answer", p: carrier(inner(1), inner(2), InnerPort, InnerCallPort), arrives: 2, learnt: true},
		{name: "another port there", p: carrier(inner(1), inner(2), InnerCallPort, 22)},
		{name: "another port here", p: carrier(inner(1), inner(2), 22, InnerPort)},
		{name: "from a computer", p: carrier(behind(1), inner(2), InnerCallPort, InnerPort)},
		{name: "to a computer", p: carrier(inner(1), behind(2), InnerCallPort, InnerPort)},
		{name: "a fragment", p: fragment(carrier(inner(1), inner(2), InnerCallPort, InnerPort))},
		{name: "with a source route", p: sourceRoute(carrier(inner(1), inner(2), InnerCallPort, InnerPort))},
		{name: "of the third itself", p: carrier(inner(3), inner(2), InnerCallPort, InnerPort), fromHost: 3},
	} {
		sim(t, test.name, func(t *testing.T) {
			w := newMesh(t, 3)
			w.forbid(1, 2, true)
			w.forbid(2, 1, true)
			w.start(1, 2, 3)
			w.start(2, 1, 3)
			w.start(3, 1, 2)
			w.awaitLink(1, 3, time.Second)
			w.awaitLink(2, 3, time.Second)
			one, two, three := w.gateway(1), w.gateway(2), w.gateway(3)
			one.hub.peers["gateway2"].via.Store(one.hub.peers["gateway3"])
			from := max(test.fromHost, 1)
			w.gateway(from).device.in <- test.p
			synctest.Wait()
			for _, e := range w.list {
				select {
				case got := <-e.device.out:
					if e.n != test.arrives || string(got) != string(test.p) {
						t.Errorf("gateway%d gets %x", e.n, got)
					}
				default:
					if e.n == test.arrives {
						t.Errorf("gateway%d gets nothing; drops %v at the third", e.n, three.Stats().DropsIn)
					}
				}
			}
			if test.arrives == 0 && from == 1 && (three.Stats().DropsIn["client_to_client"] > 0 || three.Stats().DropsIn["spoofed"] > 0) {
				t.Error("the packet went to the third")
			}
			if via := two.hub.peers["gateway1"].via.Load(); (via == two.hub.peers["gateway3"]) != test.learnt {
				t.Errorf("gateway2 answers through %v", via)
			}
		})
	}
	sim(t, "forged by the third", func(t *testing.T) {
		w := newMesh(t, 3)
		w.forbid(1, 2, true)
		w.forbid(2, 1, true)
		w.start(1, 2, 3)
		w.start(2, 1, 3)
		three := w.start(3, 2)
		w.awaitLink(2, 3, time.Second)
		for _, p := range [][]byte{
			carrier(inner(1), inner(2), InnerPort, 22), carrier(inner(1), inner(2), 22, InnerCallPort), carrier(inner(1), inner(2), InnerCallPort, 22),
			carrier(behind(1), inner(2), InnerCallPort, InnerPort), carrier(inner(1), behind(2), InnerCallPort, InnerPort),
			between(inner(1), inner(2)), carrier(inner(2), inner(2), InnerCallPort, InnerPort),
			sourceRoute(carrier(inner(1), inner(2), InnerCallPort, InnerPort)),
		} {
			three.send("gateway2", p)
		}
		synctest.Wait()
		if in := w.gateway(2).Stats().DropsIn; in["spoofed"] != 8 {
			t.Errorf("drops are %v", in)
		}
	})
}

// send puts a packet into a link, whatever it is.
func (e *meshEnd) send(peer string, p []byte) {
	e.mu.Lock()
	to := e.hub.peers[peer]
	e.mu.Unlock()
	e.forward(to, to.link.Load(), e.copied(p))
}

// sourceRoute has a packet go on to another host.
func sourceRoute(p []byte) []byte {
	routed := slices.Concat(p[:ipv4Header], []byte{looseRoute, 7, 4, 192, 0, 2, 9, 0}, p[ipv4Header:])
	routed[0] = 0x47
	return lengthened(routed)
}

// fragment makes a packet the second part of a longer one.
func fragment(p []byte) []byte {
	p[7] = 1
	return p
}

// TestCarrierCircles sends packets of links through a third gateway into a link that runs
// through a fourth one, which nobody does.
func TestCarrierCircles(t *testing.T) {
	sim(t, "2 reaches 4 alone", func(t *testing.T) {
		w := newMesh(t, 4)
		for _, n := range []int{1, 3} {
			w.forbid(n, 2, true)
			w.forbid(2, n, true)
		}
		for n, peers := range map[int][]int{1: {2, 3, 4}, 2: {1, 3, 4}, 3: {1, 2, 4}, 4: {1, 2, 3}} {
			w.start(n, peers...)
		}
		for _, pair := range [][2]int{{1, 2}, {1, 3}, {3, 2}, {4, 2}} {
			w.awaitLink(pair[0], pair[1], 10*time.Second)
		}
		w.settled(1, 2, 0)
		w.settled(3, 2, 0)
		one, two, three := w.gateway(1), w.gateway(2), w.gateway(3)
		call := carrier(meshInner(1), meshInner(2), InnerCallPort, InnerPort)

		dropped := three.Stats().DropsIn["client_to_client"]
		one.send("gateway3", call) // 3 would have to pass it on through 4
		one.send("gateway3", carrier(meshInner(1), meshInner(1), InnerCallPort, InnerPort))
		synctest.Wait()
		if n := three.Stats().DropsIn["client_to_client"] - dropped; n != 2 {
			t.Errorf("gateway3 dropped %d packets", n)
		}
		dropped = two.Stats().DropsIn["spoofed"]
		three.send("gateway2", call) // through 4
		synctest.Wait()
		if n := two.Stats().DropsIn["spoofed"] - dropped; n != 1 {
			t.Errorf("gateway2 dropped %d packets", n)
		}
		one.hub.peers["gateway3"].via.Store(one.hub.peers["gateway2"])
		dropped = one.Stats().DropsOut["no_peer"]
		one.device.in <- carrier(meshInner(1), meshInner(3), InnerCallPort, InnerPort)
		synctest.Wait()
		if n := one.Stats().DropsOut["no_peer"] - dropped; n != 1 {
			t.Errorf("gateway1 dropped %d packets", n)
		}
		for _, e := range w.list {
			select {
			case p := <-e.device.out:
				t.Errorf("gateway%d gets %x", e.n, p)
			default:
			}
		}
	})
}

// TestCarrierOpens calls through third gateways, of which one alone has a link with the
// other end: the packet that opens the connection goes to all, the others go by the way
// that an answer came.
func TestCarrierOpens(t *testing.T) {
	sim(t, "of four one passes it on", func(t *testing.T) {
		w := newMesh(t, 6)
		for _, n := range []int{1, 3, 4, 6} {
			w.forbid(n, 2, true)
			w.forbid(2, n, true)
		}
		one, two := w.start(1, 2, 3, 4, 5, 6), w.start(2, 1, 3, 4, 5, 6)
		for n := 3; n <= 6; n++ {
			w.start(n, 1, 2)
			w.awaitLink(1, n, time.Second)
		}
		w.awaitLink(2, 5, time.Second)
		w.awaitLink(1, 2, 10*time.Second)
		p := one.peer(2)
		one.mu.Lock()
		d := p.calls.diallers[1]
		d.alone = false
		d.chooseWays() // the other end may have been the first to call
		one.mu.Unlock()
		p.via.Store(one.peer(4))
		open := carrier(meshInner(1), meshInner(2), InnerCallPort, InnerPort)
		answer := carrier(meshInner(2), meshInner(1), InnerPort, InnerCallPort)
		goOn := carrier(meshInner(1), meshInner(2), InnerCallPort, InnerPort)
		open[ipv4Header+13], answer[ipv4Header+13] = tcpSYN, tcpSYN|tcpACK
		send := func(from *meshEnd, packet []byte, arrives *meshEnd) {
			t.Helper()
			from.device.in <- packet
			synctest.Wait()
			for _, e := range w.list {
				var got [][]byte
				for len(e.device.out) > 0 {
					got = append(got, <-e.device.out)
				}
				if want := e == arrives; len(got) > 1 || (len(got) == 1) != want || want && !bytes.Equal(got[0], packet) {
					t.Errorf("gateway%d gets %x", e.n, got)
				}
			}
		}
		send(one, goOn, nil) // 4 does not know the other end
		send(one, open, two)
		if via := two.peer(1).via.Load(); via != two.peer(5) {
			t.Errorf("gateway2 answers through %v", via.name)
		}
		two.peer(1).via.Store(two.peer(4))
		send(one, open, nil) // a copy
		if via := two.peer(1).via.Load(); via != two.peer(4) || two.Stats().DropsIn["copy"] != 1 {
			t.Errorf("gateway2 answers through %v after a copy, drops are %v", via.name, two.Stats().DropsIn)
		}
		time.Sleep(copyTime)
		send(one, open, two)
		send(two, answer, one)
		if via := p.via.Load(); via != one.peer(5) {
			t.Errorf("gateway1 goes on through %v", via.name)
		}
		send(one, goOn, two)
		sent := one.peer(3).count.insideIn.Load()
		one.peer(3).link.Load().relayed = true // it must not become a circle
		open[ipv4Header+tcpNumber]++
		send(one, open, two)
		one.peer(3).link.Load().relayed = false
		if n := one.peer(3).count.insideIn.Load() - sent; n > 0 {
			t.Errorf("%d calls go to a gateway that is not reached directly", n)
		}
	})
}

// TestCarrierCopies has packets come that open a connection, and others.
func TestCarrierCopies(t *testing.T) {
	p := new(peer)
	now := int64(time.Hour)
	for i, step := range []struct {
		after    time.Duration
		flags    byte
		from, to uint16
		number   byte
		fresh    bool
	}{
		{0, tcpACK, InnerCallPort, InnerPort, 1, true},
		{0, tcpSYN, InnerCallPort, InnerPort, 1, true},
		{copyTime - 1, tcpSYN, InnerCallPort, InnerPort, 1, false},
		{1, tcpSYN, InnerCallPort, InnerPort, 1, true}, // sent again
		{0, tcpSYN, InnerCallPort, InnerPort, 2, true},
		{1, tcpSYN, InnerCallPort, InnerPort, 2, false},
		{time.Hour, tcpACK, InnerPort, InnerCallPort, 2, true}, // of a connection the other way
		{0, tcpSYN, InnerCallPort, InnerPort, 2, true},
		{1, tcpACK, InnerCallPort, InnerPort, 2, true}, // of an older connection
		{1, tcpFIN, InnerCallPort, InnerPort, 3, true}, // of none
		{time.Hour, tcpSYN, InnerCallPort, InnerPort, 2, true},
		{1, tcpACK, InnerPort, InnerCallPort, 3, true},
		{time.Hour, tcpSYN, InnerCallPort, InnerPort, 2, true},
		{1, tcpACK, InnerCallPort, InnerPort, 3, true},
		{time.Hour, tcpSYN, InnerCallPort, InnerPort, 2, false},
		{0, tcpSYN | tcpACK, InnerCallPort, InnerPort, 2, true},
		{0, tcpSYN | tcpFIN, InnerCallPort, InnerPort, 2, true},
		{0, tcpSYN, InnerCallPort, InnerPort, 2, false},
		{0, tcpRST, InnerPort, InnerCallPort, 2, true},
		{0, tcpSYN, InnerCallPort, InnerPort, 2, false},
		{0, tcpRST, InnerCallPort, InnerPort, 2, true},
		{0, tcpSYN, InnerCallPort, InnerPort, 2, true},
		{0, tcpSYN, InnerCallPort, InnerPort, 3, true},
	} {
		packet := carrier(meshInner(1), meshInner(2), step.from, step.to)
		packet[ipv4Header+tcpFlags], packet[ipv4Header+tcpNumber+3] = step.flags, step.number
		now += int64(step.after)
		if fresh := p.opens(packet, now); fresh != step.fresh {
			t.Errorf("step %d: fresh is %v", i, fresh)
		}
	}
}

// TestIsCarrier has packets that are not quite those of a link through a third gateway.
func TestIsCarrier(t *testing.T) {
	segment := func(from, to uint16) []byte {
		s := tcp(0x10, nil, "")
		binary.BigEndian.PutUint16(s, from)
		binary.BigEndian.PutUint16(s[2:], to)
		return s
	}
	ports := []byte{InnerCallPort >> 8, InnerCallPort & 255, InnerPort >> 8, InnerPort & 255}
	call := segment(InnerCallPort, InnerPort)
	options := ipv4(protocolTCP, 4, call)
	copy(options[ipv4Header:], ports)
	first, dont := ipv4(protocolTCP, 0, call), ipv4(protocolTCP, 0, call)
	first[6], dont[6] = 0x20, 0x40
	for _, test := range []struct {
		name string
		p    []byte
		want bool
	}{
		{"call", ipv4(protocolTCP, 0, call), true},
		{"answer", ipv4(protocolTCP, 0, segment(InnerPort, InnerCallPort)), true},
		{"not to be cut", dont, true},
		{"the first fragment", first, false},
		{"another fragment", fragment(ipv4(protocolTCP, 0, call)), false},
		{"datagram", ipv4(17, 0, call), false},
		{"options that look like ports", options, false},
		{"cut off", ipv4(protocolTCP, 0, call[:tcpHeader-1]), false},
		{"no whole header", ipv4(protocolTCP, 0, nil)[:ipv4Header-1], false},
		{"nothing", nil, false},
		{"call of IPv6", ipv6(protocolTCP, call), true},
		{"datagram of IPv6", ipv6(17, call), false},
		{"cut off, of IPv6", ipv6(protocolTCP, call[:tcpHeader-1]), false},
		{"no whole header of IPv6", ipv6(protocolTCP, nil)[:ipv6Header-1], false},
	} {
		if got := isCarrier(test.p); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// TestCarrierOthers sends packets with the ports of links through third gateways that take
// the ordinary way.
func TestCarrierOthers(t *testing.T) {
	sim(t, "in a mesh", func(t *testing.T) {
		w := newMesh(t, 2)
		one, two := w.start(1, 2), w.start(2, 1)
		w.awaitLink(1, 2, time.Second)
		w.settled(1, 2, 0)
		toComputer := carrier(meshInner(1), address("10.2.0.2"), InnerCallPort, InnerPort)
		one.device.in <- toComputer
		arrives(t, two.end, toComputer)
		inLink := carrier(meshInner(1), meshInner(2), InnerCallPort, InnerPort) // whoever sends it so
		one.send("gateway2", inLink)
		arrives(t, two.end, inLink)
		if via := two.peer(1).via.Load(); via != nil {
			t.Errorf("gateway2 answers through %s", via.name)
		}
	})
	t.Run("in a hub", func(t *testing.T) {
		h := newHub(&Hub{})
		tunnel := &Tunnel{hub: h, point: &peer{inside: &deliverer{}}}
		if err := tunnel.SetPeers([]HubPeer{hubPeer(1), hubPeer(2)}); err != nil {
			t.Fatal(err)
		}
		for _, p := range h.peers {
			p.link.Store(&session{})
		}
		gate := h.peers["client1"].inside.gate
		if _, why, ok := gate.judge(carrier(hubAddrs(1)[0], hubAddrs(2)[0], InnerCallPort, InnerPort)); ok || why != inClient {
			t.Errorf("passes: %v, or dropped for %d", ok, why)
		}
		if h.isInner(hubAddrs(100)[0]) {
			t.Error("a hub has a place in a mesh")
		}
	})
}

// TestIsThrough sees which connections run through a third peer.
func TestIsThrough(t *testing.T) {
	at := func(a netip.Addr, port uint16) net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, port)) }
	inner, outer, own := meshInner(2), meshEndpoint(2).Addr(), meshInner(1)
	for _, test := range []struct {
		name   string
		caller net.Addr
		called net.Addr
		is     [2]bool // where it was called, and at the caller
	}{
		{"through a third peer", at(inner, InnerCallPort), at(own, InnerPort), [2]bool{true, false}},
		{"to it", at(own, InnerCallPort), at(inner, InnerPort), [2]bool{false, true}},
		{"from an inner address", at(inner, 40000), at(own, InnerPort), [2]bool{}},
		{"to an inner address", at(own, 40000), at(inner, InnerPort), [2]bool{}},
		{"by the ports alone", at(outer, InnerCallPort), at(own, InnerPort), [2]bool{}},
		{"not TCP", &net.UnixAddr{Name: "a"}, &net.UnixAddr{Name: "b"}, [2]bool{}},
	} {
		sim(t, test.name, func(t *testing.T) {
			x := newTies(t)
			p := newPipe(test.caller, test.called)
			if is := [2]bool{x.hub.isThrough(p.server), x.hub.isThrough(p.client)}; is != test.is {
				t.Errorf("%v, want %v", is, test.is)
			}
		})
	}
}
