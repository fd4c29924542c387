package crypto

import (
	"bytes"
	"crypto/rand"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestStrongWords(t *testing.T) {
	hub := must(NewIdentity(rand.Reader))(t)
	key := must(NewClientKey(rand.Reader, hub.Public()))(t)
	if key.Role() != ClientRole || key.Peer().Public() != hub.Public() || key.Identity().Public() == hub.Public() {
		t.Errorf("key is %v of a %s", key, key.Role())
	}
	again := must(NewClientKey(rand.Reader, hub.Public()))(t)
	if again.ID() == key.ID() || again.Secret().Text() == key.Secret().Text() {
		t.Error("two clients have one key, or one secret")
	}
	words := strings.Fields(key.Words())
	for _, text := range []string{key.Words(), words[2] + "\t" + words[0] + "  " + words[1]} {
		back := must(ParseStrongWords(ClientRole, text))(t)
		if !bytes.Equal(back.content(), key.content()) || back.ID() != key.ID() {
			t.Error("the key is another one when it is read again")
		}
	}
	// The hub knows it by what stands in its file.
	server := &StrongKey{role: ServerRole, own: hub, peer: key.Identity().Public(), secret: key.Secret(), id: key.ID()}
	_, f1, err := InitiateStrong(key, rand.Reader, 1, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strongDoor(t, server).Open(f1); err != nil {
		t.Errorf("the hub does not know the client: %v", err)
	}
}

func TestStrongWordsProblems(t *testing.T) {
	hub := must(NewIdentity(rand.Reader))(t)
	key := must(NewClientKey(rand.Reader, hub.Public()))(t)
	words := strings.Fields(key.Words())
	private, public, secret := words[0], words[1], words[2]
	own := key.Identity().String()
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "the private key is missing (private:...)"},
		{"no private key", public + " " + secret, "the private key is missing (private:...)"},
		{"no public key", private + " " + secret, "the public key is missing (public:...)"},
		{"no secret", private + " " + public, "the shared secret is missing (secret:...)"},
		{"one twice", key.Words() + " " + public, "one private, one public and one shared key belong here"},
		{"two public ones", public + " " + own, "one private, one public and one shared key belong here"},
		{"another word", key.Words() + " and", "one private, one public and one shared key belong here"},
		{"cut off", key.Words()[:len(key.Words())-1], "the shared secret is damaged"},
		{"own public key", private + " " + own + " " + secret, "the peer's public key is that of this end"},
		{"public key of nobody", private + " " + textOf(publicKind, new(subkey)) + " " + secret, "this is a public key that nobody can have"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := ParseStrongWords(ClientRole, tt.text)
			if k != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("key %v, error %v, want %q", k, err, tt.want)
			}
			for _, word := range words {
				if _, code, _ := strings.Cut(word, ":"); strings.Contains(err.Error(), code[:8]) {
					t.Errorf("the error shows a key: %v", err)
				}
			}
		})
	}
	for _, bytes := range []int{0, 40} {
		if _, err := NewClientKey(strings.NewReader(strings.Repeat("x", bytes)), hub.Public()); err == nil {
			t.Errorf("a key is made of %d random bytes", bytes)
		}
	}
	if _, err := NewClientKey(io.MultiReader(iotest.TimeoutReader(iotest.OneByteReader(rand.Reader)), rand.Reader), hub.Public()); err == nil {
		t.Error("a key is made although the random bytes were not there at first")
	}
}

// What is read can be written and read again, and is the same then.
func FuzzParseStrongWords(f *testing.F) {
	_, client := strongPair(f)
	words := strings.Fields(client.Words())
	for _, seed := range []string{"", client.Words(), words[2] + " " + words[1] + " " + words[0], words[0] + " " + words[1], client.Words() + " x", "private: public: secret:"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParseStrongWords(ClientRole, text)
		if (key == nil) != (err != nil) {
			t.Fatalf("key %v, error %v", key, err)
		}
		if err != nil {
			return
		}
		if len(strings.Fields(text)) != 3 {
			t.Errorf("%q is a key", text)
		}
		if back := must(ParseStrongWords(ClientRole, key.Words()))(t); !bytes.Equal(back.content(), key.content()) {
			t.Error("the key is another one when it is read again")
		}
	})
}
