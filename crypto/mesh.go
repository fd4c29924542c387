package crypto

import (
	"bytes"
	"io"
)

// meshLinkInfo is for the shared secret of two gateways of a mesh, which is not stored but
// made of the password that all share: both make the same one, whoever calls, and each
// pair has its own.
const meshLinkInfo = "vpnd mesh link"

// LinkSecret returns what the gateways with these two keys share beside them.
func (p Password) LinkSecret(a, b PublicKey) Secret {
	if b.Less(a) {
		a, b = b, a
	}
	return Secret{derive(p.psk[:], append(a[:], b[:]...), meshLinkInfo)}
}

// Less reports whether a key is the smaller one of two.
func (p PublicKey) Less(other PublicKey) bool { return bytes.Compare(p[:], other[:]) < 0 }

// NewCallKey returns what an end with this key pair calls a peer with.
func NewCallKey(own *Identity, peer PublicKey, secret Secret) (*StrongKey, error) {
	return newStrongKey(ClientRole, own, peer, secret)
}

// NewMeshDoor returns a StrongDoor for flights without transaction numbers. It remembers
// the last flights, and returns ErrReplay for one of them. An older one, or one from
// before a restart, draws an answer that only its author can read, and no session: that
// needs a frame under the session's keys.
func NewMeshDoor(random io.Reader, own *Identity, peer func(KeyID) *Peer) *StrongDoor {
	d := NewStrongDoor(random, own, peer)
	d.seen = newRecent()
	return d
}
