package lab

import (
	"slices"
	"testing"
)

// TestStampSizes sees that every size comes, equally often.
func TestStampSizes(t *testing.T) {
	for _, s := range []stamp{{largest: 1472, run: 1}, {largest: 1452, run: 1}, {largest: 1472, run: 8}} {
		counts := make([]uint64, s.sizes())
		for seq := range s.sizes() * s.run {
			counts[s.size(seq)]++
		}
		if slices.Min(counts) != s.run || slices.Max(counts) != s.run {
			t.Errorf("%+v: sizes come from %d to %d times", s, slices.Min(counts), slices.Max(counts))
		}
	}
}

// passage is a line that does something to the datagrams of a track.
type passage func(s stamp, sent [][]byte) [][]byte

// TestChecker holds each fault that a line can have against the verdicts.
func TestChecker(t *testing.T) {
	const n = 2*window + 100 // several times through all sizes, and more than the window
	tiny := func(s stamp, after uint64, size int) uint64 {
		for s.size(after) != size {
			after++
		}
		return after
	}
	for _, c := range []struct {
		name string
		pass passage
		want map[verdict]bool // beside arrived
	}{
		{"nothing", func(s stamp, p [][]byte) [][]byte { return p }, nil},
		{"some lost", func(s stamp, p [][]byte) [][]byte { return slices.Delete(p, 100, 200) }, nil},
		{"all sizes lost once", func(s stamp, p [][]byte) [][]byte { return slices.Delete(p, 5, 5+int(s.sizes()*s.run)) }, nil},
		{"more than the window lost", func(s stamp, p [][]byte) [][]byte { return slices.Delete(p, 1000, 1000+window+100) }, nil},
		{"twice", func(s stamp, p [][]byte) [][]byte { return slices.Insert(p, 500, p[400]) }, map[verdict]bool{duplicate: true}},
		{"twice in a row", func(s stamp, p [][]byte) [][]byte { return slices.Insert(p, 500, p[499]) }, map[verdict]bool{duplicate: true}},
		{"again after long", func(s stamp, p [][]byte) [][]byte { return append(p, p[100]) }, map[verdict]bool{duplicate: true}},
		{"swapped", func(s stamp, p [][]byte) [][]byte { p[500], p[501] = p[501], p[500]; return p }, map[verdict]bool{reordered: true}},
		{"swapped after a full window", func(s stamp, p [][]byte) [][]byte {
			p[window+500], p[window+501] = p[window+501], p[window+500]
			return p
		}, map[verdict]bool{reordered: true}},
		{"swapped after a long loss", func(s stamp, p [][]byte) [][]byte {
			p = slices.Delete(p, 1000, 2*window+8)
			p[1000], p[1001] = p[1001], p[1000]
			return p
		}, map[verdict]bool{reordered: true}},
		{"a bit of the number", func(s stamp, p [][]byte) [][]byte { flip(p[500], 0); return p }, map[verdict]bool{altered: true}},
		{"a bit of the id", func(s stamp, p [][]byte) [][]byte { flip(p[500], stampSeq); return p }, map[verdict]bool{altered: true}},
		{"the last bit", func(s stamp, p [][]byte) [][]byte { flip(p[500], len(p[500])-1); return p }, map[verdict]bool{altered: true}},
		{"shortened", func(s stamp, p [][]byte) [][]byte { p[500] = p[500][:len(p[500])-1]; return p }, map[verdict]bool{altered: true}},
		{"longer", func(s stamp, p [][]byte) [][]byte { p[500] = append(p[500], 0); return p }, map[verdict]bool{altered: true}},
		{"of another track", func(s stamp, p [][]byte) [][]byte { s.id++; return slices.Insert(p, 500, datagrams(s, 501)[500]) }, map[verdict]bool{altered: true}},
		{"a short one twice", func(s stamp, p [][]byte) [][]byte {
			i := tiny(s, 500, 4)
			return slices.Insert(p, int(i)+10, p[i])
		}, map[verdict]bool{duplicate: true}},
		{"a short one altered", func(s stamp, p [][]byte) [][]byte { flip(p[tiny(s, 500, 4)], 2); return p }, map[verdict]bool{altered: true}},
		{"one byte twice", func(s stamp, p [][]byte) [][]byte {
			i := tiny(s, 500, 1)
			return slices.Insert(p, int(i)+10, p[i])
		}, map[verdict]bool{duplicate: true}},
		{"a short one late", func(s stamp, p [][]byte) [][]byte {
			i := tiny(s, 500, 3)
			p[i], p[i+20] = p[i+20], p[i]
			return p
		}, map[verdict]bool{reordered: true}},
	} {
		for _, s := range []stamp{{id: 7, largest: 1472, run: 1}, {id: 8, largest: 299, run: 1, text: true}, {id: 9, largest: 99, run: 8}} {
			sent := datagrams(s, n)
			check := newChecker(s)
			got := make(map[verdict]int)
			for _, p := range c.pass(s, sent) {
				got[check.take(p)]++
			}
			delete(got, arrived)
			if len(c.want) == 0 && len(got) > 0 {
				t.Errorf("%s, %+v: verdicts %v on a line without a fault", c.name, s, got)
			}
			for v := range c.want {
				if got[v] == 0 {
					t.Errorf("%s, %+v: verdicts %v, want some of %v", c.name, s, got, v)
				}
			}
			for v := range got {
				if !c.want[v] {
					t.Errorf("%s, %+v: verdicts %v, want none of %v", c.name, s, got, v)
				}
			}
		}
	}
}

func flip(b []byte, i int) { b[i] ^= 1 }

// datagrams returns the first n of a track.
func datagrams(s stamp, n uint64) (all [][]byte) {
	buf := make([]byte, s.largest+stampHeader)
	for seq := range n {
		all = append(all, slices.Clone(s.write(buf, seq)))
	}
	return all
}
