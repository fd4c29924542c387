package tunnel

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"

	"vpnd/compress"
)

// segments returns TCP segments that are still together, as the host hands them
// over: n bytes of data in pieces of size bytes.
func segments(t testing.TB, version, n, size int) (o offload, p []byte) {
	t.Helper()
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i / 3)
	}
	o = offload{flags: flagChecksum, size: size, field: tcpChecksum}
	s := tcp(0x99, []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}, string(data)) // CWR, ACK, PSH, FIN
	binary.BigEndian.PutUint32(s[4:], 1<<32-1000)
	if version == 4 {
		o.kind, o.start, p = kindTCPv4, ipv4Header+4, ipv4(protocolTCP, 4, s)
		binary.BigEndian.PutUint16(p[4:], 0xfffe)
	} else {
		o.kind, o.start, p = kindTCPv6, ipv6Header, ipv6(protocolTCP, s)
	}
	if _, ok := o.headers(p); !ok {
		t.Fatalf("IPv%d, %d bytes in pieces of %d are no segments", version, n, size)
	}
	return o, p
}

// raw returns what the device gives.
func raw(o offload, p []byte) []byte {
	b := make([]byte, HeaderSize, HeaderSize+len(p))
	o.put(b, 0, binary.NativeEndian)
	return append(b, p...)
}

// checkSegments compares packets with what they were cut from.
func checkSegments(t *testing.T, o offload, p []byte, cut [][]byte) {
	t.Helper()
	n, _ := o.headers(p)
	data := []byte(nil)
	for i, s := range cut {
		last := i == len(cut)-1
		if length, ok := packetLen(s); !ok || length != len(s) || !last && length != n+o.size || last && length > n+o.size {
			t.Fatalf("segment %d has %d bytes", i, len(s))
		}
		if got := tcpSum(s); got != 0xffff {
			t.Errorf("segment %d: the TCP checksum is off by %x", i, got)
		}
		ip, seg, was := s[:o.start], s[o.start:], p[o.start:]
		if ip[0]>>4 == 4 {
			if sumOf(ip) != 0xffff {
				t.Errorf("segment %d: the IP checksum is wrong", i)
			}
			if id := binary.BigEndian.Uint16(p[4:]) + uint16(i); binary.BigEndian.Uint16(ip[4:]) != id {
				t.Errorf("segment %d is packet %x, want %x", i, ip[4:6], id)
			}
			ip, p := bytes.Clone(ip), bytes.Clone(p)
			copy(ip[2:6], p[2:6])
			copy(ip[10:12], p[10:12])
			if !bytes.Equal(ip, p[:o.start]) {
				t.Errorf("segment %d: more of the IP header changed", i)
			}
		} else if ip := bytes.Clone(ip); !bytes.Equal(append(append(ip[:4:4], p[4:6]...), ip[6:]...), p[:o.start]) {
			t.Errorf("segment %d: more of the IP header changed", i)
		}
		if got, want := binary.BigEndian.Uint32(seg[4:]), binary.BigEndian.Uint32(was[4:])+uint32(len(data)); got != want {
			t.Errorf("segment %d has sequence number %d, want %d", i, got, want)
		}
		flags := was[13]
		if i > 0 {
			flags &^= 0x80
		}
		if !last {
			flags &^= 0x09
		}
		if seg[13] != flags {
			t.Errorf("segment %d has flags %x, want %x", i, seg[13], flags)
		}
		if !bytes.Equal(seg[:4], was[:4]) || !bytes.Equal(seg[8:13], was[8:13]) || !bytes.Equal(seg[14:16], was[14:16]) ||
			!bytes.Equal(s[o.start+18:n], p[o.start+18:n]) {
			t.Errorf("segment %d: more of the TCP header changed", i)
		}
		data = append(data, s[n:]...)
	}
	if !bytes.Equal(data, p[n:]) {
		t.Errorf("%d bytes of data, want %d", len(data), len(p)-n)
	}
}

func TestCut(t *testing.T) {
	for _, version := range []int{4, 6} {
		for _, test := range []struct{ n, size, want int }{{1, 1000, 1}, {999, 1000, 1}, {1000, 1000, 1}, {1001, 1000, 2}, {65000, 1400, 47}, {128, 1, 128}} {
			o, p := segments(t, version, test.n, test.size)
			before := bytes.Clone(p)
			n, _ := o.headers(p)
			var cut [][]byte
			for from := n; from < len(p); from += o.size {
				s := make([]byte, n+o.size)
				cut = append(cut, s[:o.segment(s, p, n, from)])
			}
			if len(cut) != test.want {
				t.Errorf("%d segments, want %d", len(cut), test.want)
			}
			checkSegments(t, o, p, cut)
			if !bytes.Equal(p, before) {
				t.Error("what was cut has changed")
			}
		}
	}
}

