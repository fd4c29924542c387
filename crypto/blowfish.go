package crypto

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"

	// Deprecated in favour of ciphers with larger blocks; it is the cipher of
	// this system since 1998, and the epochs keep the amount of data under one
	// key far below what makes 64-bit blocks dangerous.
	"golang.org/x/crypto/blowfish"
)

// blowfishFrames is Blowfish in counter mode and HMAC-SHA256 over the
// ciphertext (encrypt, then MAC).
type blowfishFrames struct {
	lanes  *lanes
	block  *blowfish.Cipher // without lanes; with them it would only keep 4 KiB
	mac    hash.Hash
	prefix [16]byte // BE64(epoch) | BE64(number)
	sum    [sha256.Size]byte
	in     [blowfish.BlockSize]byte
	out    [blowfish.BlockSize]byte
}

func newBlowfish(key, mac []byte, epoch uint64) *blowfishFrames {
	block := cannotFail(blowfish.NewCipher(key))
	b := &blowfishFrames{lanes: newLanes(block), mac: hmac.New(sha256.New, mac)}
	if b.lanes == nil {
		b.block = block
	}
	binary.BigEndian.PutUint64(b.prefix[:8], epoch)
	return b
}

func (b *blowfishFrames) seal(number uint32, header, body []byte) {
	text, tag := split(body)
	b.crypt(number, text)
	copy(tag, b.tag(number, header, text))
}

func (b *blowfishFrames) open(number uint32, header, body []byte) bool {
	text, tag := split(body)
	if !hmac.Equal(tag, b.tag(number, header, text)) {
		return false
	}
	b.crypt(number, text)
	return true
}

func split(body []byte) (text, tag []byte) {
	end := len(body) - TagSize
	return body[:end], body[end:]
}

// tag returns the MAC of a frame; it is valid until the next call.
func (b *blowfishFrames) tag(number uint32, header, text []byte) []byte {
	binary.BigEndian.PutUint64(b.prefix[8:], uint64(number))
	b.mac.Reset()
	b.mac.Write(b.prefix[:])
	b.mac.Write(header)
	b.mac.Write(text)
	return b.mac.Sum(b.sum[:0])[:TagSize]
}

// crypt is counter mode: the same for both directions.
func (b *blowfishFrames) crypt(number uint32, text []byte) {
	if b.lanes != nil {
		b.lanes.crypt(number, 0, text)
		return
	}
	binary.BigEndian.PutUint32(b.in[:4], number)
	for i := uint32(0); len(text) > 0; i++ {
		binary.BigEndian.PutUint32(b.in[4:], i)
		b.block.Encrypt(b.out[:], b.in[:])
		n := subtle.XORBytes(text, text, b.out[:])
		text = text[n:]
	}
}
