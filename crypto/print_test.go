package crypto

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// prints returns all that package fmt, a log and JSON make of a value. Verbs that
// do not fit one (vet finds them) are left out.
func prints(v any) string {
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%X", "%d", "%o", "%b"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("printed", "value", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("printed", "value", v)
	text, _ := json.Marshal(v)
	b.Write(text)
	return b.String()
}

// leaks reports whether a text holds the beginning of a secret in any of the
// forms that prints makes.
func leaks(text string, secret []byte) bool {
	start := secret[:6]
	forms := []string{string(start), base64.StdEncoding.EncodeToString(start)}
	for _, verb := range []string{"%v", "%#v", "%q", "%x", "%X", "%o", "%b", "%c", "%U"} {
		form := strings.TrimPrefix(fmt.Sprintf(verb, start), "[]byte{")
		forms = append(forms, strings.Trim(form, "[]{}\""))
	}
	for _, form := range forms {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

func TestNothingPrintsKeys(t *testing.T) {
	key := testKey(t, testSecret)
	i, f1 := initiate(t)
	door := testDoor(t, testSecret)
	call := must(door.Open(f1))(t)
	client, server, _ := handshake(t)
	r, _, err := client.Rekey(bytes.NewReader(clientE))
	if err != nil {
		t.Fatal(err)
	}
	sealer, opener, err := server.Keys(Suite{Blowfish, 448})
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{
		"secret": testSecret, "psk": key.psk[:], "door key": key.door[:], "id key": key.idKey[:],
		"e":          clientE,
		"send chain": client.send[:], "receive chain": client.receive[:], "rekey secret": client.secret[:],
		"next send chain": sealer.chain[:], "next receive chain": opener.chain[:],
	}
	values := map[string]any{
		"*Key": key, "Key": *key,
		"exported *Key": struct{ Key *Key }{key}, "*Key in a field": struct{ key *Key }{key},
		"exported Key": struct{ Key Key }{*key}, "Key in a field": struct{ key Key }{*key},
		"embedded *Key": struct{ *Key }{key}, "keys": []*Key{key}, "values": []Key{*key}, "map": map[string]*Key{"a": key},
		"Initiator": i, "Door": door, "Call": call, "Rekey": r,
		"client's Generation": client, "Generation value": *client, "server's Generation": server,
		"Sealer": sealer, "Sealer value": *sealer, "Opener": opener, "Opener value": *opener,
	}
	for name, v := range values {
		text := prints(v)
		for what, secret := range secrets {
			if leaks(text, secret) {
				t.Errorf("%s prints its %s:\n%s", name, what, text)
			}
		}
	}
	for _, v := range []any{key, *key, struct{ Key *Key }{key}} {
		if !strings.Contains(prints(v), "key "+key.ID().String()) {
			t.Errorf("a key does not print its id: %s", prints(v))
		}
	}
	for _, s := range []string{fmt.Sprintf("%s", key), fmt.Sprintf("%s", *key), fmt.Sprintf("%#v", key), fmt.Sprintf("%#v", *key)} {
		if s != "key "+key.ID().String() {
			t.Errorf("a key prints as %s", s)
		}
	}
	// The search itself finds what is there.
	for name, v := range map[string]any{
		"slice": testSecret, "field": struct{ b []byte }{testSecret}, "array": [32]byte(testSecret),
		"string": string(testSecret), "pointer": (*[32]byte)(testSecret),
	} {
		if !leaks(prints(v), testSecret) {
			t.Errorf("the search does not find a secret in a %s", name)
		}
	}
}
