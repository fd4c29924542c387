package queue

import "testing"

func TestUrgent(t *testing.T) {
	tcp4 := func(size int, flags byte) []byte {
		p := ipv4(6, size, 1, 2)
		p[32], p[33] = 8<<4, flags
		return p
	}
	tcp6 := func(size int, flags byte) []byte {
		p := make([]byte, size)
		p[0], p[6], p[52], p[53] = 0x60, 6, 5<<4, flags
		return p
	}
	for _, test := range []struct {
		name string
		p    []byte
		want bool
	}{
		{"acknowledgement", tcp4(52, 0x10), false},
		{"acknowledgement, IPv6", tcp6(60, 0x10), false},
		{"acknowledgement with ECN", tcp4(52, 0x50), false},
		{"data", tcp4(53, 0x10), true},
		{"data, IPv6", tcp6(61, 0x10), true},
		{"SYN", tcp4(52, 0x12), true},
		{"FIN", tcp4(52, 0x11), true},
		{"RST", tcp4(52, 0x14), true},
		{"PSH", tcp4(52, 0x18), true},
		{"UDP", ipv4(17, 52, 1, 2), true},
		{"cut off", tcp4(39, 0x10), true},
		{"cut off, IPv6", tcp6(59, 0x10), true},
		{"nothing", nil, true},
	} {
		if got := urgent(test.p); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
