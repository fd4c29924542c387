package crypto

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/flynn/noise"
)

// Cipher names what seals frames. Its value is what stands on the wire.
type Cipher uint8

// The ciphers of the data channel.
const (
	Blowfish         Cipher = 0
	AES256GCM        Cipher = 1
	ChaCha20Poly1305 Cipher = 2
)

var cipherNames = [...]string{"blowfish", "aes-256-gcm", "chacha20-poly1305"}

// ParseCipher returns the cipher that has a name.
func ParseCipher(name string) (Cipher, error) {
	for c, n := range cipherNames {
		if n == name {
			return Cipher(c), nil
		}
	}
	return 0, fmt.Errorf("cipher %q is unknown", name)
}

// String returns the cipher's name in the configuration.
func (c Cipher) String() string {
	if int(c) < len(cipherNames) {
		return cipherNames[c]
	}
	return fmt.Sprintf("cipher %d", uint8(c))
}

// Suite is a cipher and the length of its key in bits. Only Blowfish has a
// choice there: 128 to 448. The others take 256 whatever KeyBits says.
type Suite struct {
	Cipher  Cipher
	KeyBits int
}

// check returns an error for a suite that does not exist.
func (s Suite) check() error {
	switch s.Cipher {
	case Blowfish:
		if s.KeyBits < 128 || s.KeyBits > 448 || s.KeyBits%8 != 0 {
			return fmt.Errorf("blowfish key of %d bits: 128 to 448 in steps of 8", s.KeyBits)
		}
		return nil
	case AES256GCM, ChaCha20Poly1305:
		return nil
	}
	return fmt.Errorf("%v is unknown", s.Cipher)
}

// keyBytes returns the length of the encryption key.
func (s Suite) keyBytes() int {
	if s.Cipher == Blowfish {
		return s.KeyBits / 8
	}
	return 32
}

// Generation is what one handshake or rekey gave: a chain of keys for each
// direction.
type Generation struct {
	send, receive *subkey // first chain keys
	secret        *subkey // mixed into the next generation
	hash          []byte  // of the handshake
}

// newGeneration derives the keys of a finished handshake and erases what they
// came from, as far as the Noise library lets us reach it.
func newGeneration(state *noise.HandshakeState, c2s, s2c *noise.CipherState, client bool) *Generation {
	hash := state.ChannelBinding()
	up, down := c2s.UnsafeKey(), s2c.UnsafeKey()
	both := append(append([]byte(nil), up[:]...), down[:]...)
	g := &Generation{
		send:    derive(up[:], hash, "vpnd 2 chain"),
		receive: derive(down[:], hash, "vpnd 2 chain"),
		secret:  derive(both, hash, "vpnd 2 rekey"),
		hash:    hash,
	}
	if !client {
		g.send, g.receive = g.receive, g.send
	}
	clear(up[:])
	clear(down[:])
	clear(both)
	clear(state.LocalEphemeral().Private)
	*c2s, *s2c, *state = noise.CipherState{}, noise.CipherState{}, noise.HandshakeState{}
	return g
}

// Keys returns the two ends of this generation, at epoch 0. It may be called
// once, even if it fails: the chains are the Sealer's and the Opener's from then
// on, so that each can erase what it has left behind.
func (g *Generation) Keys(suite Suite) (*Sealer, *Opener, error) {
	if g.send == nil {
		return nil, nil, errors.New("keys of this generation are in use")
	}
	send, receive := g.send, g.receive
	g.send, g.receive = nil, nil
	if err := suite.check(); err != nil {
		return nil, nil, err
	}
	return &Sealer{newHalf(suite, send)}, &Opener{half: newHalf(suite, receive)}, nil
}

// Forget erases the secret that ties the next generation to this one. Rekey and
// AnswerRekey are errors from then on.
func (g *Generation) Forget() {
	if g.secret != nil {
		clear(g.secret[:])
		g.secret = nil
	}
}

// RekeySize is the length of both rekey messages.
const RekeySize = pointSize + 16

// Rekey is the client's half of a rekey that is under way.
type Rekey struct{ state *noise.HandshakeState }

// Rekey starts the next generation and returns the first message.
func (g *Generation) Rekey(random io.Reader) (*Rekey, []byte, error) {
	state, err := g.rekeyState(true, random)
	if err != nil {
		return nil, nil, err
	}
	m1, _, _, err := state.WriteMessage(nil, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("write rekey: %w", err)
	}
	return &Rekey{state}, m1, nil
}

// Finish takes the second message and returns the next generation.
func (r *Rekey) Finish(m2 []byte) (*Generation, error) {
	if len(m2) != RekeySize {
		return nil, ErrAuth
	}
	_, c2s, s2c, err := r.state.ReadMessage(nil, m2)
	if err != nil {
		return nil, ErrAuth
	}
	return newGeneration(r.state, c2s, s2c, true), nil
}

// AnswerRekey takes the first message and returns the second, and the next
// generation.
func (g *Generation) AnswerRekey(random io.Reader, m1 []byte) ([]byte, *Generation, error) {
	if len(m1) != RekeySize {
		return nil, nil, ErrAuth
	}
	state, err := g.rekeyState(false, random)
	if err != nil {
		return nil, nil, err
	}
	if _, _, _, err := state.ReadMessage(nil, m1); err != nil {
		return nil, nil, ErrAuth
	}
	m2, c2s, s2c, err := state.WriteMessage(nil, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("write rekey: %w", err)
	}
	return m2, newGeneration(state, c2s, s2c, false), nil
}

func (g *Generation) rekeyState(initiator bool, random io.Reader) (*noise.HandshakeState, error) {
	if g.secret == nil {
		return nil, errors.New("start rekey: the key was erased")
	}
	return pskHandshake(initiator, random, g.secret, append([]byte("vpnd 2 rekey"), g.hash...)), nil
}

// epoch is the keys of one epoch and what the next one starts from.
type epoch struct {
	key, mac []byte
	next     *subkey
}

// expand derives the keys of an epoch and erases the chain they came from.
func expand(chain *subkey, suite Suite, number uint64) epoch {
	n, macLen := suite.keyBytes(), 0
	if suite.Cipher == Blowfish {
		macLen = 32
	}
	info := append([]byte("vpnd 2 epoch"), byte(suite.Cipher))
	info = binary.BigEndian.AppendUint16(info, uint16(8*n))
	info = binary.BigEndian.AppendUint64(info, number)
	okm := cannotFail(hkdf.Expand(sha256.New, chain[:], string(info), n+macLen+len(chain)))
	clear(chain[:])
	return epoch{key: okm[:n], mac: okm[n : n+macLen], next: (*subkey)(okm[n+macLen:])}
}

// maxEpoch is the last epoch of a generation; nobody lives to see it, but a
// number that wraps would repeat keys' names.
const maxEpoch = math.MaxUint64
