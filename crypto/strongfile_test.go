package crypto

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// plainText returns the key file of a server, without comments.
func plainText(t testing.TB) string {
	t.Helper()
	server, _ := strongPair(t)
	return string(must(server.fileText(nil, nil, nil))(t))
}

// sealedFile returns the same, sealed under testPassphrase, which is done once.
func sealedFile(t testing.TB) string {
	t.Helper()
	sealedFileOnce.Do(func() {
		server, _ := strongPair(t)
		sealedFileText = string(must(server.fileText(nil, bytes.NewReader(count(1, 40)), []byte(testPassphrase)))(t))
	})
	return sealedFileText
}

var (
	sealedFileOnce sync.Once
	sealedFileText string
)

func TestStrongFileText(t *testing.T) {
	server, client := strongPair(t)
	want := "vpnd-strong-1 server\nown " + textOf(privateKind, (*subkey)(serverS)) +
		"\npeer " + client.own.public.String() + "\nshared " + textOf(secretKind, (*subkey)(strongSecret)) + "\n"
	if got := plainText(t); got != want {
		t.Errorf("the file is\n%swant\n%s", got, want)
	}
	text := string(must(client.fileText([]string{"# one", "# two"}, nil, nil))(t))
	if !strings.HasPrefix(text, "# one\n# two\nvpnd-strong-1 client\nown ") {
		t.Errorf("the client's file is\n%s", text)
	}
	sealed := sealedFile(t)
	if !strings.HasPrefix(sealed, "vpnd-sealed-1 server\nargon2id t=3 m=65536 p=4 ") || strings.Count(sealed, "\n") != 3 {
		t.Errorf("the sealed file is\n%s", sealed)
	}
	for what, secret := range map[string][]byte{"private key": serverS, "secret": strongSecret} {
		if leaks(sealed, secret) {
			t.Errorf("the sealed file holds the %s", what)
		}
	}
	if len(sealed) > maxKeyFile/2 {
		t.Errorf("the sealed file has %d bytes", len(sealed))
	}
	for _, text := range []string{want, sealed} {
		f := must(ParseStrong([]byte(text)))(t)
		if f.Sealed() != (text == sealed) || f.Role() != ServerRole {
			t.Errorf("sealed %v, role %v of\n%s", f.Sealed(), f.Role(), text)
		}
		k := must(f.Open([]byte(testPassphrase)))(t)
		if string(k.content()) != string(server.content()) || k.ID() != server.ID() {
			t.Errorf("opened %v, want %v", k, server)
		}
	}
}

func TestStrongFileWrongPassphrase(t *testing.T) {
	f := must(ParseStrong([]byte(sealedFile(t))))(t)
	_, err := f.Open([]byte("another pass phrase"))
	wantErr(t, "open", err, ErrPassphrase)
	// The role stands in clear, and is sealed all the same.
	f = must(ParseStrong([]byte(strings.Replace(sealedFile(t), "server", "client", 1))))(t)
	_, err = f.Open([]byte(testPassphrase))
	wantErr(t, "open with another role", err, ErrPassphrase)
}

// What was sealed by somebody else is checked like any other file.
func TestStrongFileBadContent(t *testing.T) {
	f := &StrongFile{role: ServerRole}
	f.sealed = must(sealText(bytes.NewReader(count(1, 40)), []byte(testPassphrase), f.header(), []byte("own x\n")))(t)
	_, err := f.Open([]byte(testPassphrase))
	if err == nil || !strings.Contains(err.Error(), "in the box: line 1: own: this is no private key") {
		t.Errorf("error %v", err)
	}
}

type strongTest struct{ name, text, err string }

