package tunnel

import "encoding/binary"

const (
	ipv4Header = 20
	ipv6Header = 40
	tcpHeader  = 20

	protocolTCP = 6
)

// packetLen returns the length of the IP packet that b begins with, as its own
// header gives it, and false when b does not begin with a complete packet.
func packetLen(b []byte) (int, bool) {
	if len(b) < ipv4Header {
		return 0, false
	}
	n, least := 0, 0
	switch b[0] >> 4 {
	case 4:
		n, least = int(binary.BigEndian.Uint16(b[2:])), int(b[0]&15)*4
		if least < ipv4Header {
			return 0, false
		}
	case 6:
		if len(b) < ipv6Header {
			return 0, false
		}
		n, least = ipv6Header+int(binary.BigEndian.Uint16(b[4:])), ipv6Header
	default:
		return 0, false
	}
	return n, least <= n && n <= len(b)
}

// unwanted reports whether a packet of the host is to be kept off the link. It must
// have passed packetLen.
func (c *Config) unwanted(p []byte) bool {
	if p[0]>>4 == 6 {
		return c.NoIPv6 || c.NoMulticast && p[24] == 0xff
	}
	to := binary.BigEndian.Uint32(p[16:])
	return c.NoMulticast && (to>>28 == 14 || to == 0xffffffff)
}

// clampMSS lowers the maximum segment size that a passing SYN announces (RFC
// 9293, 3.7.1) to what fits into packets of mtu bytes. Other packets stay as
// they are. The packet must have passed packetLen.
func clampMSS(p []byte, mtu int) {
	segment, most := tcpSegment(p, mtu)
	if len(segment) < tcpHeader || segment[13]&0x02 == 0 || most < 0 {
		return
	}
	end := min(int(segment[12]>>4)*4, len(segment))
	for i := tcpHeader; i < end; {
		switch kind := segment[i]; {
		case kind == 0: // end of options
			return
		case kind == 1: // no operation
			i++
		case i+1 >= end || segment[i+1] < 2 || i+int(segment[i+1]) > end:
			return // not well formed: none of our business
		case kind == 2 && segment[i+1] == 4:
			lowerMSS(segment, i+2, most)
			return
		default:
			i += int(segment[i+1])
		}
	}
}

// tcpSegment returns the TCP segment that starts in p, if one does, and the most
// that its sender may put into one of mtu bytes.
func tcpSegment(p []byte, mtu int) (segment []byte, mss int) {
	if p[0]>>4 == 4 {
		offset := binary.BigEndian.Uint16(p[6:]) & 0x1fff
		if p[9] != protocolTCP || offset != 0 {
			return nil, 0
		}
		return p[int(p[0]&15)*4:], mtu - ipv4Header - tcpHeader
	}
	if p[6] != protocolTCP {
		return nil, 0
	}
	return p[ipv6Header:], mtu - ipv6Header - tcpHeader
}

// lowerMSS changes the 16 bits at segment[at:] when they are larger than most,
// and mends the checksum (RFC 1624).
func lowerMSS(segment []byte, at, most int) {
	old := binary.BigEndian.Uint16(segment[at:])
	if int(old) <= most {
		return
	}
	binary.BigEndian.PutUint16(segment[at:], uint16(most))
	was, is := uint32(old), uint32(most)
	if at%2 == 1 { // the option stands across two words of the sum
		was, is = was>>8|was<<8&0xff00, is>>8|is<<8&0xff00
	}
	sum := uint32(^binary.BigEndian.Uint16(segment[16:])) + uint32(^uint16(was)) + is
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(segment[16:], ^uint16(sum))
}
