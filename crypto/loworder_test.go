package crypto

import (
	"crypto/rand"
	"encoding/hex"
	"testing"

	"golang.org/x/crypto/curve25519"
)

// The list has exactly what the multiplication refuses.
func TestLowOrder(t *testing.T) {
	check := func(point []byte) (low bool) {
		t.Helper()
		_, err := curve25519.X25519(curve25519.Basepoint, point)
		if low = isLowOrder(point); low != (err != nil) {
			t.Errorf("%x: low order %v, multiplied: %v", point, low, err)
		}
		if _, err := ParsePublicKey(PublicKey(point).String()); (err != nil) != low {
			t.Errorf("%x: parsed: %v", point, err)
		}
		return low
	}
	for _, text := range lowOrder {
		point, err := hex.DecodeString(text)
		if err != nil || !check(point) {
			t.Errorf("%s: error %v, or not of low order", text, err)
		}
		for _, n := range []int{0, 1, 15, 30} { // and nothing beside them
			point[n] ^= 0x10
			check(point)
			point[n] ^= 0x10
		}
	}
	for n := range 256 { // small numbers, and those next to 2^255
		small, large := make([]byte, pointSize), make([]byte, pointSize)
		small[0] = byte(n)
		for i := range large {
			large[i] = 0xff
		}
		large[0], large[31] = byte(n), 0x7f
		check(small)
		check(large)
	}
	for range 20 {
		point := make([]byte, pointSize)
		rand.Read(point)
		point[31] &= 0x7f
		if check(point) {
			t.Error("a random point is of low order")
		}
	}
}