// strongTests are texts of key files. None of the errors may hold a piece of a key.
func strongTests(t testing.TB) []strongTest {
	good, sealed := plainText(t), sealedFile(t)
	server, client := strongPair(t)
	lines := strings.SplitAfter(good, "\n")
	box := strings.SplitAfter(sealed, "\n")
	change := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	return []strongTest{
		{"plain", good, ""},
		{"sealed", sealed, ""},
		{"no line end", strings.TrimSpace(good), ""},
		{"comments and blank lines", "# a\n\n" + strings.ReplaceAll(good, "\n", "\n\n  # b\n"), ""},
		{"sealed, with comments", "# a\n" + strings.ReplaceAll(sealed, "\n", "\n# b\n"), ""},
		{"another order", lines[0] + lines[3] + lines[2] + lines[1], ""},
		{"carriage returns", strings.ReplaceAll(good, "\n", "\r\n"), ""},
		{"client", change("server", "client"), ""},
		{"empty", "", "no key in it"},
		{"comments only", "# vpnd-strong-1 server\n", "no key in it"},
		{"shared key", line(testSecret), "line 1: this is a shared key (vpnd -m): a strong key is needed here (vpnd -x)"},
		{"other version", change("strong-1", "strong-2"), "line 1 is not"},
		{"no role", change(" server", ""), "line 1 is not"},
		{"a word too many", change("server", "server x"), "line 1 is not"},
		{"unknown role", change("server", "both"), "line 1: the end is neither server nor client"},
		{"no tag", lines[1] + lines[2] + lines[3], "line 1 is not"},
		{"tag only", lines[0], `the line "own" is missing`},
		{"no own key", lines[0] + lines[2] + lines[3], `the line "own" is missing`},
		{"no peer", lines[0] + lines[1] + lines[3], `the line "peer" is missing`},
		{"no secret", lines[0] + lines[1] + lines[2], `the line "shared" is missing`},
		{"own key twice", good + lines[1], "line 5 is not"},
		{"unknown line", "#\n" + good + "more x\n", "line 6 is not"},
		{"no value", change("own private:", "own #private:"), "line 2: own: this is no private key"},
		{"a value too many", change("own ", "own own "), "line 2 is not"},
		{"public key in place of the private one", change(textOf(privateKind, server.own.private), server.own.public.String()), "line 2: own: this is a public key: the private key belongs here"},
		{"private key in place of the public one", change(client.own.public.String(), textOf(privateKind, client.own.private)), "line 3: peer: this is a private key: the public key belongs here"},
		{"secret in place of the public key", change(client.own.public.String(), server.secret.Text()), "line 3: peer: this is a shared secret"},
		{"own public key as the peer's", change(client.own.public.String(), server.own.public.String()), "the peer's public key is that of this end"},
		{"letter missing", change("private:w", "private:"), "line 2: own: the private key is damaged"},
		{"damaged secret", change("secret:4", "secret:"), "line 4: shared: the shared secret is damaged"},
		{"damaged public key", change("peer public:", "peer public:A"), "line 3: peer: the public key is damaged"},
		{"sealed, no box", box[0] + box[1], "1 lines after the first, not 2"},
		{"sealed, a line too many", sealed + "box AAAA\n", "3 lines after the first, not 2"},
		{"sealed, other order", box[0] + box[2] + box[1], "line 2: it is not \"argon2id\""},
		{"sealed, twice salt", box[0] + box[1] + box[1], "line 3: it is not \"box\""},
		{"sealed, weak", strings.Replace(sealed, "m=65536", "m=8", 1), "line 2: the parameters"},
		{"sealed, damaged box", strings.Replace(sealed, "box ", "box !", 1), "line 3: the sealed bytes are damaged"},
	}
}

func TestParseStrong(t *testing.T) {
	for _, tt := range strongTests(t) {
		t.Run(tt.name, func(t *testing.T) {
			f, err := ParseStrong([]byte(tt.text))
			if (err == nil) != (tt.err == "") || (f == nil) != (err != nil) {
				t.Fatalf("file %v, error %v, want %q", f, err, tt.err)
			}
			if err == nil {
				return
			}
			if !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %q, want %q in it", err, tt.err)
			}
			for word := range strings.FieldsSeq(tt.text) {
				_, code, _ := strings.Cut(word, ":")
				for i := 0; len(code) > 12 && i+8 <= len(code); i++ {
					if strings.Contains(err.Error(), code[i:i+8]) {
						t.Fatalf("error %q holds a piece of the key", err)
					}
				}
			}
		})
	}
}

func TestLoadStrong(t *testing.T) {
	if f, err := LoadStrong(writeKey(t, plainText(t), 0o600)); err != nil || f.Sealed() {
		t.Errorf("loaded %v, %v", f, err)
	}
	dir := t.TempDir()
	for _, tt := range []struct {
		name, path, want string
	}{
		{"missing", filepath.Join(dir, "missing"), "does not exist: make a pair with vpnd -x"},
		{"open to others", writeKey(t, plainText(t), 0o640), "can be read or changed by others (mode 0640): chmod 600"},
		{"directory", dir, "is not a regular file"},
		{"link", link(t, filepath.Join(dir, "link")), "is a symbolic link"},
		{"long", writeKey(t, plainText(t)+strings.Repeat("#", maxKeyFile), 0o600), "is longer than 4096 bytes"},
		{"shared key", writeKey(t, line(testSecret), 0o600), "this is a shared key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := LoadStrong(tt.path)
			if f != nil || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.path) {
				t.Errorf("file %v, error %v; want %q and %q in it", f, err, tt.path, tt.want)
			}
		})
	}
}

// TestStrongAsShared gives a strong key to whom needs a shared one.
func TestStrongAsShared(t *testing.T) {
	_, client := strongPair(t)
	for name, passphrase := range map[string][]byte{"open": nil, "sealed": []byte("correct horse")} {
		text := must(client.fileText(client.about(), bytes.NewReader(count(0, 100)), passphrase))(t)
		if _, err := ParseKey(text); !errors.Is(err, ErrStrongKey) || !strings.HasPrefix(err.Error(), "line 4: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestStrongHail has a server say hail, to its client and to others.
func TestStrongHail(t *testing.T) {
	server, client := strongPair(t)
	hail := must(strongDoor(t, server).Hail())(t)
	if !client.Hails(hail) {
		t.Error("the client does not know the hail of its server")
	}
	_, other := strongPairOf(t, clientS, count(0x33, 32), strongSecret)
	if other.Hails(hail) || server.Hails(hail) {
		t.Error("the hail of another server is taken")
	}
	for bit := range 8 * len(hail) {
		changed := bytes.Clone(hail)
		changed[bit/8] ^= 1 << (bit % 8)
		if client.Hails(changed) {
			t.Errorf("bit %d changed: it is taken", bit)
		}
	}
}
