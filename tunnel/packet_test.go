package tunnel

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// ipv4 returns an IPv4 packet with the payload, and options of the length.
func ipv4(protocol byte, options int, payload []byte) []byte {
	header := ipv4Header + options
	p := make([]byte, header, header+len(payload))
	p[0] = 0x40 | byte(header/4)
	p[8], p[9] = 64, protocol
	copy(p[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	p = append(p, payload...)
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	return p
}

// ipv6 returns an IPv6 packet with the payload.
func ipv6(next byte, payload []byte) []byte {
	p := make([]byte, ipv6Header, ipv6Header+len(payload))
	p[0], p[6], p[7] = 0x60, next, 64
	p[8], p[23], p[24], p[39] = 0xfd, 1, 0xfd, 2
	binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	return append(p, payload...)
}

// tcp returns a TCP segment with the flags, options and data, and without a
// checksum. The options are padded with end-of-options.
func tcp(flags byte, options []byte, data string) []byte {
	length := tcpHeader + (len(options)+3)/4*4
	s := make([]byte, length)
	binary.BigEndian.PutUint16(s, 40000)
	binary.BigEndian.PutUint16(s[2:], 443)
	s[12], s[13] = byte(length/4)<<4, flags
	copy(s[tcpHeader:], options)
	return append(s, data...)
}

// summed puts the right TCP checksum into a packet.
func summed(p []byte) []byte {
	s := segmentOf(p)
	binary.BigEndian.PutUint16(s[16:], 0)
	binary.BigEndian.PutUint16(s[16:], ^tcpSum(p))
	return p
}

func segmentOf(p []byte) []byte {
	if p[0]>>4 == 4 {
		return p[int(p[0]&15)*4:]
	}
	return p[ipv6Header:]
}

// tcpSum adds up pseudo header and segment as RFC 9293 says, the long way.
func tcpSum(p []byte) uint16 {
	s := segmentOf(p)
	pseudo := slices.Clone(p[8:40:40])
	if p[0]>>4 == 4 {
		pseudo = slices.Clone(p[12:20:20])
	}
	pseudo = append(pseudo, 0, protocolTCP)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(s)))
	return sumOf(pseudo, s)
}