// TestHeaders refuses what is not what it says.
func TestHeaders(t *testing.T) {
	for _, version := range []int{4, 6} {
		for name, change := range map[string]func(o *offload, p *[]byte){
			"nothing":              func(_ *offload, p *[]byte) { *p = nil },
			"longer than it says":  func(_ *offload, p *[]byte) { *p = append(*p, 0) },
			"shorter":              func(_ *offload, p *[]byte) { *p = (*p)[:len(*p)-1] },
			"UDP":                  func(o *offload, _ *[]byte) { o.kind = 5 },
			"the other version":    func(o *offload, _ *[]byte) { o.kind ^= kindTCPv4 ^ kindTCPv6 },
			"with ECN":             func(o *offload, _ *[]byte) { o.kind |= 0x80 },
			"no kind":              func(o *offload, _ *[]byte) { o.kind = kindNone },
			"no checksum":          func(o *offload, _ *[]byte) { o.flags = 0 },
			"another flag":         func(o *offload, _ *[]byte) { o.flags |= 2 },
			"checksum elsewhere":   func(o *offload, _ *[]byte) { o.field = 6 },
			"TCP in the IP header": func(o *offload, p *[]byte) { o.start -= 4; (*p)[o.start+12] = 0x60 },
			"TCP behind the end":   func(o *offload, p *[]byte) { o.start = len(*p) - 19 },
			"TCP far away":         func(o *offload, _ *[]byte) { o.start = 65535 },
			"TCP header too short": func(o *offload, p *[]byte) { (*p)[o.start+12] = 0x40 },
			"no segment":           func(o *offload, p *[]byte) { *p = (*p)[:o.start+32]; setLength(*p) },
			"size 0":               func(o *offload, _ *[]byte) { o.size = 0 },
			"SYN":                  func(o *offload, p *[]byte) { (*p)[o.start+13] |= tcpSYN },
		} {
			o, p := segments(t, version, 7*128+1, 8)
			change(&o, &p)
			if n, ok := o.headers(p); ok || n != 0 {
				t.Errorf("IPv%d, %s: headers of %d bytes", version, name, n)
			}
		}
	}
	// Behind an extension header, and only there.
	o, p := segments(t, 6, 3000, 1000)
	p = slices.Concat(p[:ipv6Header], []byte{protocolTCP, 0, 1, 4, 0, 0, 0, 0}, p[ipv6Header:])
	p[6], o.start = 60, o.start+8
	setLength(p)
	if n, ok := o.headers(p); !ok || n != ipv6Header+8+32 {
		t.Errorf("headers of %d bytes", n)
	}
	o, p = segments(t, 4, 3000, 1000)
	o.start += 4
	if n, ok := o.headers(p); ok {
		t.Errorf("headers of %d bytes, TCP does not begin behind those of IP", n)
	}
}

// setLength makes a packet's header say its length.
func setLength(p []byte) {
	if p[0]>>4 == 4 {
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	} else {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-ipv6Header))
	}
}

// TestFinish compares checksums with those that are made the long way.
func TestFinish(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 4, 5, 1001, 1400} {
		for name, p := range map[string][]byte{
			"IPv4":         ipv4(protocolTCP, 8, tcp(0x18, nil, string(bytes.Repeat([]byte{0xfe}, n)))),
			"IPv6":         ipv6(protocolTCP, tcp(0x18, nil, string(bytes.Repeat([]byte{7}, n)))),
			"random bytes": ipv6(protocolTCP, tcp(0x18, nil, string(udp(20+n, byte(n))))),
		} {
			want := summed(bytes.Clone(p))
			o := offload{flags: flagChecksum, start: len(p) - len(segmentOf(p)), field: tcpChecksum}
			partly(o, p)
			if !o.finish(p) || !bytes.Equal(p, want) {
				t.Errorf("%s, %d bytes: %x, want %x", name, n, p, want)
			}
			o.flags = 2 // the host found it right
			if p[o.start+16]++; !o.finish(p) || bytes.Equal(p, want) {
				t.Errorf("%s, %d bytes: changed though nothing is left to do", name, n)
			}
		}
	}
	p := ipv4(17, 0, make([]byte, 8))
	for _, o := range []offload{{flags: 1, start: 20, field: 7}, {flags: 1, start: 28}, {flags: 1, start: 65535, field: 65535}} {
		if o.finish(bytes.Clone(p)) {
			t.Errorf("%+v lies in %d bytes", o, len(p))
		}
	}
	if o := (offload{flags: 1, start: 20, field: 6}); !o.finish(p) {
		t.Error("the last two bytes do not lie in it")
	}
}

