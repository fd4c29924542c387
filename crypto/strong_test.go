package crypto

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestStrongTokens(t *testing.T) {
	server, _ := strongPair(t)
	public, secret := server.own.public.String(), server.secret.Text()
	private := textOf(privateKind, server.own.private)
	if p, err := ParsePublicKey(public); err != nil || p != server.own.public {
		t.Errorf("parsed %v, %v; want %v", p, err, public)
	}
	if s, err := ParseSecret(secret); err != nil || *s.bytes != *server.secret.bytes {
		t.Errorf("the secret is another one: %v", err)
	}
	if p, err := privateKind.parse([]byte(private)); err != nil || *p != *server.own.private {
		t.Errorf("the private key is another one: %v", err)
	}
	parsers := map[kind]func(string) error{
		privateKind: func(s string) error { _, err := privateKind.parse([]byte(s)); return err },
		publicKind:  func(s string) error { _, err := ParsePublicKey(s); return err },
		secretKind:  func(s string) error { _, err := ParseSecret(s); return err },
	}
	high := server.own.public
	high[31] |= 0x80
	for _, tt := range []struct {
		kind       kind
		text, want string
	}{
		{privateKind, public, "this is a public key: the private key belongs here (private:...)"},
		{privateKind, secret, "this is a shared secret: the private key belongs here"},
		{publicKind, private, "this is a private key: the public key belongs here (public:...)"},
		{publicKind, secret, "this is a shared secret: the public key belongs here"},
		{secretKind, private, "this is a private key: the shared secret belongs here (secret:...)"},
		{secretKind, public, "this is a public key: the shared secret belongs here"},
		{publicKind, "", "this is no public key (public:...)"},
		{publicKind, "PUBLIC" + strings.TrimPrefix(public, "public"), "this is no public key"},
		{publicKind, strings.TrimPrefix(public, "public:"), "this is no public key"},
		{publicKind, "public", "the public key is damaged"},
		{publicKind, "public:", "the public key is damaged"},
		{publicKind, public[:len(public)-1], "the public key is damaged"},
		{publicKind, public + "A", "the public key is damaged"},
		{publicKind, textOf(publicKind, new(subkey))[:48], "the public key is damaged"},
		{publicKind, high.String(), "nobody can have"},
		{privateKind, private[:len(private)-4], "the private key is damaged"},
		{secretKind, "secret:AAAA", "the shared secret is damaged"},
		{secretKind, "secret:" + strings.Repeat("A", 42) + "B=", "the shared secret is damaged"}, // bits behind the end
		{secretKind, "secret:" + strings.Repeat("A", 42) + "==", "the shared secret is damaged"}, // 31 bytes
		{secretKind, "secret:" + strings.Repeat("A", 44), "the shared secret is damaged"},        // 33
		{secretKind, "secret:" + strings.Repeat("A", 43) + "\n", "the shared secret is damaged"}, // 32, almost
		{secretKind, "secret:" + strings.Repeat("A", 400), "the shared secret is damaged"},
	} {
		err := parsers[tt.kind](tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %q: error %v, want %q", tt.kind, tt.text, err, tt.want)
			continue
		}
		if code := strings.TrimLeft(tt.text, "privatepublicsecret:"); len(code) > 12 && strings.Contains(err.Error(), code[:8]) {
			t.Errorf("error %q holds a piece of the key", err)
		}
	}
}

func TestStrongIDs(t *testing.T) {
	server, client := strongPair(t)
	if server.ID() != client.ID() || server.Peer().ID() != server.ID() {
		t.Errorf("the ends of a link have the ids %v and %v, its peer %v", server.ID(), client.ID(), server.Peer().ID())
	}
	if client.Role() != ClientRole || server.Role() != ServerRole {
		t.Errorf("roles %v and %v", client.Role(), server.Role())
	}
	other, _ := strongPairOf(t, count(0x90, 32), serverS, strongSecret)
	if other.ID() == server.ID() {
		t.Error("two clients have the same id")
	}
	if same, _ := strongPairOf(t, clientS, count(0x90, 32), testSecret); same.ID() != server.ID() {
		t.Error("the id of a client depends on its server")
	}
	a, b := must(NewIdentity(bytes.NewReader(clientS)))(t), must(identityOf((*subkey)(clientS)))(t)
	if a.Public() != b.Public() {
		t.Error("a key pair is not made of the random bytes")
	}
}

func TestStrongKeyWithItself(t *testing.T) {
	server, _ := strongPair(t)
	for _, role := range []Role{ServerRole, ClientRole} {
		if _, err := newStrongKey(role, server.own, server.own.public, server.secret); err == nil || !strings.Contains(err.Error(), "that of this end") {
			t.Errorf("%s: error %v", role, err)
		}
	}
}

func TestNothingPrintsStrongKeys(t *testing.T) {
	server, client := strongPair(t)
	i, f1 := initiateStrong(t)
	door := testStrongDoor(t)
	call := must(door.Open(f1))(t)
	file := must(ParseStrong(must(server.fileText(nil, nil, nil))(t)))(t)
	peer := server.Peer()
	secrets := map[string][]byte{
		"server's private key": serverS, "client's private key": clientS, "shared secret": strongSecret,
		"psk": peer.psk[:], "e": clientE,
	}
	values := map[string]any{
		"*StrongKey": server, "StrongKey": *server, "client's": client,
		"exported": struct{ Key *StrongKey }{server}, "field": struct{ key *StrongKey }{server}, "value in a field": struct{ key StrongKey }{*server},
		"*Identity": server.own, "Identity": *server.own, "Identity in a field": struct{ i Identity }{*server.own},
		"Secret": server.secret, "*Secret": &server.secret, "Secret in a field": struct{ s Secret }{server.secret},
		"*Peer": peer, "Peer": *peer, "Peer in a field": struct{ p Peer }{*peer}, "keys": []*StrongKey{server}, "map": map[string]*Peer{"a": peer},
		"Initiator": i, "StrongDoor": door, "StrongDoor value": *door, "StrongCall": call, "StrongCall value": *call,
		"*StrongFile": file, "StrongFile": *file,
	}
	for name, v := range values {
		text := prints(v)
		for what, secret := range secrets {
			if leaks(text, secret) {
				t.Errorf("%s prints its %s:\n%s", name, what, text)
			}
		}
	}
	for _, tt := range []struct {
		v    any
		want string
	}{
		{server, "strong key " + server.ID().String()}, {*server, "strong key " + server.ID().String()},
		{peer, "link " + server.ID().String()}, {server.own, server.own.public.String()}, {server.secret, "shared secret"},
	} {
		for _, verb := range []string{"%v", "%s", "%#v", "%+v"} {
			if got := fmt.Sprintf(verb, tt.v); got != tt.want {
				t.Errorf("%T prints as %s with %s, want %s", tt.v, got, verb, tt.want)
			}
		}
	}
}

// textOf returns 32 bytes as they stand in files.
func textOf(k kind, b *subkey) string { return string(k.append(nil, b)) }
