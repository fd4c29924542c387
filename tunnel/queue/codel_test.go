package queue

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

// checksum returns that of an IPv4 header, 0 for one that is right.
func checksum(p []byte) uint16 {
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// TestMark marks packets with each content of the ECN field, and each checksum.
func TestMark(t *testing.T) {
	for tos := range 256 {
		for id := 0; id < 65536; id += 1 + tos*16 {
			p := ipv4(6, 40, 1, 2)
			p[1] = byte(tos)
			binary.BigEndian.PutUint16(p[4:], uint16(id*257))
			binary.BigEndian.PutUint16(p[10:], checksum(p))
			want := bytes.Clone(p)
			could := tos&3 != 0
			if could {
				want[1] |= 3
			}
			if mark(p) != could || p[1] != want[1] || checksum(p) != 0 {
				t.Fatalf("tos %#x, id %d: became %x", tos, id, p[:20])
			}
		}
	}
	for class := range 256 {
		p := make([]byte, 40)
		p[0], p[1] = 0x60|byte(class>>4), byte(class<<4)|0x5
		if could := class&3 != 0; mark(p) != could || p[0] != 0x60|byte(class>>4) || p[1]&15 != 5 ||
			could && p[1]>>4 != byte(class&15|3) || !could && p[1]>>4 != byte(class&15) {
			t.Fatalf("class %#x: became %x", class, p[:2])
		}
	}
	for _, p := range [][]byte{nil, {0x45, 1}, {0x60, 0x10}, make([]byte, 40)} {
		if mark(p) {
			t.Errorf("marked %x", p)
		}
	}
}

// flood has the queue filled twice as fast as it is emptied, for a while, with TCP
// packets whose type of service is tos, whole ones if front is not 0. It returns how
// many were dropped, marked and passed.
func flood(t *testing.T, d time.Duration, tos byte, front int) (dropped, marked, passed int) {
	q := New(NewPool(1600), 1<<30, 1500, front)
	for range d / time.Millisecond {
		for range 2 {
			b := q.pool.Get(1500)
			p := ipv4(6, 1000, 1, 2)
			p[1] = tos
			binary.BigEndian.PutUint16(p[10:], checksum(p))
			b.N = front + copy(b.Bytes[front:], p)
			b.Whole = front > 0
			q.Push(b)
		}
		block, got := q.Pop(nil, 0)
		dropped += got.Dropped
		passed += got.N
		if got.N > 0 && block[front+1]&3 == 3 {
			marked++
		}
		if checksum(block[front:]) != 0 {
			t.Fatalf("wrong checksum in %x", block[:front+20])
		}
		time.Sleep(time.Millisecond)
	}
	return dropped, marked, passed
}

// TestCoDel sees that some packets of a flow which does not slow down are marked or
// dropped, more and more often.
func TestCoDel(t *testing.T) {
	for _, test := range []struct {
		name           string
		d              time.Duration
		tos            byte
		front          int
		dropped, marks bool
	}{
		{"short burst", 100 * time.Millisecond, 0, 0, false, false},
		{"drop", 1500 * time.Millisecond, 0, 0, true, false},
		{"mark", 1500 * time.Millisecond, 2, 0, false, true},
		{"whole, drop", 1500 * time.Millisecond, 0, 10, true, false},
		{"whole, mark", 1500 * time.Millisecond, 1, 10, false, true},
	} {
		sim(t, test.name, func(t *testing.T) {
			dropped, marked, passed := flood(t, test.d, test.tos, test.front)
			// RFC 8289: the n-th drop comes 100 ms/sqrt(n) after the one before; in 1.4 s
			// that are about 60.
			if got := dropped; test.dropped != (got > 0) || got > 90 || test.dropped && got < 30 {
				t.Errorf("%d of %d dropped", got, passed)
			}
			if got := marked; test.marks != (got > 0) || got > 90 || test.marks && got < 30 {
				t.Errorf("%d of %d marked", got, passed)
			}
		})
	}
}

// TestAlone sees that the only packet of a flow is never dropped, however long it
// waits, and that the target leaves a slow line its packet.
func TestAlone(t *testing.T) {
	sim(t, "alone", func(t *testing.T) {
		q := New(NewPool(1500), 1<<20, 1500, 0)
		push(t, q, 1, 0, 1, 100)
		time.Sleep(time.Hour)
		if _, got := q.Pop(nil, 0); got.N != 1 || got.Dropped != 0 {
			t.Errorf("got %+v", got)
		}
	})
	sim(t, "two packets' time", func(t *testing.T) {
		q := New(NewPool(1500), 1<<20, 1500, 0)
		q.SetRate(3750) // 400 ms for a packet
		push(t, q, 1, 0, 2, 1500)
		for i := range 1000 {
			if _, got := q.Pop(nil, 0); got.N != 1 || got.Dropped != 0 {
				t.Fatalf("round %d: got %+v", i, got)
			}
			time.Sleep(400 * time.Millisecond)
			push(t, q, 1, 0, 1, 1500)
		}
	})
}

// TestStall lets the line stand still: what is too old does not keep back what is
// fresh.
func TestStall(t *testing.T) {
	sim(t, "30 s", func(t *testing.T) {
		q := New(NewPool(1500), 1<<20, 1500, 0)
		for i := range 300 { // one every 100 ms
			push(t, q, 1, i, 1, 100)
			time.Sleep(100 * time.Millisecond)
		}
		block, got := q.Pop(nil, 0)
		if p := packets(t, block); got.N != 1 || got.Dropped < 270 || p[0].number < 270 {
			t.Errorf("got %+v, first is %v", got, p)
		}
		if got.Dropped+got.N+q.Len() != 300 {
			t.Errorf("got %+v, %d wait", got, q.Len())
		}
	})
}

func TestPatience(t *testing.T) {
	for _, test := range []struct{ packet, target, interval, most time.Duration }{
		{0, codelTarget, codelInterval, tooOld},
		{time.Millisecond, codelTarget, codelInterval, tooOld},
		{12 * time.Millisecond, 48 * time.Millisecond, codelInterval, tooOld},
		{20 * time.Millisecond, slowTarget, codelInterval, tooOld},
		{100 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond, tooOld},
		{400 * time.Millisecond, 600 * time.Millisecond, 1200 * time.Millisecond, 4800 * time.Millisecond},
	} {
		if got := patienceFor(test.packet); got != (patience{test.target, test.interval, test.most}) {
			t.Errorf("packet of %v: %v", test.packet, got)
		}
	}
}
