package crypto

import (
	"bytes"
	"crypto/hmac"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/flynn/noise"
	"golang.org/x/crypto/curve25519"
)

const (
	// StrongHelloSize is the length of the hello in a first flight with strong keys.
	StrongHelloSize = strongPayloadSize - 2*numberSize

	numberSize        = 8
	strongPayloadSize = doorAt - restAt - pointSize - 2*TagSize
)

// InitiateStrong starts a handshake with a client's key and returns the first flight.
// The hello is padded with zeros to StrongHelloSize. A number is used once.
func InitiateStrong(key *StrongKey, random io.Reader, number, before uint64, hello []byte) (*Initiator, []byte, error) {
	if key.role != ClientRole {
		return nil, nil, fmt.Errorf("the key is that of a %s: a client needs %s", key.role, ClientFile)
	}
	if len(hello) > StrongHelloSize {
		return nil, nil, fmt.Errorf("hello of %d bytes, at most %d", len(hello), StrongHelloSize)
	}
	// The hint depends on e and stands in the prologue, so e is made here and
	// handed to the Noise library as its random bytes.
	private, err := drawn(random)
	if err != nil {
		return nil, nil, fmt.Errorf("make session key: %w", err)
	}
	defer clear(private[:])
	e, err := curve25519.X25519(private[:], curve25519.Basepoint)
	if err != nil {
		return nil, nil, fmt.Errorf("make session key: %w", err)
	}
	link := &Key{id: key.id, door: key.peer.doorKey()}
	hint := link.hint(e)
	state := strongHandshake(noise.Config{
		CipherSuite:  noiseSuite,
		Random:       bytes.NewReader(private[:]),
		Initiator:    true,
		PeerStatic:   key.peer[:],
		PresharedKey: key.Peer().psk[:],
	}, key.own, strongPrologue(key.id, hint))
	payload := binary.BigEndian.AppendUint64(make([]byte, 0, strongPayloadSize), number)
	payload = binary.BigEndian.AppendUint64(payload, before)
	message, _, _, err := state.WriteMessage(nil, pad(append(payload, hello...), strongPayloadSize))
	if err != nil {
		return nil, nil, fmt.Errorf("write first flight: %w", err)
	}
	f1 := make([]byte, 0, F1Size)
	f1 = append(f1, message[:pointSize]...)
	f1 = append(f1, hint...)
	f1 = append(f1, message[pointSize:]...)
	return &Initiator{state}, append(f1, link.doorTag(f1)...), nil
}

// StrongDoor is where first flights with strong keys arrive at a server. It may be
// used by several goroutines.
type StrongDoor struct {
	random io.Reader
	own    *Identity
	door   *Key // without an id
	peer   func(KeyID) *Peer
	seen   *recent // nil: flights have transaction numbers
}

// NewStrongDoor returns the door of a server. peer returns the client of a link, or
// nil if there is none; several goroutines call it, and read random, at once.
func NewStrongDoor(random io.Reader, own *Identity, peer func(KeyID) *Peer) *StrongDoor {
	return &StrongDoor{random: random, own: own, door: &Key{door: own.public.doorKey()}, peer: peer}
}

// StrongCall is a first flight that proved its key. That does not make it a new one:
// the caller answers it only if nobody has used its number yet.
type StrongCall struct {
	// Peer is the client that calls.
	Peer *Peer
	// Number is the transaction number, Before the greatest one that the client may
	// have used before it.
	Number, Before uint64
	// Hello is the client's payload, StrongHelloSize bytes.
	Hello []byte

	call Call
}

// Open checks a first flight. Its error is ErrAuth, or that of NewMeshDoor; then the
// caller must not answer.
func (d *StrongDoor) Open(f1 []byte) (*StrongCall, error) {
	if len(f1) != F1Size || !hmac.Equal(f1[doorAt:], d.door.doorTag(f1[:doorAt])) {
		return nil, ErrAuth
	}
	e, hint := f1[:pointSize], f1[pointSize:restAt]
	var id KeyID
	subtle.XORBytes(id[:], hint, d.door.hint(e)) // whose id is zeros
	peer := d.peer(id)
	if peer == nil {
		return nil, ErrAuth
	}
	state := strongHandshake(noise.Config{
		CipherSuite:  noise.NewCipherSuite(&pinned{DHFunc: noise.DH25519, static: peer.public}, noise.CipherChaChaPoly, noise.HashBLAKE2s),
		Random:       d.random,
		PresharedKey: peer.psk[:],
	}, d.own, strongPrologue(peer.id, hint))
	message := append(append(make([]byte, 0, F1Size), e...), f1[restAt:doorAt]...)
	payload, _, _, err := state.ReadMessage(nil, message)
	if err != nil {
		return nil, ErrAuth
	}
	if d.seen != nil && !d.seen.add([pointSize]byte(e)) {
		return nil, ErrReplay
	}
	return &StrongCall{
		Peer:   peer,
		Number: binary.BigEndian.Uint64(payload),
		Before: binary.BigEndian.Uint64(payload[numberSize:]),
		Hello:  payload[2*numberSize:],
		call:   Call{state: state},
	}, nil
}

// Answer returns the second flight, and the keys, as Call.Answer does.
func (c *StrongCall) Answer(answer []byte) (f2 []byte, first *Generation, err error) {
	return c.call.Answer(answer)
}

// pinned is X25519 for a server that reads one first flight: of the two secrets in
// there, the second one is computed only with the static key of the client that the
// hint names.
type pinned struct {
	noise.DHFunc
	static PublicKey
	calls  int
}

// DH returns the secret of two keys.
func (p *pinned) DH(private, public []byte) ([]byte, error) {
	p.calls++
	if p.calls == 2 && subtle.ConstantTimeCompare(public, p.static[:]) != 1 {
		return nil, ErrAuth
	}
	return p.DHFunc.DH(private, public)
}

// strongHandshake returns the state before the first message. The keys' memory
// remains theirs.
func strongHandshake(c noise.Config, own *Identity, prologue []byte) *noise.HandshakeState {
	c.Pattern = noise.HandshakeIK
	c.PresharedKeyPlacement = 2
	c.StaticKeypair = noise.DHKey{Private: own.private[:], Public: own.public[:]}
	c.Prologue = prologue
	return cannotFail(noise.NewHandshakeState(c))
}

func strongPrologue(id KeyID, hint []byte) []byte {
	p := []byte("vpnd 2strong")
	p = append(p, id[:]...)
	return append(p, hint...)
}