// partly leaves the checksum to the device, as the host does: the sum of addresses,
// protocol and length stands in its place.
func partly(o offload, p []byte) {
	n := len(p) - o.start
	pseudo := binary.BigEndian.AppendUint16(bytes.Clone(addresses(p)), uint16(n))
	protocol := p[6]
	if p[0]>>4 == 4 {
		protocol = p[9]
	}
	binary.BigEndian.PutUint16(p[o.start+o.field:], sumOf(append(pseudo, 0, protocol)))
}

// TestZeroChecksum sends a datagram whose checksum comes out as 0, which would say
// that it has none, and over IPv6 be dropped (RFC 768, RFC 8200, 8.1).
func TestZeroChecksum(t *testing.T) {
	sim(t, "one datagram", func(t *testing.T) {
		c := testConfig(t)
		server, client, _ := simPair(t, c, c)
		o := offload{flags: flagChecksum, start: ipv6Header, field: 6}
		p := ipv6(17, make([]byte, 8+2))
		partly(o, p)
		binary.BigEndian.PutUint16(p[ipv6Header+8:], ^sumOf(p[ipv6Header:]))
		client.device.raw <- raw(o, p)
		if got := server.device.take(t)[ipv6Header:]; !bytes.Equal(got[6:8], []byte{0xff, 0xff}) {
			t.Errorf("datagram with checksum %x", got[6:8])
		}
	})
}

// TestSegments sends them over a link, whole where the peer and the line take
// them, and cut where not.
func TestSegments(t *testing.T) {
	for _, test := range []struct {
		name       string
		n, size    int
		mtu        int // of the peer
		whole, cut int
	}{
		{"many", 60000, 1400, 1500, 1, 0},
		{"few", 2800, 1400, 1500, 1, 0},
		{"as long as the host makes them", compress.MaxBlock - HeaderSize - 56, 1400, 1500, 1, 0},
		{"one byte more", compress.MaxBlock - HeaderSize - 55, 1400, 1500, 0, 47},
		{"as many as the peer cuts", 12800, 100, 1500, 1, 0},
		{"one more", 12801, 100, 1500, 0, 129},
		{"as large as the link takes", 2 * 1444, 1444, 1500, 1, 0},
		{"larger than it takes", 2 * 1445, 1445, 1500, 0, 0},
	} {
		sim(t, test.name, func(t *testing.T) {
			c := testConfig(t)
			c.MTU = 1500
			server, client, _ := simPair(t, c, c)
			o, p := segments(t, 4, test.n, test.size)
			client.device.raw <- raw(o, p)
			var got [][]byte
			if test.whole+test.cut > 0 {
				for range (test.n + test.size - 1) / test.size {
					got = append(got, server.device.take(t))
				}
				checkSegments(t, o, p, got)
			}
			synctest.Wait()
			in, out := server.Stats(), client.Stats()
			if n := out.Wire.PacketsOut; n != uint64(test.whole+test.cut) || in.Wire.PacketsIn != n {
				t.Errorf("%d sent, %d came", n, in.Wire.PacketsIn)
			}
			if test.whole+test.cut == 0 && out.DropsOut["too_long"] != 2 {
				t.Errorf("drops are %v", out.DropsOut)
			}
			conserved(t, server)
			conserved(t, client)
		})
	}
	sim(t, "in their order", func(t *testing.T) {
		c := testConfig(t)
		server, client, _ := simPair(t, c, c)
		o, p := segments(t, 6, 2000, 1000)
		first := bytes.Clone(p)
		client.device.raw <- raw(offload{}, udp(100, 1))
		client.device.raw <- raw(o, p)
		client.device.raw <- raw(offload{}, udp(200, 1))
		var stream, datagrams []int // flows pass each other
		for range 4 {
			if p := server.device.take(t); p[0]>>4 == 6 {
				stream = append(stream, int(binary.BigEndian.Uint32(p[ipv6Header+4:])-binary.BigEndian.Uint32(first[ipv6Header+4:])))
			} else {
				datagrams = append(datagrams, len(p))
			}
		}
		if !slices.Equal(stream, []int{0, 1000}) || !slices.Equal(datagrams, []int{100, 200}) {
			t.Errorf("stream at %v, datagrams of %v bytes", stream, datagrams)
		}
	})
	sim(t, "small frames", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		c.Servers = []Dial{r.dial}
		e := start(t, c)
		p := puppetServer(t, r, c, func(a *answer) { a.terms.maxFrame = 2000 })
		await(t, e.up, "link")
		o, s := segments(t, 6, 2000, 1000)
		e.device.raw <- raw(o, s)
		p.expect(frameBatch)
		p.drain()
	})
	sim(t, "malformed", func(t *testing.T) {
		c := testConfig(t)
		server, client, _ := simPair(t, c, c)
		o, p := segments(t, 6, 2000, 1000)
		o.kind = 5
		client.device.raw <- raw(o, p)
		client.device.raw <- nil
		client.device.raw <- raw(offload{flags: 1, start: 65535}, udp(100, 1))
		synctest.Wait()
		if n := client.Stats().DropsOut["malformed"]; n != 3 {
			t.Errorf("%d were malformed", n)
		}
		passes(t, server, client)
		conserved(t, client)
	})
}

