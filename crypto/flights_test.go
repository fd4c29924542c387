package crypto

import (
	"bytes"
	"fmt"
	"testing"
)

// ends are both ends of the handshake by one sort of key.
type ends struct {
	initiate  func(testing.TB) (*Initiator, []byte)
	handshake func(testing.TB) (client, server *Generation, f2 []byte)
	open      func(testing.TB, []byte) error // at the server's door
}

var (
	sharedEnds = ends{initiate, handshake, func(t testing.TB, f1 []byte) error {
		_, err := testDoor(t, testSecret).Open(f1)
		return err
	}}
	strongEnds = ends{initiateStrong, strongHandshakeOf, func(t testing.TB, f1 []byte) error {
		_, err := testStrongDoor(t).Open(f1)
		return err
	}}
)

func eachSort(t *testing.T, test func(t *testing.T, e ends)) {
	t.Run("shared", func(t *testing.T) { test(t, sharedEnds) })
	t.Run("strong", func(t *testing.T) { test(t, strongEnds) })
}

func TestF1Lengths(t *testing.T) {
	eachSort(t, func(t *testing.T, e ends) {
		i, f1 := e.initiate(t)
		long := zeroPadded(f1, 2*F1Size)
		for n := range len(long) {
			if n != F1Size {
				wantErr(t, fmt.Sprintf("%d bytes", n), e.open(t, join(long[:n])), ErrAuth)
			}
		}
		wantErr(t, "whole", e.open(t, f1), nil)
		_, _, err := i.Finish(f1[:F2Size])
		wantErr(t, "F1 reflected, cut to the size of F2", err, ErrAuth)
	})
}

func TestF2Bits(t *testing.T) {
	eachSort(t, func(t *testing.T, e ends) {
		_, _, f2 := e.handshake(t)
		i, _ := e.initiate(t)
		flips(f2, func(bit int, flipped []byte) {
			_, _, err := i.Finish(flipped)
			wantErr(t, fmt.Sprintf("bit %d", bit), err, ErrAuth)
		})
		_, _, err := i.Finish(f2)
		wantErr(t, "the right flight after all the damaged ones", err, nil)
	})
}

func TestF2Lengths(t *testing.T) {
	eachSort(t, func(t *testing.T, e ends) {
		_, _, f2 := e.handshake(t)
		long := zeroPadded(f2, 2*F2Size)
		i, _ := e.initiate(t)
		for n := range len(long) {
			if n == F2Size {
				continue
			}
			_, _, err := i.Finish(join(long[:n]))
			wantErr(t, fmt.Sprintf("%d bytes", n), err, ErrAuth)
		}
		_, _, err := i.Finish(f2)
		wantErr(t, "whole", err, nil)
	})
}

func FuzzFinish(f *testing.F)       { sharedEnds.fuzzFinish(f) }
func FuzzStrongFinish(f *testing.F) { strongEnds.fuzzFinish(f) }

// Only the one flight that answers the client's finishes its handshake.
func (e ends) fuzzFinish(f *testing.F) {
	_, _, good := e.handshake(f)
	f.Add(good)
	f.Add(good[:F2Size-1])
	f.Add(append(join(good), 0))
	f.Add(make([]byte, F2Size))
	f.Add([]byte{})
	for _, bit := range []int{0, 255, 256, 895, 896, 1023} {
		flipped := join(good)
		flipped[bit/8] ^= 1 << (bit % 8)
		f.Add(flipped)
	}
	i, _ := e.initiate(f)
	f.Fuzz(func(t *testing.T, f2 []byte) {
		_, g, err := i.Finish(f2)
		if bytes.Equal(f2, good) {
			wantErr(t, "the right flight", err, nil)
			i, _ = e.initiate(t)
			return
		}
		// The right one is good after any number of others.
		wantErr(t, "another flight", err, ErrAuth)
		if g != nil {
			t.Error("keys came with the error")
		}
	})
}
