package tunnel

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"testing"

	"golang.org/x/crypto/curve25519"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// vectorKey is a strong key file with private keys and a secret that count up.
func vectorKey(t testing.TB, role crypto.Role, own, peer byte) string {
	t.Helper()
	code := base64.StdEncoding.EncodeToString
	public, err := curve25519.X25519(counting(peer, 32), curve25519.Basepoint)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("vpnd-strong-1 %s\nown private:%s\npeer public:%s\nshared secret:%s\n",
		role, code(counting(own, 32)), code(public), code(counting(0xe0, 32)))
}

func parsedKey(t testing.TB, text string) *crypto.StrongKey {
	t.Helper()
	file, err := crypto.ParseStrong([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	key, err := file.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// vectorStrong shakes hands with strong keys.
func vectorStrong(t *testing.T, h hello, a answer) strongVector {
	t.Helper()
	v := strongVector{
		ServerFile: vectorKey(t, crypto.ServerRole, 0xc0, 0xa0), ClientFile: vectorKey(t, crypto.ClientRole, 0xa0, 0xc0),
		Number: 0x0102030405060708, Before: 0x0102030405060700,
		ClientE: counting(0x20, 32), ServerE: counting(0x60, 32), ServerNonce: counting(0x90, 16),
	}
	server, client := parsedKey(t, v.ServerFile), parsedKey(t, v.ClientFile)
	h.client = crypto.ClientID{}
	i, f1, err := crypto.InitiateStrong(client, bytes.NewReader(v.ClientE), v.Number, v.Before, h.append(nil))
	if err != nil {
		t.Fatal(err)
	}
	door := crypto.NewStrongDoor(bytes.NewReader(v.ServerE), server.Identity(), func(crypto.KeyID) *crypto.Peer { return server.Peer() })
	call, err := door.Open(f1)
	if err != nil {
		t.Fatal(err)
	}
	f2, _, err := call.Answer(a.append(nil))
	if err != nil {
		t.Fatal(err)
	}
	_, keys, err := i.Finish(f2)
	if err != nil {
		t.Fatal(err)
	}
	sealer, _, err := keys.Keys(crypto.Suite{Cipher: a.cipher, KeyBits: a.terms.keyBits})
	if err != nil {
		t.Fatal(err)
	}
	f := append(make([]byte, frame.HeaderSize), frameConfirm)
	frame.PutHeader(f, 1)
	if v.Confirm, err = sealer.Seal(f, frame.HeaderSize); err != nil {
		t.Fatal(err)
	}
	hailer := crypto.NewStrongDoor(bytes.NewReader(v.ServerNonce), server.Identity(), nil)
	if v.Hail, err = hailer.Hail(); err != nil {
		t.Fatal(err)
	}
	v.F1, v.F2 = f1, f2
	return v
}
