package queue

import (
	"encoding/binary"
	"math/bits"
)

// hash returns a number for the flow of an IP packet: equal for equal addresses,
// protocol and ports, and hard to guess without the seed. Fragments have no ports,
// so all of a datagram's go by the addresses.
func hash(p []byte, seed [2]uint64) uint64 {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		head := int(p[0]&15) * 4
		fragment := binary.BigEndian.Uint16(p[6:])&0x3fff != 0
		h := mix(binary.LittleEndian.Uint64(p[12:])^seed[0], seed[1])
		return mix(h, ports(p, head, p[9], fragment)^seed[1])
	case len(p) >= 40 && p[0]>>4 == 6:
		h := seed[0]
		for at := 8; at < 40; at += 8 {
			h = mix(h^binary.LittleEndian.Uint64(p[at:]), seed[1])
		}
		return mix(h, ports(p, 40, p[6], false)^seed[1])
	}
	return 0
}

// ports returns what tells the conversations of two hosts apart.
func ports(p []byte, head int, protocol byte, fragment bool) uint64 {
	const tcp, udp, dccp, sctp, udplite = 6, 17, 33, 132, 136
	n := uint64(protocol) << 32
	switch protocol {
	case tcp, udp, dccp, sctp, udplite:
		if !fragment && len(p) >= head+4 {
			n |= uint64(binary.LittleEndian.Uint32(p[head:]))
		}
	}
	return n
}

// mix folds a product, in which each bit of both depends on all before it.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a|1, b|1<<63)
	return high ^ low
}
