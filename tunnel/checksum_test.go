package tunnel

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// datagram returns a UDP datagram without a checksum.
func datagram(payload []byte) []byte {
	d := make([]byte, udpHeader, udpHeader+len(payload))
	binary.BigEndian.PutUint16(d, 40000)
	binary.BigEndian.PutUint16(d[2:], 53)
	binary.BigEndian.PutUint16(d[4:], uint16(udpHeader+len(payload)))
	return append(d, payload...)
}

// zeroSum changes the first two bytes of the payload of a datagram in a packet
// so that its checksum, as it stands there, is right; 0 stands for 0xffff.
func zeroSum(p []byte) []byte {
	d, addrs := udpDatagram(p)
	clear(d[udpHeader:][:2])
	pseudo := slices.Concat(addrs, []byte{0, protocolUDP, 0, 0}, d)
	binary.BigEndian.PutUint16(pseudo[len(addrs)+2:], uint16(len(d)))
	copy(d[udpHeader:], binary.BigEndian.AppendUint16(nil, ^fold(pseudo)))
	return p
}

func TestMendChecksum(t *testing.T) {
	for _, payload := range [][]byte{{0, 0}, []byte("odd"), []byte("even"), bytes.Repeat([]byte{0xff}, 1400)} {
		for name, p := range map[string][]byte{
			"IPv4":         zeroSum(ipv4(protocolUDP, 0, datagram(payload))),
			"IPv4 options": zeroSum(ipv4(protocolUDP, 8, datagram(payload))),
			"IPv6":         zeroSum(ipv6(protocolUDP, datagram(payload))),
		} {
			want := bytes.Clone(p)
			d, _ := udpDatagram(want)
			d[6], d[7] = 0xff, 0xff
			if mendChecksum(p); !bytes.Equal(p, want) {
				t.Errorf("%s, %d bytes: %x, want %x", name, len(payload), p, want)
			}
		}
	}
}

// TestMendNothing gives packets that are right as they are, or none of our
// business.
func TestMendNothing(t *testing.T) {
	good := func() []byte { return zeroSum(ipv6(protocolUDP, datagram([]byte("data")))) }
	good4 := func() []byte { return zeroSum(ipv4(protocolUDP, 0, datagram([]byte("data")))) }
	changed := func(p []byte, at int, to byte) []byte { p[at] = to; return p }
	for name, p := range map[string][]byte{
		"no checksum on purpose":     changed(good(), len(good())-1, 'b'),
		"no checksum over IPv4":      changed(good4(), len(good4())-1, 'b'),
		"with a checksum":            zeroSum(changed(good(), ipv6Header+7, 1)),
		"with the other byte of it":  zeroSum(changed(good(), ipv6Header+6, 1)),
		"another protocol":           changed(good(), 6, protocolTCP),
		"another protocol over IPv4": changed(good4(), 9, protocolTCP),
		"first fragment":             changed(good4(), 6, 0x20),
		"later fragment":             changed(good4(), 7, 1),
		"length too small":           zeroSum(changed(good(), ipv6Header+5, 10)),
		"length too large":           zeroSum(changed(good(), ipv6Header+5, 13)),
		"no header":                  ipv6(protocolUDP, make([]byte, udpHeader-1)),
		"nothing":                    ipv6(protocolUDP, nil),
		"nothing over IPv4":          ipv4(protocolUDP, 0, nil),
		"only options over IPv4":     ipv4(protocolUDP, 40, nil),
	} {
		before := bytes.Clone(p)
		if mendChecksum(p); !bytes.Equal(p, before) {
			t.Errorf("%s: %x becomes %x", name, before, p)
		}
	}
}

// TestForwardMends sees that what comes from the device is mended.
func TestForwardMends(t *testing.T) {
	sim(t, "one datagram", func(t *testing.T) {
		c := testConfig(t)
		server, client, _ := simPair(t, c, c)
		p := zeroSum(ipv6(protocolUDP, datagram([]byte("data"))))
		want := bytes.Clone(p)
		mendChecksum(want)
		client.device.in <- p
		if got := server.device.take(t); !bytes.Equal(got, want) {
			t.Errorf("%x arrived, want %x", got, want)
		}
	})
}

// FuzzMendChecksum gives any packet: nothing changes but a checksum of zero.
func FuzzMendChecksum(f *testing.F) {
	f.Add(zeroSum(ipv4(protocolUDP, 4, datagram([]byte("data")))))
	f.Add(zeroSum(ipv6(protocolUDP, datagram([]byte("odd")))))
	f.Add(ipv6(protocolUDP, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok := packetLen(b)
		if !ok {
			return
		}
		p, before := b[:n], bytes.Clone(b[:n])
		if mendChecksum(p); bytes.Equal(p, before) {
			return
		}
		d, _ := udpDatagram(p)
		was, _ := udpDatagram(before)
		if !bytes.Equal(d[6:8], []byte{0xff, 0xff}) || !bytes.Equal(was[6:8], []byte{0, 0}) {
			t.Errorf("checksum %x becomes %x", was[6:8], d[6:8])
		}
		if d[6], d[7] = 0, 0; !bytes.Equal(p, before) {
			t.Error("more than the checksum changed")
		}
	})
}
