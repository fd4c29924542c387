package queue

import (
	"encoding/binary"
	"testing"
)

// ipv6 returns a packet of 48 bytes.
func ipv6(next byte, from, to uint16) []byte {
	p := make([]byte, 48)
	p[0], p[6] = 0x60, next
	p[8], p[39] = 0xfd, 1
	binary.BigEndian.PutUint16(p[40:], from)
	binary.BigEndian.PutUint16(p[42:], to)
	return p
}

func with(p []byte, at int, value byte) []byte {
	p[at] = value
	return p
}

// TestHash sees what belongs together, and what does not.
func TestHash(t *testing.T) {
	seed := [2]uint64{0x0123456789abcdef, 0xfedcba9876543210}
	for _, test := range []struct {
		name string
		a, b []byte
		same bool
	}{
		{"same", ipv4(6, 100, 1, 2), ipv4(6, 1500, 1, 2), true},
		{"other content", ipv4(6, 100, 1, 2), with(ipv4(6, 100, 1, 2), 50, 9), true},
		{"other port", ipv4(6, 100, 1, 2), ipv4(6, 100, 1, 3), false},
		{"other source port", ipv4(17, 100, 1, 2), ipv4(17, 100, 3, 2), false},
		{"ports swapped", ipv4(17, 100, 1, 2), ipv4(17, 100, 2, 1), false},
		{"other protocol", ipv4(6, 100, 1, 2), ipv4(17, 100, 1, 2), false},
		{"other source", ipv4(6, 100, 1, 2), with(ipv4(6, 100, 1, 2), 15, 9), false},
		{"other destination", ipv4(6, 100, 1, 2), with(ipv4(6, 100, 1, 2), 19, 9), false},
		{"ICMP has no ports", ipv4(1, 100, 1, 2), ipv4(1, 100, 3, 4), true},
		{"first fragment and second", with(ipv4(17, 100, 1, 2), 6, 0x20), with(ipv4(17, 100, 7, 8), 7, 185), true},
		{"options before the ports", with(ipv4(17, 100, 1, 2), 0, 0x46), with(ipv4(17, 100, 3, 4), 0, 0x46), true},
		{"ports cut off", ipv4(17, 23, 0, 0), ipv4(17, 22, 0, 0), true},
		{"IPv6", ipv6(6, 1, 2), ipv6(6, 1, 2), true},
		{"IPv6, other port", ipv6(6, 1, 2), ipv6(6, 1, 3), false},
		{"IPv6, other protocol", ipv6(6, 1, 2), ipv6(17, 1, 2), false},
		{"IPv6, other address", ipv6(6, 1, 2), with(ipv6(6, 1, 2), 24, 9), false},
		{"IPv6, last byte", ipv6(6, 1, 2), with(ipv6(6, 1, 2), 39, 9), false},
		{"IPv6 fragments", ipv6(44, 1, 2), ipv6(44, 3, 4), true},
		{"no packets", []byte{0x45}, nil, true},
	} {
		if a, b := hash(test.a, seed), hash(test.b, seed); (a == b) != test.same {
			t.Errorf("%s: %x and %x", test.name, a, b)
		}
	}
}

// TestHashSpreads sees that conversations which differ little fall far apart, and
// elsewhere with another seed.
func TestHashSpreads(t *testing.T) {
	a, b := [2]uint64{1, 2}, [2]uint64{3, 4}
	var places [flows]int
	moved := 0
	const n = 64 * flows
	for i := range n {
		p := ipv4(6, 40, uint16(i), 443)
		place := hash(p, a) % flows
		places[place]++
		if hash(p, b)%flows != place {
			moved++
		}
	}
	for place, count := range places {
		if count < 16 || count > 128 { // 64, and 6 or 8 standard deviations
			t.Errorf("%d of %d at place %d", count, n, place)
		}
	}
	if moved < n*9/10 {
		t.Errorf("only %d of %d move with the seed", moved, n)
	}
}

// FuzzHash gives it whatever may come.
func FuzzHash(f *testing.F) {
	f.Add(ipv4(6, 40, 1, 2))
	f.Add(ipv6(17, 1, 2))
	f.Fuzz(func(t *testing.T, p []byte) {
		hash(p, [2]uint64{1, 2})
		mark(p)
	})
}
