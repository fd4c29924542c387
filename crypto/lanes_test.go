package crypto

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"golang.org/x/crypto/blowfish"
)

// ways are those to encrypt that this processor has.
func ways() (list []bool) {
	list = append(list, false)
	if hasWide() {
		list = append(list, true)
	}
	return list
}

// TestLanes compares the lanes with the library, block by block, for every
// length up to a few rounds of all lanes, in each way.
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
		for _, k.wide = range ways() {
			for n := range 4 * wideSize {
				ours, theirs := bytes.Repeat([]byte{7}, n+1), bytes.Repeat([]byte{7}, n+1)
				k.crypt(0xfffffff0+uint32(n), 0, ours[:n]) // and not the byte behind
				alone.crypt(0xfffffff0+uint32(n), theirs[:n])
				if !bytes.Equal(ours, theirs) {
					t.Fatalf("wide %v, %d bytes: %x, library %x", k.wide, n, ours, theirs)
				}
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
		for _, k.wide = range ways() {
			if k.agrees(block) {
				t.Error("a wrong key agrees with the library")
			}
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
	for _, wide := range ways() {
		b.Run(fmt.Sprintf("wide=%v", wide), func(b *testing.B) {
			b.SetBytes(16384)
			b.RunParallel(func(p *testing.PB) { // on all threads of a core, as both ends of a link may be
				k, text := newLanes(block), make([]byte, 16384)
				for k.wide = wide; p.Next(); {
					k.crypt(1, 0, text)
				}
			})
		})
	}
}
