package crypto

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func TestReplay(t *testing.T) {
	i, f1 := initiate(t)
	door := testDoor(t, otherSecret, testSecret)
	call := must(door.Open(f1))(t)
	_, err := door.Open(f1)
	wantErr(t, "the same flight again", err, ErrReplay)
	f2, _, err := call.Answer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := i.Finish(f2); err != nil {
		t.Errorf("the first call after the replay: %v", err)
	}

	// The other key's list is a list of its own.
	f1Other, _ := newRefKey(otherSecret).f1(f1[:32], newRefKey(otherSecret).hint(f1[:32]), make([]byte, HelloSize))
	if _, err := door.Open(f1Other); err != nil {
		t.Errorf("the same e under the other key: %v", err)
	}
}

// A flight that fails behind the door does not use up its e.
func TestReplayOfForged(t *testing.T) {
	_, f1 := initiate(t)
	door := testDoor(t, testSecret)
	bad := join(f1)
	bad[doorAt-1] ^= 1
	_, err := door.Open(newRefKey(testSecret).shut(bad))
	wantErr(t, "forged", err, ErrAuth)
	_, err = door.Open(f1)
	wantErr(t, "right, with the same e", err, nil)
}

// remembered is recentSize in a number: it stands in the description of the wire.
const remembered = 4096

// The list holds the last 4096, so what is older is answered once more.
func TestReplayForgotten(t *testing.T) {
	_, f1 := initiate(t)
	door := testDoor(t, testSecret)
	if _, err := door.Open(f1); err != nil {
		t.Fatal(err)
	}
	for n := range remembered - 1 {
		if !door.seen[0].add([32]byte{0xff, byte(n), byte(n >> 8)}) {
			t.Fatalf("point %d is not new", n)
		}
	}
	_, err := door.Open(f1)
	wantErr(t, "after 4095 others", err, ErrReplay)
	if !door.seen[0].add([32]byte{0xfe}) {
		t.Fatal("the 4096th point is not new")
	}
	_, err = door.Open(f1)
	wantErr(t, "after 4096 others", err, nil)
	_, err = door.Open(f1)
	wantErr(t, "at once again", err, ErrReplay)
}

func TestRecent(t *testing.T) {
	r := newRecent()
	point := func(n int) (p [32]byte) { return [32]byte{byte(n), byte(n >> 8), byte(n >> 16)} }
	const rounds = 3*remembered + 7
	for n := range rounds {
		if !r.add(point(n)) {
			t.Fatalf("point %d is not new", n)
		}
	}
	if len(r.ring) != remembered || len(r.have) != remembered {
		t.Fatalf("it remembers %d and %d points, want %d", len(r.ring), len(r.have), remembered)
	}
	for n := rounds - remembered; n < rounds; n++ {
		if r.add(point(n)) {
			t.Fatalf("point %d is forgotten already", n)
		}
	}
	if !r.add(point(rounds - remembered - 1)) {
		t.Error("a point older than the last 4096 is not forgotten")
	}
}

func TestReplayAtOnce(t *testing.T) {
	_, f1 := initiate(t)
	door := testDoor(t, testSecret)
	var opened, replayed atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			switch _, err := door.Open(f1); {
			case err == nil:
				opened.Add(1)
			case errors.Is(err, ErrReplay):
				replayed.Add(1)
			}
		})
	}
	wg.Wait()
	if opened.Load() != 1 || replayed.Load() != 7 {
		t.Errorf("%d opened, %d replayed; want 1 and 7", opened.Load(), replayed.Load())
	}
}
