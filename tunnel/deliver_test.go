package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
)

// pickyDevice refuses packets as a TUN device does: one error for each, joined.
type pickyDevice struct {
	*fakeDevice
	batch  int
	writes []int // packets in each write
	err    error // of every write
	wrote  int   // bytes of a write that failed
}

func (d *pickyDevice) BatchSize() int { return d.batch }

func (d *pickyDevice) Write(bufs [][]byte, offset int) (int, error) {
	if offset != headroom {
		panic(fmt.Sprintf("offset %d", offset))
	}
	for _, b := range bufs {
		if cap(b) < headroom+65535 {
			panic("no room to join segments")
		}
	}
	d.writes = append(d.writes, len(bufs))
	if d.err != nil {
		return d.wrote, d.err
	}
	return d.fakeDevice.Write(bufs, offset)
}

func TestDeliver(t *testing.T) {
	five := bytes.Repeat(udp(50, 1), 5)
	for _, test := range []struct {
		name     string
		block    []byte
		err      error
		wrote    int
		writes   []int
		refused  uint64
		bytesOut uint64
	}{
		{"nothing", nil, nil, 0, nil, 0, 0},
		{"one", udp(50, 1), nil, 0, []int{1}, 0, 50},
		{"as many as a write takes", five[:4*50], nil, 0, []int{4}, 0, 200},
		{"one more", five, nil, 0, []int{4, 1}, 0, 250},
		{"one refused", five, errors.Join(errTest), 1, []int{4, 1}, 2, 0},
		{"two refused", five[:4*50], errors.Join(errTest, errTest), 1, []int{4}, 2, 0},
		{"three refused, one after the other", five[:4*50], errors.Join(errors.Join(errors.Join(errTest), errTest), errTest), 1, []int{4}, 3, 0},
		{"all refused, joined to segments", five[:4*50], errors.Join(errTest), 0, []int{4}, 4, 0},
		{"wrapped", five[:4*50], fmt.Errorf("write: %w", errTest), 1, []int{4}, 4, 0},
		{"more errors than packets", five[:50], errors.Join(errTest, errTest, errTest), 1, []int{1}, 1, 0},
		{"closed", five, os.ErrClosed, 1, []int{4, 1}, 5, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var count counters
			d := &pickyDevice{fakeDevice: newFakeDevice(), batch: 4, err: test.err, wrote: test.wrote}
			newDeliverer(d, &count).deliver(test.block, 0)
			if !slices.Equal(d.writes, test.writes) {
				t.Errorf("writes of %v packets, want %v", d.writes, test.writes)
			}
			s := count.snapshot()
			packets := uint64(len(test.block) / 50)
			if s.Wire.PacketsIn != packets || s.DropsIn["device_write"] != test.refused ||
				s.Inside.PacketsOut != packets-test.refused || s.Inside.BytesOut != test.bytesOut {
				t.Errorf("counted %+v", s)
			}
			for test.err == nil && len(test.block) > 0 {
				if got := d.take(t); !bytes.Equal(got, test.block[:50]) {
					t.Errorf("packet is %x", got)
				}
				test.block = test.block[50:]
			}
		})
	}
}

// TestDiscard counts what is too late, without the device.
func TestDiscard(t *testing.T) {
	for name, test := range map[string]struct {
		block          []byte
		old, malformed uint64
	}{
		"nothing": {nil, 0, 0},
		"three":   {bytes.Repeat(udp(50, 1), 3), 3, 0},
		"garbage": {append(bytes.Repeat(udp(50, 1), 2), 1, 2, 3), 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var count counters
			device := newFakeDevice()
			newDeliverer(device, &count).discard(test.block)
			s := count.snapshot()
			if s.DropsIn["too_old"] != test.old || s.DropsIn["malformed"] != test.malformed || s.Wire.PacketsIn != test.old+test.malformed {
				t.Errorf("counted %+v", s)
			}
			if len(device.out) > 0 {
				t.Error("written")
			}
		})
	}
}

// TestNoDiscovery has the peer advertise itself as a router, between other packets.
func TestNoDiscovery(t *testing.T) {
	var count counters
	d := newFakeDevice()
	advertisement := ipv6(protocolICMPv6, []byte{134, 0, 0, 0, 64, 0, 0, 30})
	newDeliverer(d, &count).deliver(slices.Concat(udp(50, 1), advertisement, udp(60, 2)), 0)
	if a, b := d.take(t), d.take(t); !bytes.Equal(a, udp(50, 1)) || !bytes.Equal(b, udp(60, 2)) {
		t.Errorf("packets are %x and %x", a, b)
	}
	if s := count.snapshot(); s.DropsIn["discovery"] != 1 || s.Wire.PacketsIn != 3 || s.Inside.PacketsOut != 2 {
		t.Errorf("counted %+v", s)
	}
}

// FuzzDeliver splits any block: what comes out is the packets that it begins with,
// all but those that are for neighbours, and each is counted. What is too late is
// counted likewise.
func FuzzDeliver(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add(slices.Concat(udp(50, 1), ipv6(17, make([]byte, 9)), udp(20, 1)), uint16(0))
	f.Add(append(udp(50, 1), udp(50, 1)[:49]...), uint16(1400))
	f.Add(ipv4(protocolTCP, 0, tcp(syn, mss(1460), "")), uint16(1400))
	f.Add(append(bytes.Repeat(udp(20, 1), 9), 0), uint16(0))
	slots := newStudio(false).slots
	f.Fuzz(func(t *testing.T, block []byte, clamp uint16) {
		device := &scale{t: t}
		var count, late counters
		d := &deliverer{device: device, count: &count, tray: &tray{slots: slots}}
		d.deliver(block, int(clamp))
		all, rest := device.taken, block
		var want []byte
		var local uint64
		for n, ok := packetLen(rest); ok; n, ok = packetLen(rest) {
			if isLocal(rest[:n]) {
				local++
			} else {
				want = append(want, rest[:n]...)
			}
			rest = rest[n:]
		}
		if clamp == 0 && !bytes.Equal(all, want) || len(all) != len(want) {
			t.Fatalf("%x came out of %x", all, block)
		}
		var malformed uint64
		if len(rest) > 0 {
			malformed = 1
		}
		s := count.snapshot()
		if s.Wire.PacketsIn != s.Inside.PacketsOut+malformed+local || s.DropsIn["discovery"] != local || s.DropsIn["malformed"] != malformed ||
			int(s.Inside.PacketsOut) != device.packets || s.Inside.BytesOut != uint64(len(all)) {
			t.Errorf("counted %+v", s)
		}
		d.count = &late
		d.discard(block)
		if l := late.snapshot(); l.Wire != s.Wire || l.DropsIn["malformed"] != malformed || l.DropsIn["too_old"] != s.Inside.PacketsOut+local {
			t.Errorf("too late: counted %+v, in time %+v", l, s)
		}
	})
}
