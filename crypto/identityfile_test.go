package crypto

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestIdentityFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nexus.key")
	made, err := MakeIdentity(path, bytes.NewReader(clientS))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "private key", made.private[:], clientS)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "\nvpnd-identity-1\nown " + textOf(privateKind, (*subkey)(clientS)) + "\n"; !strings.HasSuffix(string(text), want) ||
		!strings.Contains(string(text), "# "+made.Public().String()+"\n") || text[0] != '#' {
		t.Errorf("the file is\n%s", text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	own, err := LoadIdentity(path)
	if err != nil || own.Public() != made.Public() || *own.private != *made.private {
		t.Errorf("read %v, %v; want %v", own, err, made)
	}
	if own, err := MakeIdentity(path, rand.Reader); err == nil || own != nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("written over: %v", err)
	}
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, text) {
		t.Errorf("the file was changed: %v", err)
	}
}

func TestIdentityFileErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "nexus.key")
	if own, err := MakeIdentity(path, iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) || own != nil {
		t.Errorf("made without random bytes: %v", err)
	}
	if own, err := MakeIdentity(filepath.Join(dir, "none", "nexus.key"), rand.Reader); err == nil || own != nil {
		t.Error("made in no directory")
	}
	if own, err := LoadIdentity(path); err == nil || own != nil || !strings.Contains(err.Error(), path+" does not exist: make it with -m") {
		t.Errorf("error %v", err)
	}
	private := "own " + textOf(privateKind, (*subkey)(clientS))
	good := "vpnd-identity-1\n" + private + "\n"
	for _, tt := range []struct {
		name, text, want string
		mode             os.FileMode
	}{
		{"open to others", good, "chmod 600", 0o640},
		{"empty", "", "no key in it", 0o600},
		{"comments", "# a\n\n# b\n", "no key in it", 0o600},
		{"shared key", line(testSecret), "line 1 is not \"vpnd-identity-1\"", 0o600},
		{"more words", "vpnd-identity-1 server\n" + private + "\n", "line 1 is not", 0o600},
		{"another version", "vpnd-identity-2\n" + private + "\n", "line 1 is not", 0o600},
		{"no key", "vpnd-identity-1\n", "0 lines after the first, not 1", 0o600},
		{"two keys", good + private + "\n", "2 lines after the first, not 1", 0o600},
		{"another word", "vpnd-identity-1\n\npeer" + private[3:] + "\n", "line 3 is not \"own\" and a key", 0o600},
		{"words behind", "vpnd-identity-1\n" + private + " x\n", "line 2 is not \"own\" and a key", 0o600},
		{"public key", "vpnd-identity-1\nown public" + private[11:] + "\n", "line 2: own: this is a public key", 0o600},
		{"damaged", "vpnd-identity-1\n" + private[:len(private)-1] + "\n", "line 2: own: the private key is damaged", 0o600},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := writeKey(t, tt.text, tt.mode)
			own, err := LoadIdentity(path)
			if err == nil || own != nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("read %v, error %v, want %q", own, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), private[12:20]) {
				t.Errorf("error %q holds a piece of the key", err)
			}
		})
	}
}

func FuzzParseIdentity(f *testing.F) {
	private := "own " + textOf(privateKind, (*subkey)(clientS))
	f.Add([]byte("vpnd-identity-1\n" + private + "\n"))
	f.Add([]byte("# comment\n\nvpnd-identity-1\r\n  " + private))
	f.Add([]byte("vpnd-identity-1\nown private:\n"))
	f.Add([]byte("vpnd-strong-1 server\n" + private))
	f.Fuzz(func(t *testing.T, text []byte) {
		own, err := ParseIdentity(text)
		if (err == nil) != (own != nil) || err == nil && own.private == nil {
			t.Errorf("read %v, error %v", own, err)
		}
	})
}