// TestDeliverWhole gives an end what a peer with the right keys may send.
func TestDeliverWhole(t *testing.T) {
	o, p := segments(t, 6, 3000, 1000)
	redirect := ipv6(0, slices.Concat([]byte{58, 0, 1, 4, 0, 0, 0, 0, lastDiscovery}, make([]byte, 100)))
	redirect[ipv6Header+20] = 0x50 // as a TCP header's length
	good, other := raw(o, p), o
	n, _ := o.headers(p)
	o.put(good, n, binary.NativeEndian)
	other.kind = 5
	for _, test := range []struct {
		name  string
		block []byte
		err   error
		drop  string
	}{
		{"good", wired(o, p), nil, ""},
		{"nothing", nil, nil, "malformed"},
		{"less than its header", make([]byte, HeaderSize-1), nil, "malformed"},
		{"only its header", make([]byte, HeaderSize), nil, "malformed"},
		{"plain packet", wired(offload{}, p), nil, "malformed"},
		{"another kind of segments", wired(other, p), nil, "malformed"},
		{"more than this host is to cut", wired(offload{1, kindTCPv6, 3000/128 - 1, ipv6Header, 16}, p), nil, "malformed"},
		{"a redirect that looks like TCP", wired(offload{flags: 1, kind: kindTCPv6, size: 1, start: ipv6Header + 8, field: 16}, redirect), nil, "discovery"},
		{"refused by the host", wired(o, p), errTest, "device_write"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var count counters
			d := &wholeDevice{fakeDevice: newFakeDevice(), err: test.err}
			newDeliverer(d, &count).deliverWhole(test.block)
			s := count.snapshot()
			if test.drop != "" && (s.DropsIn[test.drop] != 1 || s.Inside.PacketsOut != 0) || s.Wire.PacketsIn != 1 {
				t.Errorf("counted %+v", s)
			}
			if test.drop == "" && (s.Inside.PacketsOut != 1 || s.Inside.BytesOut != uint64(len(p)) || !bytes.Equal(d.wrote, good)) {
				t.Errorf("counted %+v, wrote %x", s, d.wrote)
			}
		})
	}
}

// wired returns a block as it stands on the wire.
func wired(o offload, p []byte) []byte {
	b := make([]byte, HeaderSize, HeaderSize+len(p))
	o.put(b, 0, binary.LittleEndian)
	return append(b, p...)
}

// wholeDevice keeps the last packet that was written whole.
type wholeDevice struct {
	*fakeDevice
	wrote []byte
	err   error
}

func (d *wholeDevice) WriteWhole(b []byte) error {
	d.wrote = bytes.Clone(b)
	return d.err
}

// FuzzSegments takes any block as if a peer or the host had sent it. What is
// accepted is well-formed, stays what it was, and can be cut.
func FuzzSegments(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(wired(offload{}, udp(100, 1)))
	for _, version := range []int{4, 6} {
		o, p := segments(f, version, 3000, 1000)
		f.Add(wired(o, p))
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		var count counters
		device := &scale{t: t}
		(&deliverer{device: device, count: &count, tray: &tray{}}).deliverWhole(bytes.Clone(block))
		s := count.snapshot()
		if s.Wire.PacketsIn != 1 || int(s.Inside.PacketsOut) != device.packets || s.Inside.PacketsOut+s.DropsIn["malformed"]+s.DropsIn["discovery"] != 1 {
			t.Errorf("counted %+v", s)
		}
		if len(block) < HeaderSize {
			return
		}
		o, p := parseOffload(block, binary.LittleEndian), block[HeaderSize:]
		o.finish(bytes.Clone(p))
		n, ok := o.headers(p)
		if !ok || o.many(p, n) {
			return
		}
		var cut [][]byte
		for from := n; from < len(p); from += o.size {
			s := make([]byte, n+o.size)
			cut = append(cut, s[:o.segment(s, p, n, from)])
		}
		if len(cut) > maxSegments {
			t.Errorf("%d segments", len(cut))
		}
		if o.start == ipv6Header || o.kind == kindTCPv4 {
			checkSegments(t, o, p, cut)
		}
	})
}
