package tunnel

import (
	"encoding/binary"
	"runtime/metrics"
	"testing"
)

// scale is a device that looks at what it is given.
type scale struct {
	t       *testing.T
	packets int
	taken   []byte // by the present frame
	closed  bool   // nothing may come
}

func (d *scale) Read([]byte) (int, error) { panic("not called") }
func (d *scale) BatchSize() int           { return 4 }
func (d *scale) Close() error             { return nil }

func (d *scale) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		p := b[offset:]
		if n, ok := packetLen(p); !ok || n != len(p) {
			d.t.Errorf("no packet: %x", p)
		}
		d.packets++
		d.taken = append(d.taken, p...)
	}
	if d.closed || offset != headroom || len(bufs) == 0 || len(bufs) > d.BatchSize() {
		d.t.Errorf("%d packets written at %d, may not be: %v", len(bufs), offset, d.closed)
	}
	return len(bufs), nil
}

func (d *scale) WriteWhole(b []byte) error {
	o := parseOffload(b, binary.NativeEndian)
	if _, ok := o.headers(b[HeaderSize:]); !ok || d.closed {
		d.t.Errorf("no segments, or none may be: %x", b)
	}
	d.packets++
	d.taken = append(d.taken, b[HeaderSize:]...)
	return nil
}

// allocated returns how many bytes this process has ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
