package crypto

import (
	"bytes"
	"reflect"
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

// A library with another inside gets no lanes, and no panic.
func TestLanesOfAnotherLibrary(t *testing.T) {
	block, err := blowfish.NewCipher(make([]byte, 56))
	if err != nil {
		t.Fatal(err)
	}
	type box = [256]uint32
	for name, inside := range map[string]any{
		"other names":  struct{ subkeys [18]uint32 }{},
		"slice":        struct{ p []uint32 }{make([]uint32, 18)},
		"shorter":      struct{ p [16]uint32 }{},
		"longer":       struct{ p [20]uint32 }{},
		"wider words":  struct{ p [18]uint64 }{},
		"narrow words": struct{ p [18]uint8 }{},
		"signed words": struct{ p [18]int32 }{},
		"one box missing": struct {
			p          [18]uint32
			s0, s1, s2 box
		}{},
		"other values": struct {
			p              [18]uint32
			s0, s1, s2, s3 box
		}{},
	} {
		if lanesFrom(reflect.ValueOf(inside), block) != nil {
			t.Errorf("%s: there are lanes", name)
		}
	}
	if lanesFrom(reflect.ValueOf(block).Elem(), block) == nil {
		t.Error("there are no lanes for the library itself")
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
