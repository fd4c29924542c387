package tunnel

import (
	"encoding/binary"
	"net/netip"
)

// gate stands between a client of a hub and everybody else: what it sends must come
// from its own addresses, and goes to the host, or to another client if that may be.
// A client is not trusted with anything but its own network.
type gate struct {
	t    *Tunnel
	from *peer
}

// sift returns the packets of a block that are for the host. Those for other clients
// are handed over, the rest is dropped, and all of these are counted. The block is
// changed.
func (g *gate) sift(block []byte) []byte {
	kept, at := 0, 0 // bytes
	for at < len(block) {
		n, ok := packetLen(block[at:])
		if !ok {
			n = len(block) - at // no packets: who takes the block will see
		}
		p := block[at : at+n]
		at += n
		switch {
		case ok && !g.passes(p):
		case kept == at-n:
			kept = at // as a rule all of them stay
		default:
			kept += copy(block[kept:], p)
		}
	}
	return block[:kept]
}

// passes reports whether a packet is for the host. It is dealt with otherwise.
func (g *gate) passes(p []byte) bool {
	to, why, ok := g.judge(p)
	switch {
	case !ok:
		g.from.count.wireIn.Add(1)
		g.from.count.dropIn(why, 1)
	case to != nil:
		g.cross(to, len(p))
		g.t.forward(to, to.link.Load(), g.t.copied(p))
	}
	return ok && to == nil
}

// passesWhole is the same for a packet of segments, with n bytes of headers.
func (g *gate) passesWhole(o offload, p []byte, n int) bool {
	to, why, ok := g.judge(p)
	switch {
	case !ok:
		g.from.inside.dropWhole(why)
	case to != nil:
		g.cross(to, len(p))
		g.t.handWhole(to, o, p, n)
	}
	return ok && to == nil
}

// cross counts a packet that goes to another client.
func (g *gate) cross(to *peer, size int) {
	g.from.count.wireIn.Add(1)
	g.from.count.insideOut.Add(1)
	g.from.count.insideBytesOut.Add(uint64(size))
	to.count.insideBytesIn.Add(uint64(size))
}

// judge says what becomes of a packet that has passed packetLen: if it is not dropped
// for a reason, it goes to another client, or to the host for nil.
func (g *gate) judge(p []byte) (to *peer, why dropIn, ok bool) {
	hub, dst := g.t.hub, destinationOf(p)
	if to, fresh, ok := g.carry(p); ok {
		return to, inCopy, fresh
	}
	switch {
	case isLocal(p):
		return nil, inLocal, false
	case isGroup(dst):
		return nil, inMulticast, false
	case hub.owner(sourceOf(p)) != g.from:
		return nil, inSpoofed, false
	case sourceRouted(p):
		return nil, inRouted, false
	case hub.isOuter(dst), dst.IsLoopback(), dst.IsUnspecified(): // some hosts route loopback
		return nil, inOuter, false
	}
	to = hub.owner(dst)
	if to != nil && (to == g.from || !hub.config.ClientToClient) {
		return nil, inClient, false
	}
	return to, 0, true
}

// handWhole gives a packet of segments, with n bytes of headers, from one client to
// another.
func (t *Tunnel) handWhole(to *peer, o offload, p []byte, n int) {
	s := to.link.Load()
	if s == nil || !o.fits(s, p, n) {
		t.cut(to, s, o, p, n)
		return
	}
	b := t.pool.Get(HeaderSize + len(p))
	b.N, b.Whole = HeaderSize+copy(b.Bytes[HeaderSize:], p), true
	o.put(b.Bytes, n, binary.LittleEndian)
	t.forward(to, s, b)
}

// sourceOf and destinationOf return the addresses of a packet, and no address if it is
// too short to have one.
func sourceOf(p []byte) netip.Addr {
	switch {
	case len(p) >= ipv4Header && p[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(p[12:]))
	case len(p) >= ipv6Header && p[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(p[8:]))
	}
	return netip.Addr{}
}

func destinationOf(p []byte) netip.Addr {
	switch {
	case len(p) >= ipv4Header && p[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(p[16:]))
	case len(p) >= ipv6Header && p[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(p[24:]))
	}
	return netip.Addr{}
}

// isGroup reports whether more than one host may have an address.
func isGroup(a netip.Addr) bool {
	return a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

const (
	looseRoute  = 131 // options of IPv4 (RFC 791)
	strictRoute = 137
)

// sourceRouted reports whether a packet says itself where it goes after its
// destination: then the check of that means nothing.
func sourceRouted(p []byte) bool {
	if p[0]>>4 == 6 {
		return hasRoutingHeader(p)
	}
	options := p[ipv4Header : int(p[0]&15)*4]
	for len(options) > 0 {
		switch kind := options[0]; {
		case kind == looseRoute || kind == strictRoute:
			return true
		case kind == 0: // end of options
			return false
		case kind == 1: // no operation
			options = options[1:]
		case len(options) < 2 || options[1] < 2 || int(options[1]) > len(options):
			return true // not well formed: nobody knows what a host makes of it
		default:
			options = options[options[1]:]
		}
	}
	return false
}

const routingHeader = 43

// hasRoutingHeader looks for an IPv6 routing header (RFC 8200, 4.4).
func hasRoutingHeader(p []byte) bool {
	next, rest := p[6], p[ipv6Header:]
	for range maxExtensions {
		if next == routingHeader {
			return true
		}
		size, ok := extensionLen(next, rest)
		if !ok || size > len(rest) {
			return false
		}
		next, rest = rest[0], rest[size:]
	}
	return true
}
