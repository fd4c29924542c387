package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"golang.org/x/crypto/chacha20poly1305"
)

// aeadFrames is AES-256-GCM or ChaCha20-Poly1305.
type aeadFrames struct {
	aead  cipher.AEAD
	nonce [12]byte // BE32(0) | BE64(number)
}

func newAEAD(c Cipher, key []byte) *aeadFrames {
	if c == ChaCha20Poly1305 {
		return &aeadFrames{aead: cannotFail(chacha20poly1305.New(key))}
	}
	return &aeadFrames{aead: cannotFail(cipher.NewGCM(cannotFail(aes.NewCipher(key))))}
}

func (a *aeadFrames) seal(number uint32, header, body []byte) {
	text, _ := split(body)
	a.aead.Seal(text[:0], a.nonceOf(number), text, header)
}

func (a *aeadFrames) open(number uint32, header, body []byte) bool {
	_, err := a.aead.Open(body[:0], a.nonceOf(number), body, header)
	return err == nil
}

func (a *aeadFrames) nonceOf(number uint32) []byte {
	binary.BigEndian.PutUint64(a.nonce[4:], uint64(number))
	return a.nonce[:]
}
