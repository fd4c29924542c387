package crypto

import "testing"

// The second implementation of letters, in straight lines like the one in
// reference_test.go, whose parts it uses: Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s.

// refLetter is what both ends know, and their private keys.
type refLetter struct {
	gateway, registry []byte // private
	psk               []byte
	noise             *refNoise
	e                 []byte // of the question, public
}

func newRefLetter(t testing.TB, gateway, registry *Identity, password Password) *refLetter {
	t.Helper()
	name := newBlake()
	name.Write([]byte("Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s"))
	n := &refNoise{h: name.Sum(nil)}
	n.ck = n.h
	n.mixHash([]byte("vpnd letter 1"))
	n.mixHash(refPublic(registry.private[:]))
	return &refLetter{gateway: gateway.private[:], registry: registry.private[:], psk: password.psk[:], noise: n}
}

// question returns message 1: e, es, s, ss, psk.
func (l *refLetter) question(e []byte, text string) []byte {
	l.e = refPublic(e)
	server, client := refPublic(l.registry), refPublic(l.gateway)
	n := l.noise
	n.mixHash(l.e)
	n.mixKey(l.e)
	n.mixKey(refShared(e, server))
	sealed := n.encrypt(client)
	n.mixKey(refShared(l.gateway, server))
	out := n.hkdf(l.psk, 3)
	n.ck, n.k = out[0], out[2]
	n.mixHash(out[1])
	return join(l.e, sealed, n.encrypt([]byte(text)))
}

// answer returns message 2: e, ee, se.
func (l *refLetter) answer(e []byte, text string) []byte {
	n := l.noise
	n.mixHash(refPublic(e))
	n.mixKey(refPublic(e))
	n.mixKey(refShared(e, l.e))
	n.mixKey(refShared(e, refPublic(l.gateway)))
	return join(refPublic(e), n.encrypt([]byte(text)))
}
