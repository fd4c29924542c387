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
func filled(pool *Pool, first, count, n int) (bs []*Buffer) {
	for i := range count {
		b := pool.Get(n)
		b.N = n
		clear(b.Bytes)
		binary.BigEndian.PutUint32(b.Bytes[:4], uint32(first+i))
		bs = append(bs, b)
	}
	return bs
}

// push pushes buffers until one is refused, and returns how many were taken.
func push(q *Queue, bs []*Buffer) int {
	for i, b := range bs {
		if !q.Push(b) {
			return i
		}
	}
	return len(bs)
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
	pool := NewPool(1000, 100, 1000)
	for n, want := range map[int]int{0: 100, 100: 100, 101: 1000, 1000: 1000} {
		if b := pool.Get(n); len(b.Bytes) != want || b.N != 0 || b.Whole {
			t.Errorf("%d bytes wanted, buffer is %+v", n, b)
		}
	}
	small, large := pool.Get(1), pool.Get(999)
	small.N, small.Whole = 7, true
	pool.Put(large, small)
	if got := pool.Get(100); got != small || got.N != 0 || got.Whole {
		t.Errorf("a small buffer that came back is %+v", got)
	}
	if got := pool.Get(500); got != large {
		t.Error("a large buffer that came back is not used again")
	}
	defer func() {
		if recover() == nil {
			t.Error("more than the largest buffer is there")
		}
	}()
	pool.Get(1001)
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
		more := (round*31 + 7) % 90
		bs := filled(pool, in, more, 10)
		taken := push(q, bs)
		if want := min(more, 300-(in-out)); taken != want {
			t.Fatalf("round %d: %d of %d taken, want %d", round, taken, more, want)
		}
		pool.Put(bs[taken:]...)
		in += taken
		block, n, whole := q.Pop(nil, 10*((round*17)%120))
		for i, got := range numbers(t, block, 10) {
			if got != out+i {
				t.Fatalf("round %d: packet %d, want %d", round, got, out+i)
			}
		}
		if n != len(block)/10 || whole {
			t.Fatalf("%d packets of %d bytes, whole: %v", n, len(block), whole)
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
			push(q, filled(pool, 0, test.n, 100))
			block, n, _ := q.Pop([]byte("before"), test.most)
			if n != test.want || len(block) != len("before")+100*n || string(block[:6]) != "before" {
				t.Errorf("%d packets, %d bytes, want %d packets", n, len(block), test.want)
			}
			if q.Len() != test.n-n {
				t.Errorf("%d are left", q.Len())
			}
		})
	}
}

// TestWhole sees that segments come alone, and in their turn.
func TestWhole(t *testing.T) {
	pool := NewPool(100)
	q := New(pool, 1<<20)
	bs := filled(pool, 0, 6, 50)
	bs[2].Whole, bs[3].Whole, bs[5].Whole = true, true, true
	push(q, bs)
	for i, want := range []struct {
		packets int
		whole   bool
	}{{2, false}, {1, true}, {1, true}, {1, false}, {1, true}, {0, false}} {
		if block, n, whole := q.Pop(nil, 1000); n != want.packets || whole != want.whole || len(block) != 50*n {
			t.Errorf("turn %d: %d packets in %d bytes, whole: %v", i, n, len(block), whole)
		}
	}
}

// TestBoundBySize counts the memory that waits, whatever is in it.
func TestBoundBySize(t *testing.T) {
	pool := NewPool(100, 1000)
	q := New(pool, 2200)
	if n := push(q, append(filled(pool, 0, 2, 101), filled(pool, 0, 5, 4)...)); n != 4 {
		t.Errorf("%d buffers in 2200 bytes", n)
	}
	q.Pop(nil, 0)
	if n := push(q, filled(pool, 0, 20, 4)); n != 10 {
		t.Errorf("%d buffers where a large one was", n)
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
	push(q, filled(pool, 0, 3, 100))
	if ready() {
		t.Error("ready before Wake")
	}
	q.Wake()
	q.Wake()
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
		if n := push(q, filled(pool, 0, 200, 1)); n != test.want || q.Len() != test.want {
			t.Errorf("limit of %d bytes takes %d buffers of 100, want %d", test.limit, n, test.want)
		}
		if n := push(q, filled(pool, 0, 1, 1)); n != 0 {
			t.Error("a full queue takes one more")
		}
	}
}

func TestClose(t *testing.T) {
	pool := NewPool(100)
	q := New(pool, 1<<20)
	push(q, filled(pool, 0, 100, 10))
	q.Pop(nil, 300)
	if n := q.Close(); n != 70 {
		t.Errorf("%d lost, want 70", n)
	}
	if n := len(pool.free[0]); n != 100 {
		t.Errorf("%d buffers came back, want 100", n)
	}
	if n := push(q, filled(pool, 0, 1, 10)); n != 0 || q.Len() != 0 {
		t.Errorf("%d taken after the end", n)
	}
	if block, n, _ := q.Pop(nil, 1000); len(block) != 0 || n != 0 {
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
			n := push(q, bs)
			q.Wake()
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
			block, n, _ := q.Pop(nil, 1000)
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
	block := make([]byte, 0, 64<<10)
	turn := func() {
		for range 64 {
			b := pool.Get(900)
			b.N = 900
			q.Push(b)
		}
		for q.Len() > 10 {
			block, _, _ = q.Pop(block[:0], 16384)
		}
	}
	for range 100 {
		turn()
	}
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Errorf("%v allocations for 64 packets", n)
	}
}