// sumOf is the ones' complement sum of 16-bit words.
func sumOf(parts ...[]byte) uint16 {
	sum := uint64(0)
	for _, b := range parts {
		for i, v := range b {
			sum += uint64(v) << (8 * (1 - i%2))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func TestPacketLen(t *testing.T) {
	v4, v6 := ipv4(17, 0, make([]byte, 10)), ipv6(17, make([]byte, 10))
	with := func(p []byte, at int, values ...byte) []byte {
		p = bytes.Clone(p)
		copy(p[at:], values)
		return p
	}
	for _, test := range []struct {
		name string
		in   []byte
		want int // 0: no packet
	}{
		{"empty", nil, 0},
		{"one byte", []byte{0x45}, 0},
		{"19 bytes", with(v4, 2, 0, 19)[:19], 0},
		{"IPv4", v4, 30},
		{"IPv4 and more", append(bytes.Clone(v4), v6...), 30},
		{"IPv4, header only", ipv4(17, 0, nil), 20},
		{"IPv4, cut off", v4[:29], 0},
		{"IPv4, length less than header", with(v4, 2, 0, 19), 0},
		{"IPv4, length 0", with(v4, 2, 0, 0), 0},
		{"IPv4, length of 64 KiB", with(v4, 2, 0xff, 0xff), 0},
		{"IPv4, header of 16 bytes", with(v4, 0, 0x44), 0},
		{"IPv4, header of no bytes", with(v4, 0, 0x40), 0},
		{"IPv4, options", ipv4(17, 40, make([]byte, 10)), 70},
		{"IPv4, options beyond its length", with(v4, 0, 0x4f), 0},
		{"IPv6", v6, 50},
		{"IPv6 and more", append(bytes.Clone(v6), v4...), 50},
		{"IPv6, header only", ipv6(59, nil), 40},
		{"IPv6, cut off", v6[:49], 0},
		{"IPv6, header cut off", v6[:39], 0},
		{"IPv6, length of 64 KiB", with(v6, 4, 0xff, 0xff), 0},
		{"version 0", with(v4, 0, 0x05), 0},
		{"version 5", with(v4, 0, 0x55), 0},
		{"version 7", with(v6, 0, 0x70), 0},
		{"version 15", with(v6, 0, 0xff), 0},
		{"longest", ipv4(17, 0, make([]byte, 65515)), 65535},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, ok := packetLen(test.in)
			if ok != (test.want > 0) || ok && n != test.want {
				t.Errorf("length %d, %v, want %d", n, ok, test.want)
			}
		})
	}
}

// FuzzPacketLen compares with what RFC 791 and RFC 8200 say, the long way.
func FuzzPacketLen(f *testing.F) {
	f.Add([]byte{})
	f.Add(ipv4(17, 0, make([]byte, 10)))
	f.Add(ipv4(17, 40, nil))
	f.Add(ipv6(17, make([]byte, 10)))
	f.Fuzz(func(t *testing.T, b []byte) {
		want := -1
		switch {
		case len(b) >= 20 && b[0] >= 0x45 && b[0] <= 0x4f:
			if n := int(b[2])<<8 + int(b[3]); n >= int(b[0]-0x40)*4 {
				want = n
			}
		case len(b) >= 40 && b[0] >= 0x60 && b[0] <= 0x6f:
			want = 40 + int(b[4])<<8 + int(b[5])
		}
		if n, ok := packetLen(b); ok != (want > 0 && want <= len(b)) || ok && n != want {
			t.Errorf("length %d, %v of %x, want %d", n, ok, b, want)
		}
	})
}

// mss is the option that announces a maximum segment size.
func mss(n uint16) []byte { return []byte{2, 4, byte(n >> 8), byte(n)} }

const (
	syn = 0x02
	ack = 0x10
)

// clampTests announce 1460 in all sorts of ways, for a path of 1400 bytes.
var clampTests = []struct {
	name    string
	segment []byte
	clamped bool // to 1360 with IPv4, 1340 with IPv6
}{
	{"SYN", tcp(syn, mss(1460), ""), true},
	{"SYN and ACK", tcp(syn|ack, mss(1460), ""), true},
	{"SYN with data", tcp(syn, mss(1460), "odd"), true},
	{"behind one no-op", tcp(syn, slices.Concat([]byte{1}, mss(1460)), ""), true},
	{"behind three no-ops", tcp(syn, slices.Concat([]byte{1, 1, 1}, mss(1460)), ""), true},
	{"behind window scale", tcp(syn, slices.Concat([]byte{3, 3, 7}, mss(1460)), "x"), true},
	{"behind timestamps", tcp(syn, slices.Concat([]byte{8, 10, 1, 2, 3, 4, 5, 6, 7, 8}, mss(1460)), ""), true},
	{"before others", tcp(syn, slices.Concat(mss(1460), []byte{4, 2, 1, 3, 3, 7}), ""), true},
	{"last of 40 bytes", tcp(syn, slices.Concat(bytes.Repeat([]byte{1}, 36), mss(1460)), ""), true},
	{"largest", tcp(syn, mss(65535), ""), true},
	{"one more than fits", tcp(syn, mss(1361), ""), true},

	{"fits", tcp(syn, mss(1340), ""), false},
	{"small", tcp(syn, mss(536), ""), false},
	{"zero", tcp(syn, mss(0), ""), false},
	{"no SYN", tcp(ack, mss(1460), ""), false},
	{"RST and FIN", tcp(0x05, mss(1460), ""), false},
	{"no options", tcp(syn, nil, "data"), false},
	{"no options, no data", tcp(syn, nil, ""), false},
	{"only no-ops", tcp(syn, []byte{1, 1, 1, 1}, ""), false},
	{"looks like it, in the data", tcp(syn, nil, "\x02\x04\x05\xb4"), false},
	{"behind the end of options", tcp(syn, slices.Concat([]byte{0}, mss(1460)), ""), false},
	{"behind the end of options, which has a length", tcp(syn, slices.Concat([]byte{0, 2}, mss(1460)), ""), false},
	{"option of length 0", tcp(syn, slices.Concat([]byte{9, 0, 1, 1}, mss(1460)), ""), false},
	{"option of length 1", tcp(syn, slices.Concat([]byte{9, 1}, mss(1460)), ""), false},
	{"option beyond the end", tcp(syn, slices.Concat([]byte{9, 30}, mss(1460)), ""), false},
	{"kind without length", tcp(syn, slices.Concat(bytes.Repeat([]byte{1}, 39), []byte{2}), ""), false},
	{"cut off by the header", tcp(syn, slices.Concat(bytes.Repeat([]byte{1}, 38), []byte{2, 4}), "\x05\xb4"), false},
	{"length 3", tcp(syn, []byte{2, 3, 0xff}, ""), false},
	{"length 6", tcp(syn, []byte{2, 6, 5, 0xb4, 5, 0xb4}, ""), false},
	{"header of 16 bytes", withByte(tcp(syn, mss(1460), ""), 12, 0x40), false},
	{"header of no bytes", withByte(tcp(syn, mss(1460), ""), 12, 0), false},
	{"header beyond the segment", withByte(tcp(syn, slices.Concat([]byte{9, 16}, mss(1460)), ""), 12, 0xf0), false},
}

func withByte(b []byte, at int, v byte) []byte {
	b = bytes.Clone(b)
	b[at] = v
	return b
}

func TestClampMSS(t *testing.T) {
	for _, test := range clampTests {
		for name, packet := range map[string]struct {
			p    []byte
			most uint16
		}{
			"IPv4":              {ipv4(protocolTCP, 0, test.segment), 1360},
			"IPv4 with options": {ipv4(protocolTCP, 8, test.segment), 1360},
			"IPv6":              {ipv6(protocolTCP, test.segment), 1340},
		} {
			t.Run(test.name+" "+name, func(t *testing.T) {
				p := summed(packet.p)
				want := bytes.Clone(p)
				if test.clamped {
					// The long way: find the option, change it, sum up again.
					s := segmentOf(want)
					at := tcpHeader + bytes.Index(s[tcpHeader:], []byte{2, 4})
					binary.BigEndian.PutUint16(s[at+2:], packet.most)
					want = summed(want)
				}
				clampMSS(p, 1400)
				if !bytes.Equal(p, want) {
					t.Errorf("packet is\n%x, want\n%x", p, want)
				}
				if sum := tcpSum(p); sum != 0xffff {
					t.Errorf("sum is %04x", sum)
				}
			})
		}
	}
}

// TestClampOthers passes what is no SYN of TCP.
func TestClampOthers(t *testing.T) {
	s := tcp(syn, mss(1460), "")
	fragment := func(offset uint16) []byte {
		p := ipv4(protocolTCP, 0, s)
		binary.BigEndian.PutUint16(p[6:], offset)
		return p
	}
	for name, p := range map[string][]byte{
		"UDP":                           ipv4(17, 0, s),
		"UDP on IPv6":                   ipv6(17, s),
		"second fragment":               fragment(1),
		"last fragment of many":         fragment(0x1fff),
		"no room for a header":          ipv4(protocolTCP, 0, s[:tcpHeader-1]),
		"no room for a header on IPv6":  ipv6(protocolTCP, s[:tcpHeader-1]),
		"no segment":                    ipv4(protocolTCP, 40, nil),
		"no segment on IPv6":            ipv6(protocolTCP, nil),
		"SYN behind an extension":       ipv6(0, s),
		"options cut off by the packet": ipv4(protocolTCP, 0, s[:tcpHeader+3]),
	} {
		t.Run(name, func(t *testing.T) {
			want := bytes.Clone(p)
			clampMSS(p, 1400)
			if !bytes.Equal(p, want) {
				t.Errorf("packet is\n%x, want\n%x", p, want)
			}
		})
	}
	t.Run("first fragment", func(t *testing.T) {
		p := fragment(0x2000)
		summed(p)
		clampMSS(p, 1400)
		if got := binary.BigEndian.Uint16(p[ipv4Header+tcpHeader+2:]); got != 1360 || tcpSum(p) != 0xffff {
			t.Errorf("mss is %d, sum %04x", got, tcpSum(p))
		}
	})
	t.Run("tiny mtu", func(t *testing.T) {
		for mtu := range 60 {
			for _, p := range [][]byte{summed(ipv4(protocolTCP, 0, s)), summed(ipv6(protocolTCP, s))} {
				clampMSS(p, mtu)
				if tcpSum(p) != 0xffff {
					t.Errorf("mtu %d: sum is %04x", mtu, tcpSum(p))
				}
			}
		}
	})
}

// TestClampAllSums changes every value to every other's checksum: the sum comes
// out right whatever carries there are.
func TestClampAllSums(t *testing.T) {
	for _, odd := range []bool{false, true} {
		options := mss(0)
		at := tcpHeader + 2
		if odd {
			options = slices.Concat([]byte{1}, options)
			at++
		}
		p := ipv4(protocolTCP, 0, tcp(syn, options, ""))
		s := segmentOf(p)
		for have := 0; have <= 0xffff; have += 7 {
			for _, mtu := range []int{41, 296, 576, 1280, 1400, 1492, 0x1234} {
				binary.BigEndian.PutUint16(s[at:], uint16(have))
				summed(p)
				clampMSS(p, mtu)
				if got := int(binary.BigEndian.Uint16(s[at:])); got != min(have, mtu-40) || tcpSum(p) != 0xffff {
					t.Fatalf("odd %v, %d for mtu %d: mss is %d, sum %04x", odd, have, mtu, got, tcpSum(p))
				}
			}
		}
	}
}

// TestClampAnyChecksum has every checksum, right or wrong: a wrong one is not
// made right.
func TestClampAnyChecksum(t *testing.T) {
	for _, options := range [][]byte{mss(0x0600), append([]byte{1}, mss(0x0600)...)} {
		p := ipv4(protocolTCP, 0, tcp(syn, options, ""))
		s := segmentOf(p)
		clean := bytes.Clone(s)
		for sum := range 1 << 16 {
			copy(s, clean)
			binary.BigEndian.PutUint16(s[16:], uint16(sum))
			want := sumOf(s) % 0xffff
			clampMSS(p, 1500) // to 0x05b4
			if got := sumOf(s) % 0xffff; got != want {
				t.Fatalf("checksum %04x: sum is %04x, want %04x", sum, got, want)
			}
		}
	}
}

// FuzzClampMSS gives any packet: the sum stays what it was, and nothing changes
// but one value that becomes smaller.
func FuzzClampMSS(f *testing.F) {
	for _, test := range clampTests {
		f.Add(ipv4(protocolTCP, 0, test.segment), uint16(1400))
		f.Add(ipv4(protocolTCP, 12, test.segment), uint16(576))
		f.Add(ipv6(protocolTCP, test.segment), uint16(1280))
	}
	f.Fuzz(func(t *testing.T, b []byte, mtu uint16) {
		n, ok := packetLen(b)
		if !ok {
			return
		}
		p := b[:n]
		before := bytes.Clone(p)
		clampMSS(p, int(mtu))
		if bytes.Equal(p, before) {
			return
		}
		s, was := segmentOf(p), segmentOf(before)
		if !bytes.Equal(p[:n-len(s)], before[:n-len(s)]) {
			t.Error("IP header changed")
		}
		if got, want := sumOf(s)%0xffff, sumOf(was)%0xffff; got != want {
			t.Errorf("sum is %04x, want %04x", got, want)
		}
		binary.BigEndian.PutUint16(s[16:], binary.BigEndian.Uint16(was[16:]))
		at := tcpHeader
		for s[at] == was[at] {
			at++
		}
		if !bytes.HasSuffix(s[:at], []byte{2, 4}) {
			at-- // only the low byte differs
		}
		got, old := binary.BigEndian.Uint16(s[at:]), binary.BigEndian.Uint16(was[at:])
		if !bytes.HasSuffix(s[:at], []byte{2, 4}) || got >= old || got >= mtu || s[13]&syn == 0 {
			t.Fatalf("at %d: %d became %d", at, old, got)
		}
		copy(s[at:], was[at:at+2])
		if !bytes.Equal(s, was) {
			t.Errorf("segment changed elsewhere:\n%x, was\n%x", s, was)
		}
	})
}
