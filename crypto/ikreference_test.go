package crypto

// The second implementation of the handshake with strong keys, in straight lines
// like the one in reference_test.go, whose parts it uses: Noise_IKpsk2_25519_
// ChaChaPoly_BLAKE2s. Here, too, each key encrypts one message.

func newRefIK(prologue, server []byte) *refNoise {
	name := newBlake()
	name.Write([]byte("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"))
	n := &refNoise{h: name.Sum(nil)}
	n.ck = n.h
	n.mixHash(prologue)
	n.mixHash(server)
	return n
}

// firstIK returns message 1: e, es, s, ss.
func (n *refNoise) firstIK(e, es, static, ss, payload []byte) []byte {
	n.mixHash(e)
	n.mixKey(e)
	n.mixKey(es)
	sealed := n.encrypt(static)
	n.mixKey(ss)
	return join(e, sealed, n.encrypt(payload))
}

// secondIK returns message 2: e, ee, se, psk.
func (n *refNoise) secondIK(e, ee, se, psk, payload []byte) []byte {
	n.mixHash(e)
	n.mixKey(e)
	n.mixKey(ee)
	n.mixKey(se)
	out := n.hkdf(psk, 3)
	n.ck, n.k = out[0], out[2]
	n.mixHash(out[1])
	return join(e, n.encrypt(payload))
}

// refStrong is what both ends of a link know, and their private keys.
type refStrong struct {
	client, server             []byte // private
	clientPublic, serverPublic []byte
	id, psk, door              []byte
}

func newRefStrong(client, server, secret []byte) refStrong {
	cp, sp := refPublic(client), refPublic(server)
	return refStrong{client, server, cp, sp,
		refHKDF(cp, nil, "vpnd 2 strong link", 8),
		refHKDF(secret, nil, "vpnd 2 strong psk", 32),
		refHKDF(sp, nil, "vpnd 2 strong door", 32),
	}
}

func (s refStrong) key() refKey                 { return refKey{door: s.door, id: s.id} }
func (s refStrong) hint(e []byte) []byte        { return s.key().hint(e) }
func (s refStrong) prologue(hint []byte) []byte { return join([]byte("vpnd 2strong"), s.id, hint) }
func (s refStrong) shut(flight []byte) []byte   { return s.key().shut(flight) }
func (s refStrong) start(hint []byte) *refNoise { return newRefIK(s.prologue(hint), s.serverPublic) }

// f1 returns a first flight and the state behind it; e is private.
func (s refStrong) f1(e, hint, payload []byte) ([]byte, *refNoise) {
	n := s.start(hint)
	m := n.firstIK(refPublic(e), refShared(e, s.serverPublic), s.clientPublic, refShared(s.client, s.serverPublic), payload)
	return s.shut(join(m[:32], hint, m[32:])), n
}

// f2 returns the second flight; e is the server's and private, ce the client's and
// public.
func (s refStrong) f2(n *refNoise, e, ce, answer []byte) []byte {
	return n.secondIK(refPublic(e), refShared(e, ce), refShared(e, s.clientPublic), s.psk, answer)
}
