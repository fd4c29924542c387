package queue

import (
	"math/rand/v2"
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

// TestSparse sees that who has just begun to send, or sends little, goes before flows that
// fill the line, also when all their hashes are close.
func TestSparse(t *testing.T) {
	for _, test := range []struct {
		name  string
		flows func(q *Queue) (files []int, key int)
	}{
		{"a key beside two files", func(q *Queue) ([]int, int) { return []int{1, 2}, 3 }},
		{"neighbours", func(q *Queue) ([]int, int) {
			all := neighbours(q, ways)
			return all[1:], all[0]
		}},
		{"neighbours of some that have ended", func(q *Queue) ([]int, int) {
			all := neighbours(q, 2*ways)
			for _, flow := range all[:ways] {
				push(t, q, flow, 0, 1, 60)
			}
			q.Pop(nil, 1500)
			return all[ways+1:], all[ways]
		}},
	} {
		sim(t, test.name, func(t *testing.T) {
			q := New(NewPool(1500), 1<<30, 1500, 0)
			files, key := test.flows(q)
			for _, flow := range files {
				push(t, q, flow, 0, 1000, 1500)
			}
			for range 5 * len(files) {
				q.Pop(nil, 1500)
			}
			for i := range 50 {
				push(t, q, key, i, 1, 60)
				block, got := q.Pop(nil, 1500)
				if p := packets(t, block); len(p) != 1 || p[0] != (seen{key, i}) || got.More {
					t.Fatalf("key %d waits: %v goes first, %+v", i, p, got)
				}
				for range 2 * len(files) {
					q.Pop(nil, 1500)
				}
			}
		})
	}
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

// neighbours returns conversations that fall into the same set.
func neighbours(q *Queue, n int) (all []int) {
	set := func(flow int) uint64 { return hash(ipv4(17, 28, uint16(flow), 53), q.seed) % sets }
	for flow := 1; len(all) < n; flow++ {
		if set(flow) == set(1) {
			all = append(all, flow)
		}
	}
	return all
}

// TestPlaces has conversations of one set begin and end.
func TestPlaces(t *testing.T) {
	q := New(NewPool(1500), 1<<30, 1500, 0)
	q.flows = make([]flow, flows)
	const set = 5
	hash := func(n, common int) uint64 { return uint64(n)<<40 | uint64(common)<<32 | set }
	place := func(hash uint64) int {
		f := q.flow(hash)
		f.listed = true
		for i := range q.flows {
			if f == &q.flows[i] {
				return i - set*ways
			}
		}
		return -1
	}
	for n := range ways {
		if got := place(hash(n, 3)); got != n {
			t.Fatalf("conversation %d is at place %d", n, got)
		}
	}
	for n := range ways {
		if got := place(hash(n, 3)); got != n {
			t.Errorf("conversation %d has moved to place %d", n, got)
		}
	}
	if got := place(hash(ways, 3)); got != 3 {
		t.Errorf("one too many is at place %d", got)
	}
	q.flows[set*ways+6] = flow{hash: q.flows[set*ways+6].hash, codel: codel{dropping: true}}
	if got := place(hash(ways, 3)); got != 3 {
		t.Errorf("it has moved to place %d, ahead of what waits", got)
	}
	if got := place(hash(ways+1, 2)); got != 6 || q.flows[set*ways+6].codel.dropping {
		t.Errorf("the next one is at place %d, %+v", got, q.flows[set*ways+6])
	}
	q.flows[set*ways].rest()
	q.flows[set*ways+3].rest()
	if got := place(hash(ways+2, 3)); got != 0 {
		t.Errorf("when the shared place is free, another one is at place %d", got)
	}
}

// TestCrowdedSet has more conversations in a set than it has places, coming and going: the
// packets of each stay in order, and none is lost.
func TestCrowdedSet(t *testing.T) {
	sim(t, "twenty", func(t *testing.T) {
		q := New(NewPool(1500), 1<<30, 1500, 0)
		q.seed = [2]uint64{1, 2}
		all, random := neighbours(q, 20), rand.New(rand.NewPCG(1, 2))
		next, want, waiting := map[int]int{}, map[int]int{}, 0
		for range 20_000 {
			flow := all[min(random.IntN(len(all)), random.IntN(len(all)))]
			if waiting < 60 && random.IntN(2) == 0 {
				push(t, q, flow, next[flow], 1, 100)
				next[flow]++
				waiting++
				continue
			}
			block, got := q.Pop(nil, 100)
			waiting -= got.N
			for _, p := range packets(t, block) {
				if p.number != want[p.flow] {
					t.Fatalf("packet %d of flow %d comes for %d", p.number, p.flow, want[p.flow])
				}
				want[p.flow]++
			}
		}
		if waiting != q.Len() {
			t.Errorf("%d wait, should be %d", q.Len(), waiting)
		}
		for q.Len() > 0 {
			q.Pop(nil, 1500)
		}
		if i := slices.IndexFunc(q.flows, func(f flow) bool { return f.shared && !f.listed }); i >= 0 {
			t.Errorf("nobody uses place %d, and it is not free", i)
		}
	})
}
