package crypto

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"github.com/flynn/noise"
	"golang.org/x/crypto/curve25519"
)

// Sizes on the wire, in bytes.
const (
	F1Size     = 192 // first flight, client to server
	F2Size     = 128 // second flight, server to client
	HelloSize  = 120 // payload of the first flight
	AnswerSize = 80  // payload of the second flight

	pointSize = 32
	hintSize  = keyIDSize
	doorSize  = 16
	doorAt    = F1Size - doorSize
	restAt    = pointSize + hintSize
)

// ErrAuth says that bytes do not come from somebody who has the key, or do not
// belong here: wrong key, damaged, reflected, out of order.
var ErrAuth = errors.New("not authentic")

// ErrReplay says that a first flight was seen before.
var ErrReplay = errors.New("recorded first flight, played again")

var noiseSuite = noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashBLAKE2s)

// Initiator is the client's half of a handshake that is under way.
type Initiator struct {
	state *noise.HandshakeState
}

// Initiate starts a handshake and returns the first flight. The hello is padded
// with zeros to HelloSize.
func Initiate(key *Key, random io.Reader, hello []byte) (*Initiator, []byte, error) {
	if len(hello) > HelloSize {
		return nil, nil, fmt.Errorf("hello of %d bytes, at most %d", len(hello), HelloSize)
	}
	// The hint depends on e and stands in the prologue, so e is made here and
	// handed to the Noise library as its random bytes.
	private := make([]byte, pointSize)
	defer clear(private)
	if _, err := io.ReadFull(random, private); err != nil {
		return nil, nil, fmt.Errorf("make session key: %w", err)
	}
	e, err := curve25519.X25519(private, curve25519.Basepoint)
	if err != nil {
		return nil, nil, fmt.Errorf("make session key: %w", err)
	}
	hint := key.hint(e)
	state := pskHandshake(true, bytes.NewReader(private), key.psk, key.prologue(hint))
	message, _, _, err := state.WriteMessage(nil, pad(hello, HelloSize))
	if err != nil {
		return nil, nil, fmt.Errorf("write first flight: %w", err)
	}
	f1 := make([]byte, 0, F1Size)
	f1 = append(f1, message[:pointSize]...)
	f1 = append(f1, hint...)
	f1 = append(f1, message[pointSize:]...)
	f1 = append(f1, key.doorTag(f1)...)
	return &Initiator{state}, f1, nil
}

// Finish takes the second flight and returns the server's answer and the keys.
// Its error is ErrAuth when the flight is not from somebody who has the key; another
// one may be tried then.
func (i *Initiator) Finish(f2 []byte) (answer []byte, first *Generation, err error) {
	if len(f2) != F2Size {
		return nil, nil, ErrAuth
	}
	// At a point that gives no secret the library stops half-way, and the true flight
	// would be refused after that. Any number finds such a point.
	if _, err := curve25519.X25519(curve25519.Basepoint, f2[:pointSize]); err != nil {
		return nil, nil, ErrAuth
	}
	answer, c2s, s2c, err := i.state.ReadMessage(nil, f2)
	if err != nil {
		return nil, nil, ErrAuth
	}
	return answer, newGeneration(i.state, c2s, s2c, true), nil
}

// Door is where first flights arrive at a server: it knows the accepted keys
// and the flights already seen. It may be used by several goroutines.
type Door struct {
	random io.Reader
	keys   []*Key
	seen   []*recent // one per key
}

// NewDoor returns a door for one to a few keys; every flight is compared with
// each of them. The session keys are made from random, which several goroutines
// may read at once.
func NewDoor(random io.Reader, keys ...*Key) *Door {
	d := &Door{random: random, keys: keys}
	for range keys {
		d.seen = append(d.seen, newRecent())
	}
	return d
}

// Call is a first flight that proved its key.
type Call struct {
	// Hello is the client's payload, HelloSize bytes.
	Hello []byte
	// Key is the one that the client has.
	Key *Key

	state *noise.HandshakeState
}

// Open checks a first flight. Its errors are ErrAuth, and ErrReplay for one that
// was opened before; in both cases the caller must not answer.
func (d *Door) Open(f1 []byte) (*Call, error) {
	if len(f1) != F1Size {
		return nil, ErrAuth
	}
	n := d.find(f1)
	if n < 0 {
		return nil, ErrAuth
	}
	key, e, hint := d.keys[n], f1[:pointSize], f1[pointSize:restAt]
	if subtle.ConstantTimeCompare(hint, key.hint(e)) != 1 {
		return nil, ErrAuth
	}
	state := pskHandshake(false, d.random, key.psk, key.prologue(hint))
	message := append(append(make([]byte, 0, F1Size), e...), f1[restAt:doorAt]...)
	hello, _, _, err := state.ReadMessage(nil, message)
	if err != nil {
		return nil, ErrAuth
	}
	if !d.seen[n].add([pointSize]byte(e)) {
		return nil, ErrReplay
	}
	return &Call{Hello: hello, Key: key, state: state}, nil
}

// find returns the number of the key that made the door of f1, or -1. Every key
// is compared, so that the time taken tells nothing.
func (d *Door) find(f1 []byte) int {
	found := -1
	for i, key := range d.keys {
		if hmac.Equal(f1[doorAt:], key.doorTag(f1[:doorAt])) {
			found = i
		}
	}
	return found
}

// Answer returns the second flight, and the keys. The caller keeps the live
// session until a frame under these keys has come. The answer is padded with
// zeros to AnswerSize. A call is answered once. It is an error, too, if the
// flight's e is a point of low order.
func (c *Call) Answer(answer []byte) (f2 []byte, first *Generation, err error) {
	if len(answer) > AnswerSize {
		return nil, nil, fmt.Errorf("answer of %d bytes, at most %d", len(answer), AnswerSize)
	}
	f2, c2s, s2c, err := c.state.WriteMessage(nil, pad(answer, AnswerSize))
	if err != nil {
		return nil, nil, fmt.Errorf("write second flight: %w", err)
	}
	return f2, newGeneration(c.state, c2s, s2c, false), nil
}

// pskHandshake returns the state before the first message. A missing key is a
// panic: the Noise library would quietly leave the key out of the handshake.
func pskHandshake(initiator bool, random io.Reader, psk *subkey, prologue []byte) *noise.HandshakeState {
	return cannotFail(noise.NewHandshakeState(noise.Config{
		CipherSuite:  noiseSuite,
		Random:       random,
		Pattern:      noise.HandshakeNN,
		Initiator:    initiator,
		Prologue:     prologue,
		PresharedKey: psk[:],
	}))
}

func (k *Key) prologue(hint []byte) []byte {
	p := []byte("vpnd 2psk")
	p = append(p, k.id[:]...)
	return append(p, hint...)
}

func (k *Key) hint(e []byte) []byte {
	m := hmac.New(sha256.New, k.door[:])
	m.Write([]byte("hint"))
	m.Write(e)
	hint := m.Sum(nil)[:hintSize]
	subtle.XORBytes(hint, hint, k.id[:])
	return hint
}

func (k *Key) doorTag(flight []byte) []byte {
	m := hmac.New(sha256.New, k.door[:])
	m.Write(flight)
	return m.Sum(nil)[:doorSize]
}

func pad(b []byte, n int) []byte {
	out := make([]byte, n)
	copy(out, b)
	return out
}
