package crypto

import (
	"bytes"
	"testing"

	"golang.org/x/crypto/blowfish"
)

// TestLanes compares the lanes with the library, block by block, for every
// length up to a few rounds of all lanes.
func TestLanes(t *testing.T) {
	for _, size := range []int{16, 24, 56} {
		block, err := blowfish.NewCipher(bytes.Repeat([]byte{byte(size)}, size))
		if err != nil {
			t.Fatal(err)
		}
		k := newLanes(block)
		if k == nil {
			t.Fatal("the library's cipher does not look as expected")
		}
		alone := blowfishFrames{block: block}
		for n := range 200 {
			ours, theirs := make([]byte, n), make([]byte, n)
			k.crypt(0xfffffff0+uint32(n), ours)
			alone.crypt(0xfffffff0+uint32(n), theirs)
			if !bytes.Equal(ours, theirs) {
				t.Fatalf("%d bytes: %x, library %x", n, ours, theirs)
			}
		}
	}
}

// TestLanesDisagree changes each part of the expanded key in turn: the
// comparison with the library must notice.
func TestLanesDisagree(t *testing.T) {
	block, err := blowfish.NewCipher(make([]byte, 56))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []func(*lanes) []uint32{
		func(k *lanes) []uint32 { return k.p[:] },
		func(k *lanes) []uint32 { return k.s0[:] },
		func(k *lanes) []uint32 { return k.s1[:] },
		func(k *lanes) []uint32 { return k.s2[:] },
		func(k *lanes) []uint32 { return k.s3[:] },
	} {
		k := newLanes(block)
		for i := range part(k) {
			part(k)[i]++
		}
		if k.agrees(block) {
			t.Error("a wrong key agrees with the library")
		}
	}
}

func BenchmarkLanes(b *testing.B) {
	block, err := blowfish.NewCipher(make([]byte, 56))
	if err != nil {
		b.Fatal(err)
	}
	k, text := newLanes(block), make([]byte, 16384)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		k.crypt(1, text)
	}
}
