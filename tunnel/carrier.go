package tunnel

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// Two peers of a mesh that cannot reach each other have their link through a third one,
// which has links with both. That link is a TCP connection from the inner address of the
// one to that of the other, and runs through the tunnel like everything else, but for
// the way that its packets take:
//
//	A's host -> TUN -> A's link with C -> gate of C -> C's link with B -> gate of B -> TUN -> B's host
//
// They are known by their addresses and ports. Everything else between A and B goes into
// the link that they carry, and C sees none of it. C passes them on by direct links only,
// so there are no circles. Which third peers have a link with B is not known to A: what
// opens a connection, its SYN, goes to many at once. B takes the first one, and both ends
// answer by the way that the last packet came.
const (
	// InnerPort is where a peer takes calls through third ones, InnerCallPort where they
	// come from. Nothing else can be reached by these packets.
	InnerPort     = 2002
	InnerCallPort = 2003
)

// tcpOf returns a packet from its TCP header on, nil if it is none that is whole. One with
// options is not taken either: they may say that it goes on elsewhere.
func tcpOf(p []byte) (tcp []byte) {
	switch {
	case len(p) < ipv4Header:
		return nil
	case p[0]>>4 == 4:
		if p[0]&15 == ipv4Header/4 && p[9] == protocolTCP && binary.BigEndian.Uint16(p[6:])&0x3fff == 0 {
			tcp = p[ipv4Header:]
		}
	case len(p) >= ipv6Header && p[6] == protocolTCP:
		tcp = p[ipv6Header:]
	}
	if len(tcp) < tcpHeader {
		return nil
	}
	return tcp
}

// isCarrier reports whether a packet is, by its ports, part of a link through a third
// peer.
func isCarrier(p []byte) bool {
	tcp := tcpOf(p)
	return tcp != nil && carries(binary.BigEndian.Uint16(tcp), binary.BigEndian.Uint16(tcp[2:]))
}

// isCall reports whether such a packet opens the connection.
func isCall(p []byte) bool {
	return tcpOf(p)[tcpFlags]&(tcpFIN|tcpSYN|tcpRST|tcpACK) == tcpSYN
}

// carries reports whether a link through a third peer runs between two ports.
func carries(a, b uint16) bool {
	return a == InnerCallPort && b == InnerPort || a == InnerPort && b == InnerCallPort
}

// isThrough reports whether a connection runs through a third peer. The address alone
// does not tell: a gateway's inner one may be that at which all call it.
func (h *hub) isThrough(conn net.Conn) bool {
	remote, local := addrOf(conn), toAddrPort(conn.LocalAddr())
	return h.gateway(remote.Addr()) != nil && carries(remote.Port(), local.Port())
}

// gateway returns the peer of a mesh that has an inner address, nil for none.
func (h *hub) gateway(a netip.Addr) *peer { return (*h.gateways.Load())[a] }

// isInner reports whether an address is this end's own inner address.
func (h *hub) isInner(a netip.Addr) bool {
	inner := h.inner.Load()
	return inner != nil && *inner == a
}

// carriedBy returns whom a packet of the host goes to that is part of a link through a
// third peer, none if there is no way; ok is false for all other packets.
func (h *hub) carriedBy(p []byte) (to *peer, others []*peer, ok bool) {
	if !h.isMesh() || !isCarrier(p) || !h.isInner(sourceOf(p)) {
		return nil, nil, false
	}
	other := h.gateway(destinationOf(p))
	if other == nil {
		return nil, nil, false
	}
	if ways := other.ways.Load(); ways != nil && isCall(p) {
		i := slices.IndexFunc(*ways, (*peer).isDirect)
		if i < 0 {
			return nil, nil, true
		}
		return (*ways)[i], (*ways)[i+1:], true
	}
	if to = other.via.Load(); to != nil && !to.isDirect() {
		to = nil
	}
	return to, nil, true
}

// isDirect reports whether a peer has a link that is not one through a third peer.
func (p *peer) isDirect() bool {
	s := p.link.Load()
	return s != nil && !s.relayed
}

// carry says what becomes of a packet that came from a peer and is part of a link
// through a third one: it goes on to the other end, or, for nil, to the host, which is
// that end. One that has come by another way is not fresh. ok is false for all other
// packets.
func (g *gate) carry(p []byte) (to *peer, fresh, ok bool) {
	hub := g.t.hub
	if !hub.isMesh() || !isCarrier(p) {
		return nil, false, false
	}
	from, dst := hub.gateway(sourceOf(p)), destinationOf(p)
	if from == nil || !g.from.isDirect() {
		return nil, false, false
	}
	if from != g.from {
		if !hub.isInner(dst) {
			return nil, false, false
		}
		if fresh = from.opens(p, g.t.clock()); fresh {
			from.via.Store(g.from)
		}
		return nil, fresh, true
	}
	to = hub.gateway(dst)
	return to, true, to != nil && to != g.from && to.isDirect()
}

// copyTime is how long copies of a call may come one after the other. After that, it is
// the caller that calls again, as nobody has answered.
const copyTime = 500 * time.Millisecond

// opening is the last call that a peer has made through third ones.
type opening struct {
	number uint32 // sequence number: each call has another one, and goes on with the next
	at     int64  // clock when it came, ns
	goesOn atomic.Bool
}

// opens notes what becomes of a peer's calls, and reports whether a packet is fresh: a copy
// would turn a connection to a slower way.
func (p *peer) opens(packet []byte, now int64) (fresh bool) {
	last, tcp := p.opening.Load(), tcpOf(packet)
	number, flags := binary.BigEndian.Uint32(tcp[tcpNumber:]), tcp[tcpFlags]
	if !isCall(packet) {
		switch {
		case last == nil || binary.BigEndian.Uint16(tcp) != InnerCallPort:
		case flags&tcpRST != 0:
			p.opening.Store(nil) // an old connection was in the way: the call comes again
		case flags&tcpACK != 0 && number == last.number+1:
			last.goesOn.Store(true)
		}
		return true
	}
	if last != nil && last.number == number && (last.goesOn.Load() || now-last.at < int64(copyTime)) {
		return false
	}
	p.opening.Store(&opening{number: number, at: now})
	return true
}

// through returns the name of the peer that a link runs through, "" for a direct one.
func (s *session) through() string {
	if !s.relayed {
		return ""
	}
	if via := s.owner.via.Load(); via != nil {
		return via.name
	}
	return ""
}
