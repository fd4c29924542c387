package tunnel

import "encoding/binary"

const (
	udpHeader   = 8
	protocolUDP = 17
)

// mendChecksum gives a UDP datagram from the TUN device the checksum 0xffff if
// that is right and 0 stands there. Both are the same number, but 0 says that
// there is none (RFC 768), and over IPv6 such a datagram is dropped (RFC 8200,
// 8.1). The library that fills in what the kernel left to the device does not
// know that, so that one of 65536 datagrams would be lost. One that is meant to
// have no checksum stays as it is. The packet must have passed packetLen.
func mendChecksum(p []byte) {
	d, addrs := udpDatagram(p)
	if len(d) < udpHeader || d[6] != 0 || d[7] != 0 || int(binary.BigEndian.Uint16(d[4:])) != len(d) {
		return
	}
	sum := sum16(addrs) + protocolUDP + uint32(len(d)) + sum16(d)
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	if sum == 0xffff {
		d[6], d[7] = 0xff, 0xff
	}
}

// udpDatagram returns the UDP datagram in p, if it is all there, and the
// addresses.
func udpDatagram(p []byte) (datagram, addrs []byte) {
	if p[0]>>4 == 4 {
		fragment := binary.BigEndian.Uint16(p[6:]) & 0x3fff
		if p[9] != protocolUDP || fragment != 0 {
			return nil, nil
		}
		return p[int(p[0]&15)*4:], p[12:ipv4Header]
	}
	if p[6] != protocolUDP {
		return nil, nil
	}
	return p[ipv6Header:], p[8:ipv6Header]
}

// sum16 adds the 16-bit words of b, which is no longer than a packet.
func sum16(b []byte) (sum uint32) {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) > 0 {
		sum += uint32(b[0]) << 8
	}
	return sum
}
