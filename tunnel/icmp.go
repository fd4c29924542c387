package tunnel

import "encoding/binary"

const (
	protocolICMP   = 1
	protocolICMPv6 = 58

	icmpRedirect = 5 // RFC 792
	// Messages of Neighbor Discovery for IPv6 (RFC 4861): router solicitation to
	// redirect.
	firstDiscovery = 133
	lastDiscovery  = 137

	// maxExtensions is how many extension headers of a packet are looked behind.
	maxExtensions = 8
)

// isLocal reports whether a packet is a message between neighbours of one link
// that would change this host's routes and addresses: an ICMP redirect, or any of
// Neighbor Discovery. The two ends of a tunnel need none of these, and the peer
// has no say in them. The packet must have passed packetLen.
func isLocal(p []byte) bool {
	if p[0]>>4 == 4 {
		message := p[int(p[0]&15)*4:]
		first := binary.BigEndian.Uint16(p[6:])&0x1fff == 0
		return p[9] == protocolICMP && first && len(message) > 0 && message[0] == icmpRedirect
	}
	next, rest := p[6], p[ipv6Header:]
	for range maxExtensions {
		if next == protocolICMPv6 {
			return len(rest) > 0 && firstDiscovery <= rest[0] && rest[0] <= lastDiscovery
		}
		size, ok := extensionLen(next, rest)
		if !ok || size > len(rest) {
			return false
		}
		next, rest = rest[0], rest[size:]
	}
	return true // nobody sends so many, but somebody may hide behind them
}

// extensionLen returns the length of an IPv6 extension header (RFC 8200, 4), and
// false for what is none.
func extensionLen(kind byte, b []byte) (int, bool) {
	if len(b) < 8 {
		return 0, false
	}
	switch kind {
	case 0, 43, 60, 135, 139, 140: // options, routing, mobility, HIP, shim
		return 8 * (1 + int(b[1])), true
	case 51: // authentication
		return 4 * (2 + int(b[1])), true
	case 44: // fragment; only the first one has what follows
		return 8, binary.BigEndian.Uint16(b[2:])&0xfff8 == 0
	}
	return 0, false
}
