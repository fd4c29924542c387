package queue

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"
	"time"
)

// filled returns buffers of the pool with packets of n bytes each, that count up
// from first.
func filled(pool *Pool, first, count, n int) []*Buffer {
	bs := make([]*Buffer, count)
	pool.Get(bs)
	for i, b := range bs {
		b.N = n
		clear(b.Bytes)
		binary.BigEndian.PutUint32(b.Bytes, uint32(first+i))
	}
	return bs
}

// numbers returns the packets of n bytes that stand in a block.
func numbers(t *testing.T, block []byte, n int) (out []int) {
	t.Helper()
	if len(block)%n != 0 {
		t.Fatalf("block of %d bytes, no multiple of %d", len(block), n)
	}
	for ; len(block) > 0; block = block[n:] {
		out = append(out, int(binary.BigEndian.Uint32(block)))
	}
	return out
}

func TestPool(t *testing.T) {
	pool := NewPool(100)
	bs := make([]*Buffer, 3)
	keep := &Buffer{}
	bs[1] = keep
	pool.Get(bs)
	if bs[0] == nil || bs[2] == nil || bs[0] == bs[2] || bs[1] != keep {
		t.Fatalf("buffers are %v", bs)
	}
	if len(bs[0].Bytes) != 100 {
		t.Errorf("buffer of %d bytes", len(bs[0].Bytes))
	}
	first := bs[0]
	pool.put(bs[:1])
	again := make([]*Buffer, 1)
	if pool.Get(again); again[0] != first {
		t.Error("a buffer that came back is not used again")
	}
}

func TestPacket(t *testing.T) {
	b := &Buffer{Bytes: []byte("abcdef"), N: 3}
	if got := b.Packet(); !bytes.Equal(got, []byte("abc")) {
		t.Errorf("packet is %q", got)
	}
}

// TestOrder pushes and pops in changing portions, so that the ring turns and
// grows at all places.
func TestOrder(t *testing.T) {
	pool := NewPool(100)
	q := New(pool, 300*100)
	in, out := 0, 0
	for round := range 2000 {
		push := (round*31 + 7) % 90
		bs := filled(pool, in, push, 10)
		taken := q.Push(bs)
		if want := min(push, 300-(in-out)); taken != want {
			t.Fatalf("round %d: %d of %d taken, want %d", round, taken, push, want)
		}
		for i, b := range bs {
			if (b == nil) != (i < taken) {
				t.Fatalf("round %d: buffer %d is %v, %d taken", round, i, b, taken)
			}
		}
		pool.put(bs[taken:])
		in += taken
		block, n := q.Pop(nil, 10*((round*17)%120))
		for i, got := range numbers(t, block, 10) {
			if got != out+i {
				t.Fatalf("round %d: packet %d, want %d", round, got, out+i)
			}
		}
		if n != len(block)/10 {
			t.Fatalf("%d packets of %d bytes", n, len(block))
		}
		if out += n; q.Len() != in-out {
			t.Fatalf("%d wait, want %d", q.Len(), in-out)
		}
	}
}

func TestPop(t *testing.T) {
	for _, test := range []struct {
		name string
		n    int // packets of 100 bytes
		most int
		want int
	}{
		{"empty", 0, 1000, 0},
		{"one", 1, 1000, 1},
		{"all that fit", 20, 1000, 10},
		{"one byte less", 20, 999, 9},
		{"one in any case", 20, 99, 1},
		{"even without room", 20, 0, 1},
		{"even less", 20, -5, 1},
		{"at most 64", 100, 1 << 20, 64},
	} {
		t.Run(test.name, func(t *testing.T) {
			pool := NewPool(100)
			q := New(pool, 1<<20)
			q.Push(filled(pool, 0, test.n, 100))
			block, n := q.Pop([]byte("before"), test.most)
			if n != test.want || len(block) != len("before")+100*n || string(block[:6]) != "before" {
				t.Errorf("%d packets, %d bytes, want %d packets", n, len(block), test.want)
			}
			if q.Len() != test.n-n {
				t.Errorf("%d are left", q.Len())
			}
		})
	}
}

