package tunnel

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gaissmai/bart"
)

// FuzzGate lets a client send any block: what goes to the host is its own, and goes
// where it may.
func FuzzGate(f *testing.F) {
	own, other, host := hubAddrs(1), hubAddrs(2), address("10.200.0.1")
	outer := hubFrom(2)
	for _, seed := range [][]byte{
		between(own[0], host), between(own[1], address("fd02::1")), between(other[0], host), between(own[0], other[0]), between(own[0], outer),
		slices.Concat(between(own[0], host), between(other[1], address("fd02::1")), between(own[0], host)), nil, {0x45}, make([]byte, 40),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		h := newHub(&Hub{})
		tunnel := &Tunnel{hub: h, point: &peer{inside: &deliverer{}}}
		if err := tunnel.SetPeers([]HubPeer{hubPeer(1), hubPeer(2)}); err != nil {
			t.Fatal(err)
		}
		table := new(bart.Table[int])
		table.Insert(netip.PrefixFrom(outer, 32), 1)
		h.outer.Store(table)
		p := h.peers["client1"]
		rest := p.inside.gate.sift(slices.Clone(block))
		for len(rest) > 0 {
			n, ok := packetLen(rest)
			if !ok {
				return // who takes the block drops what follows
			}
			from, to := sourceOf(rest), destinationOf(rest)
			if h.owner(from) != p || h.owner(to) != nil || to == outer || to.IsMulticast() || isLocal(rest[:n]) || sourceRouted(rest[:n]) {
				t.Errorf("%v to %v passes", from, to)
			}
			rest = rest[n:]
		}
	})
}

// FuzzCarrier lets a gateway of a mesh send any block: what goes to the host is its own,
// or part of a link between another gateway and this one.
func FuzzCarrier(f *testing.F) {
	inner, one, two := address("10.200.0.1"), hubAddrs(1)[0], hubAddrs(2)[0]
	call := carrier(two, inner, InnerCallPort, InnerPort)
	call[ipv4Header+tcpFlags] = tcpSYN
	for _, seed := range [][]byte{
		call, slices.Concat(call, call), carrier(two, inner, InnerCallPort, InnerPort), carrier(two, inner, InnerPort, InnerCallPort), carrier(two, inner, 22, InnerPort),
		carrier(one, two, InnerCallPort, InnerPort), carrier(address("10.2.0.1"), inner, InnerCallPort, InnerPort), between(one, inner),
		sourceRoute(carrier(two, inner, InnerCallPort, InnerPort)), between(hubAddrs(2)[1], inner), nil,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		h := newHub(&Hub{Mesh: &Mesh{}})
		tunnel := &Tunnel{hub: h, point: &peer{inside: &deliverer{}}, config: Config{Now: func() time.Duration { return time.Hour }}}
		if err := tunnel.SetMesh(inner, []HubPeer{hubPeer(1), hubPeer(2)}); err != nil {
			t.Fatal(err)
		}
		p := h.peers["client1"]
		p.link.Store(&session{})
		rest := p.inside.gate.sift(slices.Clone(block))
		for len(rest) > 0 {
			n, ok := packetLen(rest)
			if !ok {
				return
			}
			from, to := sourceOf(rest), destinationOf(rest)
			carried := isCarrier(rest[:n]) && to == inner && slices.Contains(hubAddrs(2), from)
			if h.owner(from) != p && !carried || h.owner(to) != nil || sourceRouted(rest[:n]) {
				t.Errorf("%v to %v passes", from, to)
			}
			rest = rest[n:]
		}
	})
}
