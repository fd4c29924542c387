package crypto

import (
	"crypto/subtle"
	"encoding/binary"
	"reflect"

	"golang.org/x/crypto/blowfish"
)

// laneCount is how many blocks are encrypted side by side. One block alone
// leaves most of a processor idle, because each of its 16 rounds waits for the
// memory that the round before looked up.
const (
	laneCount = 4
	laneSize  = laneCount * blowfish.BlockSize
)

// lanes is an expanded Blowfish key that encrypts several counter blocks at
// once, three times as fast as one after the other.
type lanes struct {
	p              [18]uint32
	s0, s1, s2, s3 [256]uint32
	wide           bool // cryptWide is there, and is faster
}

// newLanes takes the expanded key out of the library's cipher, and compares the
// result with the library's. It returns nil if the library has another inside than
// this was written for; then the library does the work alone.
func newLanes(c *blowfish.Cipher) *lanes { return lanesFrom(reflect.ValueOf(c).Elem(), c) }

func lanesFrom(inside reflect.Value, c *blowfish.Cipher) *lanes {
	k := lanes{wide: wideWins()}
	for _, part := range []struct {
		name string
		to   []uint32
	}{{"p", k.p[:]}, {"s0", k.s0[:]}, {"s1", k.s1[:]}, {"s2", k.s2[:]}, {"s3", k.s3[:]}} {
		from := inside.FieldByName(part.name)
		if from.Kind() != reflect.Array || from.Len() != len(part.to) || from.Type().Elem().Kind() != reflect.Uint32 {
			return nil
		}
		for i := range part.to {
			part.to[i] = uint32(from.Index(i).Uint())
		}
	}
	if !k.agrees(c) {
		return nil
	}
	return &k
}

// agrees compares some blocks, of each way to make them, with the library.
func (k *lanes) agrees(c *blowfish.Cipher) bool {
	const number, first = 0x01234567, 0x89abcdef
	var ours [wideSize + laneSize]byte
	k.crypt(number, first, ours[:])
	for i := range uint32(len(ours) / blowfish.BlockSize) {
		var in, out [blowfish.BlockSize]byte
		binary.BigEndian.PutUint32(in[:], number)
		binary.BigEndian.PutUint32(in[4:], first+i)
		c.Encrypt(out[:], in[:])
		if [blowfish.BlockSize]byte(ours[i*blowfish.BlockSize:]) != out {
			return false
		}
	}
	return true
}

// crypt is counter mode from one block of a frame on.
func (k *lanes) crypt(number, first uint32, text []byte) {
	if k.wide {
		n := len(text) / wideSize
		cryptWide(k, number, first, text[:n*wideSize])
		first, text = first+uint32(n*wideSize/blowfish.BlockSize), text[n*wideSize:]
	}
	var pad [laneSize]byte
	for i := first; len(text) > 0; i += laneCount {
		k.blocks(number, i, &pad)
		if len(text) < len(pad) {
			subtle.XORBytes(text, text, pad[:])
			return
		}
		xorPad(text, &pad)
		text = text[len(pad):]
	}
}

// xorPad is a whole pad's part of text.
func xorPad(text []byte, pad *[laneSize]byte) {
	_ = text[len(pad)-1]
	for i := 0; i < len(pad); i += 8 {
		binary.NativeEndian.PutUint64(text[i:], binary.NativeEndian.Uint64(text[i:])^binary.NativeEndian.Uint64(pad[i:]))
	}
}

// f is Blowfish's round function.
func (k *lanes) f(x uint32) uint32 {
	return ((k.s0[byte(x>>24)] + k.s1[byte(x>>16)]) ^ k.s2[byte(x>>8)]) + k.s3[byte(x)]
}

// blocks encrypts the blocks BE32(number) | BE32(first), BE32(number) |
// BE32(first+1), and so on.
func (k *lanes) blocks(number, first uint32, out *[laneSize]byte) {
	l0, l1, l2, l3 := number, number, number, number
	r0, r1, r2, r3 := first, first+1, first+2, first+3
	for i := 0; i < 16; i += 2 {
		p, q := k.p[i], k.p[i+1]
		l0, l1, l2, l3 = l0^p, l1^p, l2^p, l3^p
		r0, r1, r2, r3 = r0^k.f(l0)^q, r1^k.f(l1)^q, r2^k.f(l2)^q, r3^k.f(l3)^q
		l0, l1, l2, l3 = l0^k.f(r0), l1^k.f(r1), l2^k.f(r2), l3^k.f(r3)
	}
	p, q := k.p[16], k.p[17]
	binary.BigEndian.PutUint64(out[0:], uint64(r0^q)<<32|uint64(l0^p))
	binary.BigEndian.PutUint64(out[8:], uint64(r1^q)<<32|uint64(l1^p))
	binary.BigEndian.PutUint64(out[16:], uint64(r2^q)<<32|uint64(l2^p))
	binary.BigEndian.PutUint64(out[24:], uint64(r3^q)<<32|uint64(l3^p))
}
