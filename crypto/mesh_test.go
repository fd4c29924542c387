package crypto

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

// pairOf returns the identities of two gateways.
func pairOf(t *testing.T) (a, b *Identity) {
	t.Helper()
	return must(NewIdentity(rand.Reader))(t), must(NewIdentity(rand.Reader))(t)
}

func TestLinkSecret(t *testing.T) {
	a, b := pairOf(t)
	c, _ := pairOf(t)
	password := NewPassword("password")
	secret := password.LinkSecret(a.Public(), b.Public()).Text()
	if other := password.LinkSecret(b.Public(), a.Public()).Text(); other != secret {
		t.Error("the two ends have different secrets")
	}
	for name, other := range map[string]Secret{
		"another password": NewPassword("Password").LinkSecret(a.Public(), b.Public()),
		"another pair":     password.LinkSecret(a.Public(), c.Public()),
		"a third pair":     password.LinkSecret(b.Public(), c.Public()),
	} {
		if other.Text() == secret {
			t.Errorf("%s has the same secret", name)
		}
	}
	if a.Public().Less(b.Public()) == b.Public().Less(a.Public()) || a.Public().Less(a.Public()) {
		t.Error("keys have no order")
	}
}

// TestMeshDoor has each of two gateways call the other one.
func TestMeshDoor(t *testing.T) {
	a, b := pairOf(t)
	secret := NewPassword("password").LinkSecret(a.Public(), b.Public())
	for _, end := range []struct{ from, to *Identity }{{a, b}, {b, a}} {
		peer := NewPeer(end.from.Public(), secret)
		door := NewMeshDoor(rand.Reader, end.to, func(id KeyID) *Peer {
			if id == peer.ID() {
				return peer
			}
			return nil
		})
		key := must(NewCallKey(end.from, end.to.Public(), secret))(t)
		i, f1, err := InitiateStrong(key, rand.Reader, 0, 0, []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		damaged := bytes.Clone(f1)
		damaged[100] ^= 1
		if _, err := door.Open(damaged); !errors.Is(err, ErrAuth) {
			t.Errorf("damaged flight: %v", err)
		}
		call, err := door.Open(f1)
		if err != nil || call.Peer != peer || !bytes.HasPrefix(call.Hello, []byte("hello")) {
			t.Fatalf("call %+v, %v", call, err)
		}
		f2, _, err := call.Answer([]byte("answer"))
		if err != nil {
			t.Fatal(err)
		}
		if answer, _, err := i.Finish(f2); err != nil || !bytes.HasPrefix(answer, []byte("answer")) {
			t.Errorf("answer %q, %v", answer, err)
		}
		if _, err := door.Open(f1); !errors.Is(err, ErrReplay) {
			t.Errorf("the same flight again: %v", err)
		}
		other := must(NewCallKey(end.from, end.to.Public(), NewPassword("Password").LinkSecret(a.Public(), b.Public())))(t)
		if i, f1, err = InitiateStrong(other, rand.Reader, 0, 0, nil); err != nil {
			t.Fatal(err)
		}
		if call, err = door.Open(f1); err == nil { // the secret counts from the second flight on
			f2, _, _ = call.Answer(nil)
			_, _, err = i.Finish(f2)
		}
		if !errors.Is(err, ErrAuth) {
			t.Errorf("with another password: %v", err)
		}
	}
	if _, err := NewCallKey(a, a.Public(), secret); err == nil {
		t.Error("a gateway can call itself")
	}
}

func TestSamePeer(t *testing.T) {
	a, b := pairOf(t)
	one, two := NewPassword("one").LinkSecret(a.Public(), b.Public()), NewPassword("two").LinkSecret(a.Public(), b.Public())
	p := NewPeer(a.Public(), one)
	if !p.Same(NewPeer(a.Public(), one)) || p.Same(NewPeer(a.Public(), two)) || p.Same(NewPeer(b.Public(), one)) {
		t.Error("peers are not told apart")
	}
}

// TestLinkSecretVector is for a second implementation: the smaller key comes first.
func TestLinkSecretVector(t *testing.T) {
	a, b := PublicKey{1, 31: 9}, PublicKey{2, 31: 8}
	const want = "secret:Gu1vVx07IJTvREVDnLs6v1flq8h/FJKFEyKoHnnJrG8="
	for _, pair := range [][2]PublicKey{{a, b}, {b, a}} {
		if got := NewPassword("correct horse battery").LinkSecret(pair[0], pair[1]).Text(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
