package tunnel

import (
	"testing"
	"time"

	"vpnd/compress"
)

// TestBehind tells a peer that does not keep up from a line that is slow.
func TestBehind(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name   string
		rate   float64
		losing bool
		took   time.Duration
		want   bool
	}{
		{"fast line", 0, false, 10 * time.Second, false},
		{"at once", 125_000, false, 60 * ms, false},
		{"the line itself", 4200, false, 1900 * ms, false},
		{"a slow peer", 125_000, false, 700 * ms, true},
		{"a slow peer on a slow line", 4200, false, 3 * time.Second, true},
		{"losses", 125_000, true, 700 * ms, false},
	} {
		a := allowance{rate: test.rate, seen: gauge{rtt: 60 * ms, losing: test.losing}}
		if got := a.behind(test.took); got != test.want {
			t.Errorf("%s: %v after %v", test.name, got, test.took)
		}
	}
}

// TestStrain has PONGs come late, once and again: only then less is asked of the peer.
func TestStrain(t *testing.T) {
	e, err := compress.NewEncoder("auto", compress.All)
	if err != nil {
		t.Fatal(err)
	}
	e.Carried(1, time.Minute)
	w := &sender{encoder: e}
	w.allow.rate = 125_000
	method := func() compress.Method {
		return compress.Method(e.Pack(append([]byte{0}, make([]byte, 1000)...))[0] >> 4)
	}
	method()
	for i, took := range []time.Duration{time.Second, 10 * time.Millisecond, time.Second, time.Second} {
		if m := method(); m != compress.Model {
			t.Fatalf("%v before PONG %d", m, i)
		}
		w.ponged(took)
	}
	if m := method(); m == compress.Model {
		t.Errorf("%v after two PONGs in a row that were late", m)
	}
}