// TestReady sees that whoever waits is woken as long as packets wait.
func TestReady(t *testing.T) {
	pool := NewPool(100)
	q := New(pool, 1<<20)
	ready := func() bool {
		select {
		case <-q.Ready():
			return true
		default:
			return false
		}
	}
	if ready() {
		t.Error("ready while empty")
	}
	q.Push(nil)
	if ready() {
		t.Error("ready after nothing")
	}
	q.Push(filled(pool, 0, 2, 100))
	q.Push(filled(pool, 0, 1, 100))
	if !ready() || ready() {
		t.Error("not ready once")
	}
	if q.Pop(nil, 100); !ready() {
		t.Error("not ready with two left")
	}
	if q.Pop(nil, 1000); ready() {
		t.Error("ready with none left")
	}
}

func TestBound(t *testing.T) {
	for _, test := range []struct{ limit, want int }{{0, 1}, {99, 1}, {100, 1}, {199, 1}, {200, 2}, {10000, 100}} {
		pool := NewPool(100)
		q := New(pool, test.limit)
		if n := q.Push(filled(pool, 0, 200, 1)); n != test.want || q.Len() != test.want {
			t.Errorf("limit of %d bytes takes %d buffers of 100, want %d", test.limit, n, test.want)
		}
		if n := q.Push(filled(pool, 0, 1, 1)); n != 0 {
			t.Error("a full queue takes one more")
		}
	}
}

func TestClose(t *testing.T) {
	pool := NewPool(100)
	q := New(pool, 1<<20)
	q.Push(filled(pool, 0, 100, 10))
	q.Pop(nil, 300)
	if n := q.Close(); n != 70 {
		t.Errorf("%d lost, want 70", n)
	}
	if n := len(pool.free); n != 100 {
		t.Errorf("%d buffers came back, want 100", n)
	}
	if n := q.Push(filled(pool, 0, 1, 10)); n != 0 || q.Len() != 0 {
		t.Errorf("%d taken after the end", n)
	}
	if block, n := q.Pop(nil, 1000); len(block) != 0 || n != 0 {
		t.Errorf("%d packets after the end", n)
	}
	if n := q.Close(); n != 0 {
		t.Errorf("%d lost at the second end", n)
	}
}

// TestConcurrent has one goroutine push and one pop, for the race detector, and a
// third that looks and closes. Everything is accounted for.
func TestConcurrent(t *testing.T) {
	const packets = 50000
	pool := NewPool(64)
	q := New(pool, 300*64)
	var pushed, popped, lost, last int
	closed := make(chan struct{})
	var parts sync.WaitGroup
	parts.Go(func() {
		for bs := []*Buffer(nil); pushed < packets; {
			if bs == nil {
				bs = filled(pool, pushed, 7, 8)
			}
			n := q.Push(bs)
			if pushed += n; n == 0 {
				select {
				case <-closed:
					return
				case <-time.After(time.Microsecond):
				}
			}
			if bs = bs[n:]; len(bs) == 0 {
				bs = nil
			}
		}
	})
	parts.Go(func() {
		last = -1
		for {
			select {
			case <-closed:
				return
			case <-q.Ready():
			}
			block, n := q.Pop(nil, 1000)
			for _, got := range numbers(t, block, 8) {
				if got != last+1 {
					t.Errorf("packet %d after %d", got, last)
				}
				last = got
			}
			popped += n
		}
	})
	for q.Len() < 200 {
		time.Sleep(time.Microsecond)
	}
	lost = q.Close()
	close(closed)
	parts.Wait()
	if pushed != popped+lost {
		t.Errorf("%d pushed, %d popped, %d lost", pushed, popped, lost)
	}
}

func TestNoAllocations(t *testing.T) {
	pool := NewPool(1500)
	q := New(pool, 1<<20)
	bs := make([]*Buffer, 64)
	block := make([]byte, 0, 64<<10)
	turn := func() {
		pool.Get(bs)
		for _, b := range bs {
			b.N = 900
		}
		q.Push(bs)
		for q.Len() > 10 {
			block, _ = q.Pop(block[:0], 16384)
		}
	}
	for range 100 {
		turn()
	}
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Errorf("%v allocations for 64 packets", n)
	}
}
