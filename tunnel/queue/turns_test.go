package queue

import (
	"slices"
	"testing"
)

// TestTurns sees that flows share by bytes, whatever the size of their packets.
func TestTurns(t *testing.T) {
	for _, test := range []struct {
		name  string
		sizes []int
	}{
		{"equal", []int{1500, 1500, 1500}},
		{"long and short", []int{1500, 300, 60}},
		{"ten", []int{1500, 1400, 1300, 1200, 1100, 1000, 900, 800, 700, 600}},
	} {
		sim(t, test.name, func(t *testing.T) {
			const each = 300_000
			q := New(NewPool(1500), 1<<30, 1500, 0)
			alone(t, q, len(test.sizes)+1)
			for i, size := range test.sizes {
				push(t, q, i+1, 0, each/size, size)
			}
			taken := make([]int, len(test.sizes)+1)
			for range each / 1500 * len(test.sizes) / 2 { // half of it
				block, _ := q.Pop(nil, 1500)
				for _, p := range packets(t, block) {
					taken[p.flow] += test.sizes[p.flow-1]
				}
			}
			for i, n := range taken[1:] {
				if d := n - taken[1]; d < -3000 || d > 3000 {
					t.Errorf("flow %d has sent %d bytes, the first %d", i+1, n, taken[1])
				}
			}
		})
	}
}

// alone gives the queue a seed with which flows 1 to n do not share a place.
func alone(t *testing.T, q *Queue, n int) {
	t.Helper()
	for try := range uint64(1000) {
		q.seed = [2]uint64{try, ^try}
		places := map[uint64]bool{}
		for i := range n {
			places[hash(ipv4(17, 28, uint16(i+1), 53), q.seed)%flows] = true
		}
		if len(places) == n {
			return
		}
	}
	t.Fatal("no seed keeps the flows apart")
}

// TestSparse sees that who has just begun to send, or sends little, goes before a
// flow that fills the line.
func TestSparse(t *testing.T) {
	sim(t, "a key beside two files", func(t *testing.T) {
		q := New(NewPool(1500), 1<<30, 1500, 0)
		alone(t, q, 3)
		push(t, q, 1, 0, 1000, 1500)
		push(t, q, 2, 0, 1000, 1500)
		for range 10 {
			q.Pop(nil, 1500)
		}
		for i := range 50 {
			push(t, q, 3, i, 1, 60)
			block, got := q.Pop(nil, 1500)
			if p := packets(t, block); len(p) != 1 || p[0] != (seen{3, i}) || got.More {
				t.Fatalf("key %d waits: %v goes first, %+v", i, p, got)
			}
			for range 3 {
				q.Pop(nil, 1500)
			}
		}
	})
}

// TestSparseAlone sees that who has just begun to send need not wait for packets of others
// behind it in the same batch, where a batch takes long.
func TestSparseAlone(t *testing.T) {
	for _, test := range []struct {
		name  string
		rate  int
		first []seen
	}{
		{"slow line", 4200, []seen{{2, 0}, {3, 0}}},
		{"fast line", 0, []seen{{2, 0}, {3, 0}, {1, 1}, {1, 2}}},
	} {
		sim(t, test.name, func(t *testing.T) {
			q := New(NewPool(1500), 1<<30, 100, 0)
			q.SetRate(test.rate)
			alone(t, q, 3)
			push(t, q, 1, 0, 3, 100)
			q.Pop(nil, 100) // it is not young any more
			push(t, q, 2, 0, 1, 60)
			push(t, q, 3, 0, 1, 60)
			block, _ := q.Pop(nil, 1000)
			if got := packets(t, block); !slices.Equal(got, test.first) {
				t.Errorf("the first batch is %v, want %v", got, test.first)
			}
			block, got := q.Pop(nil, 1000)
			if want := 4 - len(test.first); got.N != want || len(block) != 100*want {
				t.Errorf("%d packets are left, want %d", got.N, want)
			}
		})
	}
}

// TestAckTogether has an acknowledgement leave with what comes behind it, on a line of any
// speed: a frame of its own would cost more than it weighs.
func TestAckTogether(t *testing.T) {
	sim(t, "slow line", func(t *testing.T) {
		q := New(NewPool(1500), 1<<30, 100, 0)
		q.SetRate(4200)
		alone(t, q, 3)
		push(t, q, 1, 0, 3, 100)
		q.Pop(nil, 100)
		b := q.pool.Get(52)
		b.N = copy(b.Bytes, ipv4(6, 52, 1, 2))
		b.Bytes[32], b.Bytes[33] = 8<<4, 0x10
		q.Push(b)
		if block, got := q.Pop(nil, 1000); got.N != 3 || len(block) != 252 || block[9] != 6 {
			t.Errorf("%d packets, %d bytes", got.N, len(block))
		}
	})
}
