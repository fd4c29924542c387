package tunnel

import (
	"slices"
	"testing"
)

// extension is an IPv6 extension header of 8 bytes, or more.
func extension(next byte, more int) []byte {
	b := make([]byte, 8+8*more)
	b[0], b[1] = next, byte(more)
	return b
}

func TestIsLocal(t *testing.T) {
	fragment := func(offset uint16) []byte {
		b := extension(protocolICMPv6, 0)
		b[2], b[3] = byte(offset>>8), byte(offset)|1
		return b
	}
	later := ipv4(protocolICMP, 0, []byte{icmpRedirect, 1})
	later[7] = 1
	many := slices.Repeat(extension(60, 0), maxExtensions)
	advertisement := []byte{134, 0, 0, 0}
	for _, test := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"echo", ipv4(protocolICMP, 0, []byte{8, 0}), false},
		{"redirect", ipv4(protocolICMP, 0, []byte{icmpRedirect, 1}), true},
		{"redirect behind options", ipv4(protocolICMP, 40, []byte{icmpRedirect, 1}), true},
		{"UDP", ipv4(17, 0, []byte{icmpRedirect, 1}), false},
		{"later fragment", later, false},
		{"ICMP without a message", ipv4(protocolICMP, 0, nil), false},
		{"packet too big", ipv6(protocolICMPv6, []byte{2, 0}), false},
		{"echo, IPv6", ipv6(protocolICMPv6, []byte{128, 0}), false},
		{"before the first", ipv6(protocolICMPv6, []byte{132}), false},
		{"router solicitation", ipv6(protocolICMPv6, []byte{133}), true},
		{"router advertisement", ipv6(protocolICMPv6, advertisement), true},
		{"redirect, IPv6", ipv6(protocolICMPv6, []byte{137}), true},
		{"behind the last", ipv6(protocolICMPv6, []byte{138}), false},
		{"ICMPv6 without a message", ipv6(protocolICMPv6, nil), false},
		{"UDP, IPv6", ipv6(17, advertisement), false},
		{"behind options", ipv6(0, append(extension(60, 0), append(extension(protocolICMPv6, 3), advertisement...)...)), true},
		{"behind routing", ipv6(43, append(extension(protocolICMPv6, 0), advertisement...)), true},
		{"behind authentication", ipv6(51, append([]byte{protocolICMPv6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, advertisement...)), true},
		{"echo behind options", ipv6(60, append(extension(protocolICMPv6, 0), 128)), false},
		{"first fragment", ipv6(44, append(fragment(0), advertisement...)), true},
		{"second fragment", ipv6(44, append(fragment(8), advertisement...)), false},
		{"extension that is cut off", ipv6(60, extension(protocolICMPv6, 3)[:16]), false},
		{"extension without a length", ipv6(60, make([]byte, 7)), false},
		{"nothing behind options", ipv6(60, extension(protocolICMPv6, 0)), false},
		{"behind the most extensions", ipv6(60, append(append(many[8:], extension(protocolICMPv6, 0)...), advertisement...)), true},
		{"echo behind too many", ipv6(60, append(append(many, extension(protocolICMPv6, 0)...), 128)), true},
	} {
		if got := isLocal(test.packet); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// FuzzIsLocal looks at any packet.
func FuzzIsLocal(f *testing.F) {
	f.Add(ipv6(0, append(extension(60, 0), append(extension(protocolICMPv6, 3), 134)...)))
	f.Add(ipv4(protocolICMP, 40, []byte{icmpRedirect, 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok := packetLen(b)
		if ok && isLocal(b[:n]) && b[0]>>4 == 6 && b[6] == 17 {
			t.Errorf("UDP is taken for discovery: %x", b[:n])
		}
	})
}
