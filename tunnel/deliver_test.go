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
		return 0, d.err
	}
	return d.fakeDevice.Write(bufs, offset)
}

func TestDeliver(t *testing.T) {
	five := bytes.Repeat(udp(50, 1), 5)
	for _, test := range []struct {
		name     string
		block    []byte
		err      error
		writes   []int
		refused  uint64
		bytesOut uint64
	}{
		{"nothing", nil, nil, nil, 0, 0},
		{"one", udp(50, 1), nil, []int{1}, 0, 50},
		{"as many as a write takes", five[:4*50], nil, []int{4}, 0, 200},
		{"one more", five, nil, []int{4, 1}, 0, 250},
		{"one refused", five, errors.Join(errTest), []int{4, 1}, 2, 0},
		{"two refused", five[:4*50], errors.Join(errTest, errTest), []int{4}, 2, 0},
		{"wrapped", five[:4*50], fmt.Errorf("write: %w", errTest), []int{4}, 4, 0},
		{"more errors than packets", five[:50], errors.Join(errTest, errTest, errTest), []int{1}, 1, 0},
		{"closed", five, os.ErrClosed, []int{4, 1}, 5, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var count counters
			d := &pickyDevice{fakeDevice: newFakeDevice(), batch: 4, err: test.err}
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

// FuzzDeliver splits any block: what comes out is its beginning, and every
// packet is counted.
func FuzzDeliver(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add(slices.Concat(udp(50, 1), ipv6(17, make([]byte, 9)), udp(20, 1)), uint16(0))
	f.Add(append(udp(50, 1), udp(50, 1)[:49]...), uint16(1400))
	f.Add(ipv4(protocolTCP, 0, tcp(syn, mss(1460), "")), uint16(1400))
	f.Fuzz(func(t *testing.T, block []byte, clamp uint16) {
		if len(block) > 1<<16 {
			return
		}
		var count counters
		device := newFakeDevice()
		newDeliverer(device, &count).deliver(block, int(clamp))
		close(device.out)
		var all []byte
		for p := range device.out {
			if n, ok := packetLen(p); !ok || n != len(p) {
				t.Errorf("no packet: %x", p)
			}
			all = append(all, p...)
		}
		if clamp == 0 && !bytes.HasPrefix(block, all) || len(all) > len(block) {
			t.Errorf("%x came out of %x", all, block)
		}
		if s := count.snapshot(); s.Wire.PacketsIn != s.Inside.PacketsOut+s.DropsIn["malformed"] || s.Inside.BytesOut != uint64(len(all)) {
			t.Errorf("counted %+v", s)
		}
	})
}
