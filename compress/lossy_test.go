package compress

import (
	"bytes"
	"testing"
)

// TestLossy sends blocks over lines that lose one in so many. The peer asks for a new
// history at once.
func TestLossy(t *testing.T) {
	for _, c := range []struct {
		name, policy string
		loses        int
		least, most  int // of 2400 blocks, those that need no history
		arrive, lost int
	}{
		{"nothing", "model", 0, 0, 0, 2400, 0},
		{"one in 1000", "model", 1000, 0, 0, 2390, 2},
		{"one in 300", "model", 300, 0, 0, 2380, 8},
		{"one in 50", "model", 50, 1900, 2400, 2330, 48},
		{"one in 10", "model", 10, 2200, 2400, 2100, 240},
		{"nothing, deflate", "deflate", 0, 1, 1, 2400, 0},
		{"one in 300, deflate", "deflate", 300, 8, 10, 2380, 8},
		{"one in 10, deflate", "deflate", 10, 2200, 2400, 2100, 240},
	} {
		if raceDetector && c.loses != 50 { // it makes a model very slow
			continue
		}
		e, d := newEncoder(t, c.policy), NewDecoder(All)
		alone, arrived, lost := 0, 0, 0
		for i := range 2400 {
			p := testPacket(4, protocolTCP, uint32(i), uint32(i), nil)
			src := e.Append(nil, p)
			if m := Method(src[0] >> 4); m == Model && src[0]&stateful == 0 || m == Deflate && src[0]&reset != 0 {
				alone++
			}
			if c.loses > 0 && i%c.loses == c.loses-1 {
				lost++
				d.Lost()
				continue
			}
			got, err := d.Decode(src)
			if err != nil {
				e.Reset()
				continue
			}
			if !bytes.Equal(got, p) {
				t.Fatalf("%s, block %d: %x became %x", c.name, i, p, got)
			}
			arrived++
		}
		if alone < c.least || alone > c.most || arrived < c.arrive || lost < c.lost {
			t.Errorf("%s: %d without a history, %d arrived, %d lost", c.name, alone, arrived, lost)
		}
	}
}

// TestLossyOnce does not count an accident.
func TestLossyOnce(t *testing.T) {
	var l lossy
	l.sent()
	if l.lost(); l.is() {
		t.Error("one loss is often")
	}
	l.sent()
	if l.lost(); !l.is() {
		t.Error("two losses in a row are seldom")
	}
	for range spareTime {
		l.sent()
	}
	if l.is() {
		t.Error("it is never tried again")
	}
}
