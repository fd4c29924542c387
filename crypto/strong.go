package crypto

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/curve25519"
)

// What a strong key is made of is in the package comment.
const (
	strongLinkInfo = "vpnd 2 strong link"
	strongPSKInfo  = "vpnd 2 strong psk"
	strongDoorInfo = "vpnd 2 strong door"
)

// kind says what 32 bytes in base64 are. It stands before them in every file, so
// that one cannot be taken for another.
type kind string

const (
	privateKind kind = "private"
	publicKind  kind = "public"
	secretKind  kind = "secret"
)

var kindNames = map[kind]string{privateKind: "private key", publicKind: "public key", secretKind: "shared secret"}

// tokenSize is enough for a kind and 32 bytes in base64.
const tokenSize = 64

// append writes the bytes as they stand in files.
func (k kind) append(text []byte, b *subkey) []byte {
	return base64.StdEncoding.AppendEncode(append(append(text, k...), ':'), b[:])
}

// parse reads what append wrote. No error holds a part of it.
func (k kind) parse(text []byte) (*subkey, error) {
	prefix, code, _ := bytes.Cut(text, []byte(":"))
	if other, ok := kindNames[kind(prefix)]; ok && kind(prefix) != k {
		return nil, fmt.Errorf("this is a %s: the %s belongs here (%s:...)", other, kindNames[k], k)
	}
	if kind(prefix) != k {
		return nil, fmt.Errorf("this is no %s (%s:...)", kindNames[k], k)
	}
	var room [tokenSize]byte
	defer clear(room[:])
	if len(code) == base64.StdEncoding.EncodedLen(len(subkey{})) {
		n, err := base64.StdEncoding.Strict().Decode(room[:], code)
		if b := new(subkey); err == nil && n == len(b) {
			copy(b[:], room[:n])
			return b, nil
		}
	}
	return nil, fmt.Errorf("the %s is damaged (not 32 bytes in base64)", kindNames[k])
}

// PublicKey is the public half of an end's key pair, for X25519 (RFC 7748). It is
// no secret.
type PublicKey [pointSize]byte

// ParsePublicKey reads what String returns. A point that gives no secret with
// any private key is refused.
func ParsePublicKey(text string) (PublicKey, error) {
	b, err := publicKind.parse([]byte(text))
	if err != nil {
		return PublicKey{}, err
	}
	// The highest bit is not part of a point.
	if b[pointSize-1]>>7 != 0 || isLowOrder(b[:]) {
		return PublicKey{}, errors.New("this is a public key that nobody can have: it is damaged or forged")
	}
	return PublicKey(*b), nil
}

// String returns the key as it stands in files.
func (p PublicKey) String() string { return string(publicKind.append(nil, (*subkey)(&p))) }

// linkID returns the id of the link whose client has this key.
func (p PublicKey) linkID() (id KeyID) {
	copy(id[:], derive(p[:], nil, strongLinkInfo)[:])
	return id
}

// doorKey returns the door key of the server that has this key.
func (p PublicKey) doorKey() *subkey { return derive(p[:], nil, strongDoorInfo) }

// Secret is what a server and one client share beside their keys. Who breaks X25519
// one day still lacks it. It prints as a word, never as its bytes.
type Secret struct{ bytes *subkey }

// NewSecret makes a secret.
func NewSecret(random io.Reader) (Secret, error) {
	b, err := drawn(random)
	return Secret{b}, err
}

// ParseSecret reads what Text returns.
func ParseSecret(text string) (Secret, error) {
	b, err := secretKind.parse([]byte(text))
	return Secret{b}, err
}

// Text returns the secret as it stands in key files: for nothing else.
func (s Secret) Text() string { return string(secretKind.append(nil, s.bytes)) }

// String gives nothing away.
func (s Secret) String() string { return "shared secret" }

// GoString returns the same as String.
func (s Secret) GoString() string { return s.String() }

// Identity is an end's own key pair, for X25519. It prints as its public key.
type Identity struct {
	public  PublicKey
	private *subkey
}

// NewIdentity makes a key pair.
func NewIdentity(random io.Reader) (*Identity, error) {
	private, err := drawn(random)
	if err != nil {
		return nil, err
	}
	return identityOf(private)
}

func identityOf(private *subkey) (*Identity, error) {
	public, err := curve25519.X25519(private[:], curve25519.Basepoint)
	if err != nil {
		return nil, fmt.Errorf("make public key: %w", err)
	}
	return &Identity{PublicKey(public), private}, nil
}

// Public returns the half that the other end has to know.
func (i *Identity) Public() PublicKey { return i.public }

// String returns the public key.
func (i Identity) String() string { return i.public.String() }

// GoString returns the same as String.
func (i Identity) GoString() string { return i.String() }

// Peer is a client as its server knows it. It prints as its link's id.
type Peer struct {
	id     KeyID
	public PublicKey
	psk    *subkey
}

// NewPeer returns the client that has the key and the secret.
func NewPeer(public PublicKey, secret Secret) *Peer {
	return &Peer{public.linkID(), public, derive(secret.bytes[:], nil, strongPSKInfo)}
}

// ID returns the id of the link, the same that StrongKey.ID returns on the client.
func (p *Peer) ID() KeyID { return p.id }

// Public returns the client's public key.
func (p *Peer) Public() PublicKey { return p.public }

// Same reports whether two are the same client.
func (p *Peer) Same(other *Peer) bool {
	return p.public == other.public && subtle.ConstantTimeCompare(p.psk[:], other.psk[:]) == 1
}

// String returns the link's id.
func (p Peer) String() string { return "link " + p.id.String() }

// GoString returns the same as String.
func (p Peer) GoString() string { return p.String() }

// Role is which end of a link a key file is for.
type Role string

// The two ends.
const (
	ServerRole Role = "server"
	ClientRole Role = "client"
)

// StrongKey is what stands in a strong key file: all that one end needs to know the
// other. It prints as its link's id.
type StrongKey struct {
	role   Role
	own    *Identity
	peer   PublicKey
	secret Secret
	id     KeyID
}

// newStrongKey joins the parts, which must belong together.
func newStrongKey(role Role, own *Identity, peer PublicKey, secret Secret) (*StrongKey, error) {
	if own.public == peer {
		return nil, errors.New("the peer's public key is that of this end: each end has a key pair of its own")
	}
	client := peer
	if role == ClientRole {
		client = own.public
	}
	return &StrongKey{role, own, peer, secret, client.linkID()}, nil
}

// Role returns which end the key is for.
func (k *StrongKey) Role() Role { return k.role }

// ID returns the id of the link. Both ends print the same one.
func (k *StrongKey) ID() KeyID { return k.id }

// Identity returns this end's own key pair.
func (k *StrongKey) Identity() *Identity { return k.own }

// Peer returns the other end as a server knows it.
func (k *StrongKey) Peer() *Peer { return NewPeer(k.peer, k.secret) }

// Secret returns what both ends share beside their keys.
func (k *StrongKey) Secret() Secret { return k.secret }

// String returns the link's id.
func (k StrongKey) String() string { return "strong key " + k.id.String() }

// GoString returns the same as String.
func (k StrongKey) GoString() string { return k.String() }

// drawn returns 32 random bytes.
func drawn(random io.Reader) (*subkey, error) {
	b := new(subkey)
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return b, nil
}
