package compress

import (
	"bytes"
	"testing"
	"time"
)

// testEncoder returns an Encoder of policy auto to which compressing a block seems
// to take what cost says for a byte.
func testEncoder(t *testing.T, cost time.Duration) *Encoder {
	t.Helper()
	e, err := NewEncoder("auto", All)
	if err != nil {
		t.Fatal(err)
	}
	var now time.Duration
	e.worth.now = func() time.Duration {
		now += cost * text // it is asked before and after
		return now
	}
	return e
}

// text is the length of the blocks of these tests.
const text = 10000

// carry sends n blocks over a line that takes so long for a byte, and returns how
// many of them were compressed.
func carry(e *Encoder, n int, perByte time.Duration) (compressed int) {
	block := bytes.Repeat([]byte("compressible text "), text/18+1)[:text]
	for range n {
		out := e.Append(nil, block)
		if Method(out[0]>>4) == S2 {
			compressed++
		}
		e.Carried(len(out), e.worth.spent+time.Duration(len(out))*perByte)
	}
	return compressed
}

// TestWorth has lines that are slower and faster than the compressor.
func TestWorth(t *testing.T) {
	for _, test := range []struct {
		name       string
		cost, wire time.Duration // for a byte
		least      int           // of 1000 blocks that are compressed
		most       int
	}{
		{"a slow line", 10, 1000, 1000, 1000},
		{"a line that is a little too slow", 10, 17, 1000, 1000},
		{"a line that is a little too fast", 10, 14, 7, 25},
		{"a fast line", 10, 1, 7, 12},
	} {
		if n := carry(testEncoder(t, test.cost), 1000, test.wire); n < test.least || n > test.most {
			t.Errorf("%s: %d of 1000 blocks are compressed, want %d to %d", test.name, n, test.least, test.most)
		}
	}
}

// TestWorthFollows has a line whose speed changes.
func TestWorthFollows(t *testing.T) {
	e := testEncoder(t, 10)
	carry(e, 100, 1000)
	if carry(e, 200, 1); carry(e, 1000, 1) > 12 {
		t.Error("blocks are compressed on a line that has become fast")
	}
	if carry(e, 200, 1000); carry(e, 1000, 1000) != 1000 {
		t.Error("blocks are not compressed on a line that has become slow")
	}
}

// TestWorthInterrupted has another process take the CPU in the middle of a block.
func TestWorthInterrupted(t *testing.T) {
	e := testEncoder(t, 10)
	carry(e, 100, 30)
	quiet := e.worth.now
	for range 3 {
		e.worth.now = func() time.Duration { return 1000 * quiet() }
		carry(e, 1, 30)
		if e.worth.now = quiet; carry(e, 100, 30) != 100 {
			t.Errorf("one slow block, and the others are not compressed: %+v", *e.worth)
		}
	}
	e = testEncoder(t, 10000) // the first one of all
	carry(e, 1, 30)
	e.worth.now = testEncoder(t, 10).worth.now
	carry(e, 12*seldom, 30)
	if carry(e, 100, 30) != 100 {
		t.Errorf("the first block was slow, and none is compressed: %+v", *e.worth)
	}
}

// TestWorthSmall sees that small blocks are compressed on any line, and say nothing
// about the compressor.
func TestWorthSmall(t *testing.T) {
	e := testEncoder(t, 10)
	carry(e, 500, 1)
	before := *e.worth
	for range 200 {
		out := e.Append(nil, bytes.Repeat([]byte("text "), 100))
		if Method(out[0]>>4) != S2 {
			t.Fatal("a small block is not compressed")
		}
	}
	if w := e.worth; w.cost != before.cost || w.left != before.left {
		t.Errorf("small blocks changed %+v to %+v", before, *w)
	}
}

// TestWorthUnknown compresses as long as nobody knows the line.
func TestWorthUnknown(t *testing.T) {
	for _, policy := range []string{"auto", "s2"} {
		e := newEncoder(t, policy)
		for range 50 {
			if out := e.Append(nil, make([]byte, text)); Method(out[0]>>4) != S2 {
				t.Fatalf("%s: a block is not compressed", policy)
			}
			if policy == "s2" {
				e.Carried(text, 1) // who chose a method gets it
			}
		}
	}
}

// TestTakes has a line of which is known how long it takes, beside a compressor that takes
// about as long.
func TestTakes(t *testing.T) {
	e := testEncoder(t, 100)
	for range 10 {
		out := e.Append(nil, make([]byte, text))
		e.Takes(len(out), time.Duration(len(out))*150)
		if w := e.worth; w.wire != 150 || w.spent != 0 {
			t.Fatalf("the line seems to take %v ns for a byte, and %v are spent", w.wire, w.spent)
		}
	}
}
