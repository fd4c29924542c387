package queue

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ipv4 returns a packet of a conversation between two ports, of size bytes.
func ipv4(protocol byte, size int, from, to uint16) []byte {
	p := make([]byte, size)
	p[0], p[9] = 0x45, protocol
	binary.BigEndian.PutUint16(p[2:], uint16(size))
	copy(p[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	if size >= 24 {
		binary.BigEndian.PutUint16(p[20:], from)
		binary.BigEndian.PutUint16(p[22:], to)
	}
	return p
}

// filled returns a buffer of the pool with a packet of n bytes, at least 28, with a
// number, of one of several conversations.
func filled(pool *Pool, flow, number, n int) *Buffer {
	b := pool.Get(n)
	b.N = copy(b.Bytes, ipv4(17, n, uint16(flow), 53))
	binary.BigEndian.PutUint32(b.Bytes[24:], uint32(number))
	return b
}

// seen is a packet that was popped.
type seen struct{ flow, number int }

// packets returns what stands in a block.
func packets(t *testing.T, block []byte) (out []seen) {
	t.Helper()
	for len(block) > 0 {
		n := int(binary.BigEndian.Uint16(block[2:]))
		if n < 28 || n > len(block) {
			t.Fatalf("packet of %d bytes in %d", n, len(block))
		}
		out = append(out, seen{int(binary.BigEndian.Uint16(block[20:])), int(binary.BigEndian.Uint32(block[24:]))})
		block = block[n:]
	}
	return out
}

// push pushes packets of one conversation, and fails when one is refused.
func push(t *testing.T, q *Queue, flow, first, count, n int) (dropped int) {
	t.Helper()
	for i := range count {
		lost, ok := q.Push(filled(q.pool, flow, first+i, n))
		if !ok {
			t.Fatalf("packet %d of %d is refused", i, count)
		}
		dropped += lost
	}
	return dropped
}

// sim runs a test in simulated time: in real time packets become too old when the machine
// stands still.
func sim(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
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

// TestOrder pushes and pops conversations in changing portions: each of them comes
// out in order, and nothing is lost.
func TestOrder(t *testing.T) {
	sim(t, "17 flows", func(t *testing.T) {
		pool := NewPool(1500)
		q := New(pool, 1<<30, 1500, 0)
		in, out, count := map[int]int{}, map[int]int{}, 0
		for round := range 5000 {
			for i := range (round*31 + 7) % 40 {
				flow := (round + i*i) % 17
				push(t, q, flow, in[flow], 1, 28+(round*7+i*13)%1473)
				in[flow]++
				count++
			}
			block, got := q.Pop(nil, (round*977)%40000)
			for _, p := range packets(t, block) {
				if p.number != out[p.flow] {
					t.Fatalf("round %d: packet %d of flow %d, want %d", round, p.number, p.flow, out[p.flow])
				}
				out[p.flow]++
			}
			if count -= got.N; got.Whole || got.Dropped != 0 || q.Len() != count {
				t.Fatalf("got %+v, %d wait, want %d", got, q.Len(), count)
			}
		}
	})
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
		sim(t, test.name, func(t *testing.T) {
			q := New(NewPool(100), 1<<20, 1500, 0)
			push(t, q, 1, 0, test.n, 100)
			block, got := q.Pop([]byte("before"), test.most)
			if got.N != test.want || len(block) != len("before")+100*got.N || string(block[:6]) != "before" {
				t.Errorf("%d packets, %d bytes, want %d packets", got.N, len(block), test.want)
			}
			if q.Len() != test.n-got.N || got.More != (q.Len() > 0) {
				t.Errorf("%d are left, more: %v", q.Len(), got.More)
			}
		})
	}
}

// TestWhole sees that segments come alone, and in their turn.
func TestWhole(t *testing.T) {
	sim(t, "segments among packets", func(t *testing.T) {
		const front = 10
		pool := NewPool(100)
		q := New(pool, 1<<20, 1500, front)
		for i := range 6 {
			b := filled(pool, 1, i, 50)
			if b.Whole = i == 2 || i == 3 || i == 5; b.Whole {
				b.N = front + copy(b.Bytes[front:], ipv4(17, 50, 1, 53))
			}
			q.Push(b)
		}
		for i, want := range []Popped{{N: 2, More: true}, {N: 1, Whole: true, More: true}, {N: 1, Whole: true, More: true},
			{N: 1, More: true}, {N: 1, Whole: true}, {}} {
			block, got := q.Pop(nil, 1000)
			size := 50 * want.N
			if want.Whole {
				size += front
			}
			if got != want || len(block) != size {
				t.Errorf("turn %d: %+v in %d bytes, want %+v", i, got, len(block), want)
			}
		}
	})
}

// TestReady sees that whoever waits is woken as long as packets wait.
func TestReady(t *testing.T) {
	sim(t, "three packets", func(t *testing.T) {
		q := New(NewPool(100), 1<<20, 1500, 0)
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
		push(t, q, 1, 0, 3, 100)
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
	})
}

// TestFull sees that the longest flow makes room, from its oldest on, and no other.
func TestFull(t *testing.T) {
	sim(t, "a flood", func(t *testing.T) {
		pool := NewPool(1500)
		q := New(pool, 200*1500, 1500, 0)
		push(t, q, 1, 0, 5, 100)
		lost := push(t, q, 2, 0, 1000, 100)
		if lost+q.Len() != 1005 || q.Len() > 200 || q.Len() < 190 {
			t.Errorf("%d lost, %d wait", lost, q.Len())
		}
		count, next := map[int]int{}, map[int]int{1: 0, 2: lost}
		for {
			block, got := q.Pop(nil, 1<<20)
			if got.N == 0 {
				break
			}
			for _, p := range packets(t, block) {
				if p.number != next[p.flow] {
					t.Fatalf("packet %d of flow %d, want %d", p.number, p.flow, next[p.flow])
				}
				next[p.flow]++
				count[p.flow]++
			}
		}
		if count[1] != 5 || next[2] != 1000 {
			t.Errorf("%d of the short flow came, the last of the long one was %d", count[1], next[2])
		}
	})
}

// TestBound counts the memory that waits, whatever is in it, and takes one packet in
// any case.
func TestBound(t *testing.T) {
	for _, test := range []struct{ limit, want int }{{0, 1}, {99, 1}, {100, 1}, {199, 1}, {200, 2}} {
		q := New(NewPool(100), test.limit, 1500, 0)
		lost := push(t, q, 1, 0, 200, 30)
		if q.Len() != test.want || lost != 200-test.want {
			t.Errorf("limit of %d bytes: %d wait and %d are lost, want %d", test.limit, q.Len(), lost, test.want)
		}
	}
}

// TestRateBound sees that less may wait for a slow line.
func TestRateBound(t *testing.T) {
	for _, test := range []struct{ rate, want int }{
		{0, 1000}, {4200, leastPackets}, {1 << 20, 1000}, {100_000, 200_000 / 1500},
	} {
		q := New(NewPool(1500), 1000*1500, 1500, 0)
		q.SetRate(test.rate)
		push(t, q, 1, 0, 3000, 1500)
		if n := q.Len(); n > test.want || n < test.want*9/10 {
			t.Errorf("rate %d: %d wait, want %d", test.rate, n, test.want)
		}
	}
}

func TestClose(t *testing.T) {
	sim(t, "what waits", func(t *testing.T) {
		pool := NewPool(100)
		q := New(pool, 1<<20, 1500, 0)
		push(t, q, 1, 0, 50, 30)
		push(t, q, 2, 0, 50, 30)
		q.Pop(nil, 900)
		if n := q.Close(); n != 70 {
			t.Errorf("%d lost, want 70", n)
		}
		if n := len(pool.free[0]); n != 100 {
			t.Errorf("%d buffers came back, want 100", n)
		}
		if lost, ok := q.Push(filled(pool, 1, 1, 30)); ok || lost != 0 || q.Len() != 0 {
			t.Errorf("taken after the end, %d lost", lost)
		}
		if block, got := q.Pop(nil, 1000); len(block) != 0 || got != (Popped{}) {
			t.Errorf("%+v after the end", got)
		}
		if n := q.Close(); n != 0 {
			t.Errorf("%d lost at the second end", n)
		}
	})
}

// TestMoveTo gives what waits to a queue that has room for some of it.
func TestMoveTo(t *testing.T) {
	pool := NewPool(100)
	from, to := New(pool, 1<<20, 1500, 0), New(pool, 1000, 1500, 0)
	push(t, from, 1, 0, 15, 30)
	if lost := from.MoveTo(to); lost != 5 || from.Len() != 0 || to.Len() != 10 {
		t.Errorf("%d lost, %d left, %d moved", lost, from.Len(), to.Len())
	}
	select {
	case <-to.Ready():
	default:
		t.Error("nobody is woken")
	}
	push(t, from, 1, 0, 15, 30)
	to.Close()
	if lost := from.MoveTo(to); lost != 15 {
		t.Errorf("%d lost, want all 15", lost)
	}
}

// TestConcurrent has one goroutine push and one pop, for the race detector, and a
// third that looks and closes. Everything is accounted for.
func TestConcurrent(t *testing.T) {
	const all = 50000
	q := New(NewPool(64), 300*64, 1500, 0)
	var pushed, popped, dropped, late int
	closed := make(chan struct{})
	var parts sync.WaitGroup
	parts.Go(func() {
		for ; pushed < all; pushed++ {
			lost, ok := q.Push(filled(q.pool, pushed%5, pushed, 30))
			if !ok {
				return
			}
			dropped += lost
			q.Wake()
		}
	})
	parts.Go(func() {
		last := [5]int{-1, -1, -1, -1, -1}
		for {
			select {
			case <-closed:
				return
			case <-q.Ready():
			}
			block, got := q.Pop(nil, 1000)
			for _, p := range packets(t, block) {
				if p.number <= last[p.flow] {
					t.Errorf("packet %d of flow %d after %d", p.number, p.flow, last[p.flow])
				}
				last[p.flow] = p.number
			}
			popped += got.N
			late += got.Dropped
		}
	})
	for end := time.Now().Add(10 * time.Second); q.Len() < 100 && time.Now().Before(end); {
		time.Sleep(time.Microsecond)
	}
	lost := q.Close()
	close(closed)
	parts.Wait()
	if pushed != popped+lost+dropped+late {
		t.Errorf("%d pushed, %d popped, %d lost, %d and %d dropped", pushed, popped, lost, dropped, late)
	}
}

func TestNoAllocations(t *testing.T) {
	q := New(NewPool(1500), 100*1500, 1500, 0)
	q.SetRate(1000)
	block, packet := make([]byte, 0, 64<<10), ipv4(6, 900, 1, 2)
	turn := func() {
		for i := range 64 {
			b := q.pool.Get(900)
			b.N = copy(b.Bytes, packet)
			b.Bytes[20] = byte(i)
			q.Push(b)
		}
		for q.Len() > 80 {
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
