package crypto

import (
	"sync"
	"time"

	"golang.org/x/sys/cpu"
)

// wideSize is how many bytes cryptWide takes at a time: two registers of 16 blocks.
const wideSize = 256

// cryptWide is crypt for a multiple of wideSize bytes. It needs AVX-512F and
// AVX-512BW.
//
//go:noescape
func cryptWide(k *lanes, number, first uint32, text []byte)

// wideWins reports whether cryptWide is faster than the lanes here. Processors look
// up 16 words at once, but not all are good at it, and some are slow since a flaw of
// theirs was mended (Downfall, 2023), so it is tried.
var wideWins = sync.OnceValue(func() bool {
	if !hasWide() {
		return false
	}
	var k lanes
	for i := range k.s0 { // looked up all over the place, as in any key
		k.s0[i] = uint32(i) * 0x9e3779b9
	}
	k.s1, k.s2, k.s3 = k.s0, k.s0, k.s0
	lanes := tried(&k)
	k.wide = true
	return tried(&k) < lanes
})

func hasWide() bool { return cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW }

// tried returns the shortest of a few times that a key takes to encrypt.
func tried(k *lanes) time.Duration {
	var text [8 * wideSize]byte
	best := time.Hour
	for range 8 { // others may interrupt some
		began := time.Now()
		k.crypt(0, 0, text[:])
		best = min(best, time.Since(began))
	}
	return best
}
