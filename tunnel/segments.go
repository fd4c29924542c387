package tunnel

import (
	"encoding/binary"

	"vpnd/compress"
)

// HeaderSize is the length of what stands in front of each packet of a Device.
const HeaderSize = 10

// offload says what the host has left to do at a packet: to fill in a checksum, or
// to cut the segments of a TCP stream apart as well. In front of a packet it is a
// virtio_net_hdr (VIRTIO 1.2, 5.1.6), in the host's byte order at the device and
// little-endian on the wire:
//
//	flags 1 | GSO type 1 | header length 2 | segment size 2 | checksum start 2 | checksum offset 2
//
// The length of the headers is only a hint, and not looked at.
type offload struct {
	flags, kind  uint8
	size         int // bytes of payload in a segment
	start, field int // the checksum covers what begins at start; it stands field bytes behind it
}

const (
	flagChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	kindNone     = 0
	kindTCPv4    = 1
	kindTCPv6    = 4

	tcpChecksum = 16 // offset of the field
	tcpNumber   = 4  // the same
	tcpFlags    = 13 // the same
	tcpFIN      = 0x01
	tcpSYN      = 0x02
	tcpRST      = 0x04
	tcpACK      = 0x10

	// maxSegments is how many the peer may have this host cut from one packet: 64 KiB
	// at an MTU of 576.
	maxSegments = 128
)

func parseOffload(b []byte, order binary.ByteOrder) offload {
	return offload{
		flags: b[0],
		kind:  b[1],
		size:  int(order.Uint16(b[4:])),
		start: int(order.Uint16(b[6:])),
		field: int(order.Uint16(b[8:])),
	}
}

// put writes the header of segments whose headers are n bytes long.
func (o offload) put(b []byte, n int, order binary.ByteOrder) {
	b[0], b[1] = o.flags, o.kind
	order.PutUint16(b[2:], uint16(n))
	order.PutUint16(b[4:], uint16(o.size))
	order.PutUint16(b[6:], uint16(o.start))
	order.PutUint16(b[8:], uint16(o.field))
}

// headers returns the length of the headers that each segment in p has, and false
// if p is not one TCP packet that stands for segments. A SYN never does, so that none
// passes by clampMSS.
func (o offload) headers(p []byte) (n int, ok bool) {
	if n, ok := packetLen(p); !ok || n != len(p) {
		return 0, false
	}
	kind, least := uint8(kindTCPv4), ipv4Header
	if p[0]>>4 == 6 {
		kind, least = kindTCPv6, ipv6Header
	}
	if o.kind != kind || o.flags != flagChecksum || o.field != tcpChecksum ||
		o.start < least || o.start+tcpHeader > len(p) || kind == kindTCPv4 && o.start != int(p[0]&15)*4 {
		return 0, false
	}
	n = o.start + int(p[o.start+12]>>4)*4
	if n < o.start+tcpHeader || n >= len(p) || o.size == 0 || p[o.start+13]&tcpSYN != 0 {
		return 0, false
	}
	return n, true
}

// many reports whether p, with n bytes of headers, has more than maxSegments.
func (o offload) many(p []byte, n int) bool { return len(p)-n > maxSegments*o.size }

// segment writes the segment of p whose payload begins at from, behind its n bytes
// of headers, to dst and returns its length.
func (o offload) segment(dst, p []byte, n, from int) int {
	to, i := min(from+o.size, len(p)), (from-n)/o.size
	s := append(append(dst[:0], p[:n]...), p[from:to]...)
	ip, tcp := s[:o.start], s[o.start:]
	if o.kind == kindTCPv4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(s)))
		binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(p[4:])+uint16(i))
		ip[10], ip[11] = 0, 0
		binary.BigEndian.PutUint16(ip[10:], ^fold(sum16(ip)))
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(s)-ipv6Header))
	}
	binary.BigEndian.PutUint32(tcp[4:], binary.BigEndian.Uint32(p[o.start+4:])+uint32(from-n))
	if from > n {
		tcp[13] &^= 0x80 // CWR is for the first (RFC 3168, 6.1.2)
	}
	if to < len(p) {
		tcp[13] &^= 0x09 // FIN and PSH are for the last
	}
	tcp[16], tcp[17] = 0, 0
	binary.BigEndian.PutUint16(tcp[16:], ^fold(sum16(addresses(p))+protocolTCP+uint64(len(tcp))+sum16(tcp)))
	return len(s)
}

// addresses returns both addresses of a packet.
func addresses(p []byte) []byte {
	if p[0]>>4 == 4 {
		return p[12:ipv4Header]
	}
	return p[8:ipv6Header]
}

// finish fills in the checksum of p that the host has left to do, and reports false
// if it does not lie in p. The host has put the sum of the addresses there. Instead of
// 0, which in UDP says that there is none (RFC 768), it writes the same number,
// 0xffff.
func (o offload) finish(p []byte) bool {
	if o.flags&flagChecksum == 0 {
		return true
	}
	at := o.start + o.field
	if at+2 > len(p) {
		return false
	}
	sum := ^fold(sum16(p[o.start:]))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(p[at:], sum)
	return true
}

// shortFrames is the sendbuf below which somebody wants short frames of everything.
const shortFrames = 16 << 10

// fits reports whether segments with n bytes of headers can go whole to a peer: in
// one frame, and each of them through its interface. On a slow line they would keep
// others waiting.
func (o offload) fits(s *session, p []byte, n int) bool {
	most := min(s.peer.maxFrame-batchOverhead, compress.MaxBlock)
	if buf := s.t.tuning.Load().SendBuf; buf < shortFrames {
		most = min(most, buf)
	}
	return s.line == nil && s.send.allow.open.Load() && HeaderSize+len(p) <= most && n+o.size <= s.maxPacket && !o.many(p, n)
}

// sum16 adds the 16-bit words of b (RFC 1071).
func sum16(b []byte) (sum uint64) {
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		sum += uint64(b[0]) << 8
	}
	return sum
}

// fold makes a checksum of a sum.
func fold(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
