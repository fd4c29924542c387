package crypto

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

// line returns the line of a key file.
func line(secret []byte) string {
	return "vpnd-psk-1 " + base64.StdEncoding.EncodeToString(secret) + "\n"
}

func TestNewKey(t *testing.T) {
	for _, tt := range []struct {
		size int
		ok   bool
	}{{0, false}, {15, false}, {16, true}, {32, true}, {1024, true}, {1025, false}} {
		k, err := NewKey(count(1, tt.size))
		if (err == nil) != tt.ok || (k != nil) != tt.ok {
			t.Errorf("key of %d bytes: %v, %v", tt.size, k, err)
		}
	}
}

func TestClientID(t *testing.T) {
	key := testKey(t, testSecret)
	seen := make(map[ClientID]string)
	for _, tt := range []struct {
		name              string
		key               *Key
		machine, instance string
	}{
		{"one", key, "machine", "vpnd"},
		{"another machine", key, "machine2", "vpnd"},
		{"another instance", key, "machine", "vpnd2"},
		{"the border moved", key, "machinev", "pnd"},
		{"nothing", key, "", ""},
		{"another key", testKey(t, otherSecret), "machine", "vpnd"},
	} {
		id := tt.key.ClientID(tt.machine, tt.instance)
		if before, ok := seen[id]; ok {
			t.Errorf("%q and %q have one id", before, tt.name)
		}
		seen[id] = tt.name
		if id != tt.key.ClientID(tt.machine, tt.instance) {
			t.Errorf("%q: the id changes", tt.name)
		}
	}
	if got := (ClientID{0xab, 1}).String(); got != "ab01000000000000" {
		t.Errorf("a client id prints as %q", got)
	}
	if got := (KeyID{0xab, 1}).String(); got != "ab01000000000000" {
		t.Errorf("a key id prints as %q", got)
	}
}

// parseTests are texts of key files. None of the errors may hold what stands in
// the place of the key.
var parseTests = []struct {
	name, text string
	err        string // "" if it is good
}{
	{"one line", line(testSecret), ""},
	{"no line end", strings.TrimSpace(line(testSecret)), ""},
	{"comments and blank lines", "# a\n\n  #b\n" + line(testSecret) + "\t\n#c", ""},
	{"blanks around", "  " + strings.Replace(line(testSecret), " ", " \t ", 1), ""},
	{"carriage returns", "# a\r\n" + strings.ReplaceAll(line(testSecret), "\n", "\r\n"), ""},
	{"shortest", line(count(1, 16)), ""},
	{"longest", line(count(1, 1024)), ""},
	{"empty", "", "no key in it"},
	{"comments only", "# vpnd-psk-1\n", "no key in it"},
	{"key in a comment", "#" + line(testSecret), "no key in it"},
	{"no secret", "vpnd-psk-1\n", "line 1 is not"},
	{"other version", strings.Replace(line(testSecret), "psk-1", "psk-2", 1), "line 1 is not"},
	{"other case", strings.ToUpper(line(testSecret)), "line 1 is not"},
	{"no tag", strings.TrimPrefix(line(testSecret), "vpnd-psk-1 "), "line 1 is not"},
	{"tag grown together", strings.Replace(line(testSecret), " ", "", 1), "line 1 is not"},
	{"a word too many", strings.TrimSpace(line(testSecret)) + " more", "line 1 is not"},
	{"good key and a bad line", line(testSecret) + "more\n", "line 2 is not"},
	{"two keys", "#\n" + line(testSecret) + line(otherSecret), "line 3 is a second key"},
	{"the same key twice", line(testSecret) + line(testSecret), "line 2 is a second key"},
	{"short", line(count(1, 15)), "line 1: key of 15 bytes is too short"},
	{"long", line(count(1, 1025)), "line 1: key of 1025 bytes is too long"},
	{"bad letter", strings.Replace(line(testSecret), "A", "!", 1), "line 1: the key is damaged"},
	{"letter missing", strings.Replace(line(testSecret), "A", "", 1), "line 1: the key is damaged"},
	{"padding missing", strings.Replace(line(testSecret), "=", "", 1), "line 1: the key is damaged"},
	{"bits behind the end", strings.Replace(line(make([]byte, 32)), "A=", "B=", 1), "line 1: the key is damaged"},
	{"URL letters", "vpnd-psk-1 " + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 33)), "line 1: the key is damaged"},
	{"line without end", line(testSecret) + strings.Repeat("A", 1<<17), "token too long"},
}

func TestParseKey(t *testing.T) {
	for _, tt := range parseTests {
		t.Run(tt.name, func(t *testing.T) {
			k, err := ParseKey([]byte(tt.text))
			checkParsed(t, k, err, tt.text, tt.err)
		})
	}
	if k, err := ParseKey([]byte(line(testSecret))); err != nil || k.ID() != testKey(t, testSecret).ID() {
		t.Errorf("parsed %v, %v; want %v", k, err, testKey(t, testSecret))
	}
}

// checkParsed compares the result with the error that is wanted, and looks for
// bytes of the text's key in it.
func checkParsed(t *testing.T, k *Key, err error, text, want string) {
	t.Helper()
	if want == "" {
		if err != nil || k == nil {
			t.Fatalf("key %v, error %v", k, err)
		}
		return
	}
	if err == nil || k != nil {
		t.Fatalf("key %v, error %v; want an error with %q", k, err, want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error %q, want %q in it", err, want)
	}
	for word := range strings.FieldsSeq(text) {
		word = strings.TrimPrefix(word, "vpnd-psk-1")
		for i := 0; len(word) > 12 && i+8 <= len(word); i++ {
			if strings.Contains(err.Error(), word[i:i+8]) {
				t.Fatalf("error %q holds a piece of the key", err)
			}
		}
	}
}
