package compress

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// testPacket returns a packet of one connection, with right checksums. Its numbers are
// those that follow n bytes and m packets of it.
func testPacket(version int, protocol byte, n, m uint32, payload []byte) []byte {
	var l4 []byte
	field := 16
	switch protocol {
	case protocolTCP:
		l4 = []byte("\xc3\x50\x00\x50seq.ack.\x80\x10\x01\xf6\x00\x00\x00\x00\x01\x01\x08\x0astmpecho")
		binary.BigEndian.PutUint32(l4[4:], 0xfffffff0+n)
		binary.BigEndian.PutUint32(l4[8:], 0x1234567)
		binary.BigEndian.PutUint32(l4[24:], 0x11223344+20*m)
		binary.BigEndian.PutUint32(l4[28:], 0x55667788+21*m)
	case protocolUDP:
		l4 = []byte("\xc3\x50\x00\x35ll\x00\x00")
		binary.BigEndian.PutUint16(l4[4:], uint16(8+len(payload)))
		field = 6
	}
	l4 = append(l4, payload...)
	ip := []byte("\x45\x00ll\x00\x00\x40\x00\x40p\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
	if version == 4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(l4)))
		binary.BigEndian.PutUint16(ip[4:], uint16(0xfffe+m))
		ip[9] = protocol
		binary.BigEndian.PutUint16(ip[10:], onesComplement(ip))
	} else {
		ip = append([]byte("\x60\x00\x00\x00llp\x40"), bytes.Repeat([]byte{0xfd, 1}, 16)...)
		binary.BigEndian.PutUint16(ip[4:], uint16(len(l4)))
		ip[6] = protocol
	}
	p, _ := parsePacket(append(slices.Clone(ip), l4...))
	pseudo := slices.Concat(p.addresses(), []byte{0, protocol}, binary.BigEndian.AppendUint16(nil, uint16(len(l4))))
	binary.BigEndian.PutUint16(l4[field:], onesComplement(append(pseudo, l4...)))
	return append(ip, l4...)
}

// onesComplement is the checksum of RFC 1071, computed as it says.
func onesComplement(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i%2))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// testSegments returns n packets of a connection and some others.
func testSegments(n int) (b []byte) {
	payload := []byte("what the packet carries")
	for i := range uint32(n) {
		b = append(b, testPacket(4, protocolTCP, i*uint32(len(payload)), i, payload)...)
	}
	b = append(b, testPacket(6, protocolTCP, 0, 0, payload)...)
	b = append(b, testPacket(6, protocolUDP, 0, 0, payload[1:])...)
	wrong := testPacket(4, protocolUDP, 0, 7, payload)
	wrong[10]++
	wrong[27]++
	return append(b, wrong...)
}

// TestHeadersTaken looks at what is left of the headers of a connection.
func TestHeadersTaken(t *testing.T) {
	for _, version := range []int{4, 6} {
		var h headers
		payload := []byte("eleven byte")
		first := testPacket(version, protocolTCP, 0, 0, payload)
		second := testPacket(version, protocolTCP, 11, 1, payload)
		h.take(append(first, 0)) // the last byte is no packet
		h.take(second)
		tcp := second[len(second)-len(payload)-stampsSize:]
		for what, got := range map[string]uint32{
			"sequence number": binary.BigEndian.Uint32(tcp[4:]),
			"acknowledgement": binary.BigEndian.Uint32(tcp[8:]),
			"checksum":        uint32(binary.BigEndian.Uint16(tcp[16:])),
			"timestamp":       binary.BigEndian.Uint32(tcp[24:]) - 20,
			"echo":            binary.BigEndian.Uint32(tcp[28:]) - 21,
		} {
			if got != 0 {
				t.Errorf("IPv%d: of the %s %x is left", version, what, got)
			}
		}
		if version == 4 && binary.BigEndian.Uint16(second[4:])+binary.BigEndian.Uint16(second[10:]) != 0 {
			t.Errorf("of identification and checksum %x is left", second[:20])
		}
	}
}

// TestHeadersBack takes and puts packets that are right, damaged, cut off or none.
func TestHeadersBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	var there, back headers
	var shortened int
	for i := range 20000 {
		block := testSegments(1 + i%3)
		if i%5 == 0 {
			block = append(make([]byte, offloadSize), block...)
		}
		for range i % 4 {
			block[rng.IntN(len(block))] = [...]byte{0, 0xff, byte(rng.Uint32())}[rng.IntN(3)]
		}
		if i%7 == 0 {
			block = block[:rng.IntN(len(block)+1)]
		}
		got := bytes.Clone(block)
		there.take(got)
		if !bytes.Equal(got, block) {
			shortened++
		}
		back.put(got)
		if !bytes.Equal(got, block) {
			t.Fatalf("block %d: %x became %x", i, block, got)
		}
		if there != back {
			t.Fatalf("block %d: the ends remember other things", i)
		}
	}
	if shortened < 15000 {
		t.Errorf("%d blocks were changed at all", shortened)
	}
}

// TestSwapEveryChecksum has every value in the field of a checksum.
func TestSwapEveryChecksum(t *testing.T) {
	for _, rest := range []string{"\x45\x00..", "\x00\x00\x00\x00", "\xff\xff\x00\x00", "\xff\xff\xff\xff"} {
		seen := make([]bool, 1<<16)
		for v := range 1 << 16 {
			b := binary.BigEndian.AppendUint16([]byte(rest), uint16(v))
			swap(b[4:], b, 0)
			became := binary.BigEndian.Uint16(b[4:])
			if seen[became] {
				t.Fatalf("%x: two values become %04x", rest, became)
			}
			seen[became] = true
			if swap(b[4:], b, 0); binary.BigEndian.Uint16(b[4:]) != uint16(v) {
				t.Fatalf("%x: %04x does not come back", rest, v)
			}
		}
	}
}

// FuzzHeaders takes any bytes, twice, and puts them back; and puts any bytes.
func FuzzHeaders(f *testing.F) {
	f.Add(testSegments(2))
	f.Add(append(make([]byte, offloadSize), testSegments(0)...))
	f.Add(testPacket(4, protocolTCP, 0, 0, nil)[:39])
	f.Fuzz(func(t *testing.T, block []byte) {
		var there, back, other headers
		for range 2 {
			got := bytes.Clone(block)
			there.take(got)
			back.put(got)
			if !bytes.Equal(got, block) || there != back {
				t.Fatalf("%x became %x", block, got)
			}
		}
		other.put(bytes.Clone(block))
	})
}
