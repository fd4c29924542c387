package compress

import (
	"testing"
	"time"
)

// TestChoice has lines of any speed, with and without methods that the peer has.
func TestChoice(t *testing.T) {
	for _, c := range []struct {
		name   string
		common Set
		bits   float64 // a second; 0: nobody knows
		cost   float64 // of a model, ns for a byte; 0: as at first
		want   Method
	}{
		{"unknown", All, 0, 0, S2},
		{"modem", All, 33600, 0, Model},
		{"modem, a slow host", All, 33600, 10000, Model},
		{"modem, a very slow host", All, 33600, 100000, Deflate},
		{"modem, no model", All &^ (1 << Model), 33600, 0, Deflate},
		{"modem, s2 only", 1 << S2, 33600, 0, S2},
		{"256 kbit/s", All, 256e3, 0, Model},
		{"1 Mbit/s", All, 1e6, 0, Model},
		{"1 Mbit/s, a slow host", All, 1e6, 1000, Deflate},
		{"2 Mbit/s", All, 2e6, 0, Deflate},
		{"10 Mbit/s", All, 10e6, 0, S2},
		{"1 Gbit/s", All, 1e9, 0, S2},
	} {
		w := newWorth()
		if c.bits > 0 {
			w.carried(1000, time.Duration(8e12/c.bits))
		}
		if c.cost > 0 {
			w.cost[Model] = c.cost
		}
		if got := w.method(c.common); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestChoiceStays does not change the method with each measurement, and forgives a host
// that was busy.
func TestChoiceStays(t *testing.T) {
	w := newWorth()
	w.wire = firstCosts[Model] * peerToo / usual[Model] * 1.01
	if w.method(All) != Model {
		t.Fatal("the line is slow enough for a model")
	}
	if w.wire *= 0.7; w.method(All) != Model {
		t.Error("the model goes as soon as the line is a little faster")
	}
	if w.wire *= 0.8; w.method(All) == Model {
		t.Error("the model stays")
	}
	if w.wire /= 0.56; w.method(All) != Model {
		t.Error("it does not come back")
	}
	w.cost[Model] *= 10
	n := 0
	for w.method(All) != Model {
		if n++; n > 2*forgive {
			t.Fatal("it does not come back after the host was busy")
		}
	}
	if n < forgive/2 {
		t.Errorf("a method that takes too long is back after %d blocks", n)
	}
}

// TestStrained has the other end tell that it is too slow, for one method and the next.
func TestStrained(t *testing.T) {
	w := newWorth()
	w.carried(1000, 8*time.Second)
	for _, want := range []Method{Model, Deflate, S2, S2} {
		if got := w.method(All); got != want {
			t.Fatalf("%v, want %v", got, want)
		}
		w.strained()
	}
	for range forgive {
		if got := w.method(All); got != S2 {
			t.Fatalf("%v soon after", got)
		}
	}
	for range 2 * strains * forgive {
		w.method(All)
	}
	if got := w.method(All); got != Model {
		t.Errorf("%v for ever", got)
	}
}

// TestChoiceChanges has a line become slow and fast again: both ends follow.
func TestChoiceChanges(t *testing.T) {
	e, d := newEncoder(t, "auto"), NewDecoder(All)
	seen := map[byte]bool{}
	for i, perByte := range []time.Duration{0, 100, 1e6, 4000, 1e6, 100, 1e6, 0} {
		for n := range 60 {
			block := testPacket(4, protocolTCP, uint32(n), uint32(i*60+n), make([]byte, 1100))
			src := e.Append(nil, block)
			if got, err := d.Decode(src); err != nil || string(got) != string(block) {
				t.Fatalf("%d ns a byte, header %02x: differs, %v", perByte, src[0], err)
			}
			seen[src[0]] = true
			e.worth.cost = firstCosts // whatever this host takes
			e.Carried(len(src), e.worth.spent+time.Duration(len(src))*perByte)
		}
	}
	for _, header := range []byte{0x10, 0x2c, 0x28, 0x4c, 0x48} {
		if !seen[header] {
			t.Errorf("no block with header %02x", header)
		}
	}
}

// TestRoom has blocks that shrink and then one that does not.
func TestRoom(t *testing.T) {
	e := newEncoder(t, "model")
	if n := e.Room(300); n != 300 {
		t.Errorf("at first there is room for %d", n)
	}
	for range 20 {
		e.Append(nil, make([]byte, 1000))
	}
	for n, want := range map[int]int{300: 1200, 10000: maxModel, 20000: 20000} {
		if got := e.Room(n); got != want {
			t.Errorf("for %d bytes there is room for %d, want %d", n, got, want)
		}
	}
	e.packed(100, 101)
	if n := e.Room(300); n > 310 {
		t.Errorf("after a block that did not shrink there is room for %d", n)
	}
}

// TestLargeBlocks are not for a model.
func TestLargeBlocks(t *testing.T) {
	e, d := newEncoder(t, "model"), NewDecoder(All)
	for i, c := range []struct {
		size int
		want byte
	}{{maxModel, 0x4c}, {maxModel + 1, 0x10}, {MaxBlock, 0x10}, {100, 0x48}} {
		src := e.Append(nil, make([]byte, c.size))
		if src[0] != c.want {
			t.Errorf("block %d: header %02x, want %02x", i, src[0], c.want)
		}
		if _, err := d.Decode(src); err != nil {
			t.Errorf("block %d: %v", i, err)
		}
	}
}
