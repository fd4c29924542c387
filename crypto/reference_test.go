package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"testing"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/blowfish" // deprecated: see blowfish.go
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
)

// This file is a second implementation of doc.go in straight lines. It shares
// nothing with the first one, the Noise library included, so that the vectors
// are not only what the first one believes. Tests also forge with it: it makes
// flights that are right in all but one point.

func newBlake() hash.Hash {
	h, err := blake2s.New256(nil)
	if err != nil {
		panic(err)
	}
	return h
}

func refMAC(h func() hash.Hash, key []byte, parts ...[]byte) []byte {
	m := hmac.New(h, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// refExpand is the second half of RFC 5869.
func refExpand(prk, info []byte, n int) []byte {
	var out, t []byte
	for i := byte(1); len(out) < n; i++ {
		t = refMAC(sha256.New, prk, t, info, []byte{i})
		out = append(out, t...)
	}
	return out[:n]
}

func refHKDF(secret, salt []byte, info string, n int) []byte {
	return refExpand(refMAC(sha256.New, salt, secret), []byte(info), n)
}

type refKey struct{ psk, door, id, idKey []byte }

func newRefKey(secret []byte) refKey {
	return refKey{
		psk:   refHKDF(secret, nil, "vpnd 2 psk", 32),
		door:  refHKDF(secret, nil, "vpnd 2 door", 32),
		id:    refHKDF(secret, nil, "vpnd 2 key id", 8),
		idKey: refHKDF(secret, nil, "vpnd 2 client id", 32),
	}
}

func (k refKey) hint(e []byte) []byte {
	hint := refMAC(sha256.New, k.door, []byte("hint"), e)[:8]
	for i := range hint {
		hint[i] ^= k.id[i]
	}
	return hint
}

func (k refKey) clientID(machine, instance string) []byte {
	return refMAC(sha256.New, k.idKey, []byte(machine), []byte{0}, []byte(instance))[:8]
}

func (k refKey) prologue(hint []byte) []byte { return join([]byte("vpnd 2psk"), k.id, hint) }

// shut puts the right door behind the first 176 bytes of a flight.
func (k refKey) shut(flight []byte) []byte {
	return join(flight[:176], refMAC(sha256.New, k.door, flight[:176])[:16])
}

// refNoise is Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s. Each of its keys encrypts
// one message, so the nonce is always zero.
type refNoise struct{ h, ck, k []byte }

func newRefNoise(psk, prologue []byte) *refNoise {
	name := newBlake()
	name.Write([]byte("Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s"))
	n := &refNoise{h: name.Sum(nil)}
	n.ck = n.h
	n.mixHash(prologue)
	out := n.hkdf(psk, 3)
	n.ck, n.k = out[0], out[2]
	n.mixHash(out[1])
	return n
}

func (n *refNoise) mixHash(data []byte) {
	h := newBlake()
	h.Write(n.h)
	h.Write(data)
	n.h = h.Sum(nil)
}

func (n *refNoise) hkdf(input []byte, outputs int) (out [][]byte) {
	prk := refMAC(newBlake, n.ck, input)
	var t []byte
	for i := range outputs {
		t = refMAC(newBlake, prk, t, []byte{byte(i + 1)})
		out = append(out, t)
	}
	return out
}

func (n *refNoise) mixKey(input []byte) {
	out := n.hkdf(input, 2)
	n.ck, n.k = out[0], out[1]
}

func (n *refNoise) encrypt(payload []byte) []byte {
	aead, err := chacha20poly1305.New(n.k)
	if err != nil {
		panic(err)
	}
	text := aead.Seal(nil, make([]byte, 12), payload, n.h)
	n.mixHash(text)
	return text
}

// first returns message 1.
func (n *refNoise) first(e, payload []byte) []byte {
	n.mixHash(e)
	n.mixKey(e)
	return join(e, n.encrypt(payload))
}

// second returns message 2; shared is the Diffie-Hellman result.
func (n *refNoise) second(e, shared, payload []byte) []byte {
	n.mixHash(e)
	n.mixKey(e)
	n.mixKey(shared)
	return join(e, n.encrypt(payload))
}

func (n *refNoise) split() (c2s, s2c []byte) {
	out := n.hkdf(nil, 2)
	return out[0], out[1]
}

// f1 returns a first flight, right in all but what the caller gives it, and
// the state behind it.
func (k refKey) f1(e, hint, hello []byte) ([]byte, *refNoise) {
	n := newRefNoise(k.psk, k.prologue(hint))
	m := n.first(e, hello)
	return k.shut(join(e, hint, m[32:])), n
}

// refGeneration is the secrets of a generation.
type refGeneration struct{ c2s, s2c, secret []byte }

func newRefGeneration(n *refNoise) refGeneration {
	up, down := n.split()
	return refGeneration{
		c2s:    refHKDF(up, n.h, "vpnd 2 chain", 32),
		s2c:    refHKDF(down, n.h, "vpnd 2 chain", 32),
		secret: refHKDF(join(up, down), n.h, "vpnd 2 rekey", 32),
	}
}

type refEpoch struct {
	cipher         string
	epoch          uint64
	key, mac, next []byte
}

func newRefEpoch(chain []byte, name string, keyBits int, epoch uint64) refEpoch {
	number := map[string]byte{"blowfish": 0, "aes-256-gcm": 1, "chacha20-poly1305": 2}[name]
	n, mac := keyBits/8, 0
	if name == "blowfish" {
		mac = 32
	}
	info := join([]byte("vpnd 2 epoch"), []byte{number, byte(keyBits >> 8), byte(keyBits)},
		binary.BigEndian.AppendUint64(nil, epoch))
	out := refExpand(chain, info, n+mac+32)
	return refEpoch{name, epoch, out[:n], out[n : n+mac], out[n+mac:]}
}

// seal returns header, ciphertext and tag.
func (e refEpoch) seal(t testing.TB, number uint32, header, plain []byte) []byte {
	t.Helper()
	nonce := join(make([]byte, 4), binary.BigEndian.AppendUint64(nil, uint64(number)))
	switch e.cipher {
	case "aes-256-gcm":
		block := must(aes.NewCipher(e.key))(t)
		return must(cipher.NewGCM(block))(t).Seal(join(header), nonce, plain, header)
	case "chacha20-poly1305":
		return must(chacha20poly1305.New(e.key))(t).Seal(join(header), nonce, plain, header)
	}
	iv := join(binary.BigEndian.AppendUint32(nil, number), make([]byte, 4))
	text := join(plain)
	cipher.NewCTR(must(blowfish.NewCipher(e.key))(t), iv).XORKeyStream(text, text)
	tag := refMAC(sha256.New, e.mac,
		binary.BigEndian.AppendUint64(nil, e.epoch),
		binary.BigEndian.AppendUint64(nil, uint64(number)), header, text)[:16]
	return join(header, text, tag)
}

func refPublic(private []byte) []byte { return refShared(private, curve25519.Basepoint) }

func refShared(private, public []byte) []byte {
	out, err := curve25519.X25519(private, public)
	if err != nil {
		panic(err)
	}
	return out
}

// join returns the parts in a slice of their own, with no room behind it.
func join(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := make([]byte, 0, n)
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// must turns an unexpected error into the end of the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
