package crypto

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestMakeStrongPair(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	for _, passphrase := range [][]byte{nil, []byte(testPassphrase)} {
		t.Run(fmt.Sprintf("sealed %v", passphrase != nil), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			id, err := MakeStrongPair(dir, rand.Reader, passphrase)
			if err != nil {
				t.Fatal(err)
			}
			var keys []*StrongKey
			for _, name := range []string{ServerFile, ClientFile} {
				path := filepath.Join(dir, name)
				if mode := must(os.Stat(path))(t).Mode(); mode != 0o600 {
					t.Errorf("%s has mode %v", name, mode)
				}
				end, other := "server", "client"
				if name == ClientFile {
					end, other = other, end
				}
				for _, want := range []string{"# vpnd strong key of the " + end + ", link " + id.String() + ", made ", "\n# The " + other + " has the other file"} {
					if text := must(os.ReadFile(path))(t); !bytes.Contains(text, []byte(want)) {
						t.Errorf("%s does not say %q:\n%s", name, want, text)
					}
				}
				f := must(LoadStrong(path))(t)
				if f.Sealed() != (passphrase != nil) {
					t.Errorf("%s is sealed %v", name, f.Sealed())
				}
				keys = append(keys, must(f.Open(passphrase))(t))
			}
			if keys[0].Role() != ServerRole || keys[1].Role() != ClientRole || keys[0].ID() != id || keys[1].ID() != id {
				t.Errorf("the keys are %v and %v of %v and %v", keys[0].Role(), keys[1].Role(), keys[0], keys[1])
			}
			_, f1, err := InitiateStrong(keys[1], bytes.NewReader(clientE), 1, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := strongDoor(t, keys[0]).Open(f1); err != nil {
				t.Errorf("the two keys do not know each other: %v", err)
			}
			if mode := must(os.Stat(dir))(t).Mode().Perm(); mode != 0o700 {
				t.Errorf("the directory has mode %v", mode)
			}
		})
	}
}

func TestMakeStrongPairRefused(t *testing.T) {
	if !alone(t) {
		return
	}
	plain := func(t *testing.T, dir string) { noError(t, os.Mkdir(dir, 0o700)) }
	for _, tt := range []struct {
		name   string
		before func(t *testing.T, dir string)
		random []byte
		pass   []byte
		want   string
		left   string // the names in the directory; "-": there is none
	}{
		{"server's file exists", func(t *testing.T, dir string) {
			plain(t, dir)
			noError(t, os.WriteFile(filepath.Join(dir, ServerFile), []byte("old"), 0o600))
		}, count(1, 96), nil, ServerFile + " exists already", ServerFile},
		{"client's file exists", func(t *testing.T, dir string) {
			plain(t, dir)
			noError(t, os.WriteFile(filepath.Join(dir, ClientFile), []byte("old"), 0o600))
		}, count(1, 96), nil, ClientFile + " exists already", ClientFile},
		{"dangling link", func(t *testing.T, dir string) {
			plain(t, dir)
			noError(t, os.Symlink("nowhere", filepath.Join(dir, ClientFile)))
		}, count(1, 96), nil, ClientFile + " exists already", ClientFile},
		{"no parent", nil, count(1, 96), nil, "make key pair: mkdir", "-"},
		{"a file in place of the directory", func(t *testing.T, dir string) {
			noError(t, os.WriteFile(dir, nil, 0o600))
		}, count(1, 96), nil, "not a directory", "-"},
		{"random bytes for no key", plain, count(1, 31), nil, "make key pair: ", ""},
		{"random bytes for one key", plain, count(1, 63), nil, "make key pair: ", ""},
		{"random bytes for two keys", plain, count(1, 95), nil, "make key pair: ", ""},
		{"too few random bytes for the seal", plain, count(1, 96+40), []byte(testPassphrase), ClientFile + ": read random bytes", ""},
		{"short pass phrase", plain, count(1, 96), []byte("short"), "at least 8", ""},
		{"disk full", func(t *testing.T, dir string) { limitFiles(t, 100) }, count(1, 96), nil, "write key file", "-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "pair")
			if tt.want == "make key pair: mkdir" {
				dir = filepath.Join(dir, "below")
			}
			if tt.before != nil {
				tt.before(t, dir)
			}
			_, err := MakeStrongPair(dir, bytes.NewReader(tt.random), tt.pass)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if left := names(dir); left != tt.left {
				t.Errorf("the directory holds %q, want %q", left, tt.left)
			}
		})
	}
}

// names returns what is in a directory, "-" if it is none.
func names(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "-"
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSweepOthers gives a key a pass phrase beside files whose names begin like its own.
func TestSweepOthers(t *testing.T) {
	path := writeKey(t, plainText(t), 0o600)
	base := filepath.Base(path)
	kept := []string{base, "4711", base + ".new-", base + ".new-1a", base + ".new-site2", base + ".old-1", "other" + base + ".new-1"}
	for _, name := range append(kept[1:], base+".new-0", base+".new-4294967295") {
		noError(t, os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte("text"), 0o600))
	}
	f := must(LoadStrong(path))(t)
	noError(t, f.ChangePassphrase(path, must(f.Open(nil))(t), rand.Reader, []byte(testPassphrase)))
	slices.Sort(kept)
	if left := names(filepath.Dir(path)); left != strings.Join(kept, " ") {
		t.Errorf("the directory holds %q, want %q", left, kept)
	}
}

func TestChangePassphrase(t *testing.T) {
	server, _ := strongPair(t)
	path := writeKey(t, "# mine\n"+plainText(t)+"# end\n", 0o400)
	noError(t, os.WriteFile(path+newInfix+"123", []byte("left by a crash"), 0o600))
	for _, passphrase := range []string{testPassphrase, "another pass phrase"} {
		f := must(LoadStrong(path))(t)
		key := server
		if f.Sealed() {
			key = must(f.Open([]byte(testPassphrase)))(t)
		}
		noError(t, f.ChangePassphrase(path, key, rand.Reader, []byte(passphrase)))
		f = must(LoadStrong(path))(t)
		if k, err := f.Open([]byte(passphrase)); err != nil || string(k.content()) != string(server.content()) {
			t.Errorf("opened %v, %v", k, err)
		}
		if text := must(os.ReadFile(path))(t); !bytes.HasPrefix(text, []byte("# mine\n# end\nvpnd-sealed-1 server\n")) {
			t.Errorf("the file is\n%s", text)
		}
		if mode := must(os.Stat(path))(t).Mode(); mode != 0o600 {
			t.Errorf("mode %v", mode)
		}
		if left := names(filepath.Dir(path)); left != filepath.Base(path) {
			t.Errorf("the directory holds %q", left)
		}
	}
	f := must(LoadStrong(path))(t)
	_, err := f.Open([]byte(testPassphrase))
	wantErr(t, "the first pass phrase after the change", err, ErrPassphrase)
}

func TestChangePassphraseOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		return // only root can give a file away
	}
	server, _ := strongPair(t)
	path := writeKey(t, plainText(t), 0o600)
	f := must(LoadStrong(path))(t)
	noError(t, os.Chown(path, 4711, 4712))
	noError(t, f.ChangePassphrase(path, server, rand.Reader, []byte(testPassphrase)))
	if s := must(os.Stat(path))(t).Sys().(*syscall.Stat_t); s.Uid != 4711 || s.Gid != 4712 {
		t.Errorf("the file belongs to %d:%d", s.Uid, s.Gid)
	}
}

func TestChangePassphraseRefused(t *testing.T) {
	if !alone(t) {
		return
	}
	server, _ := strongPair(t)
	for _, tt := range []struct {
		name       string
		passphrase string
		random     []byte
		before     func(t *testing.T, path string)
		want       string
	}{
		{"short", "short", count(1, 40), nil, "at least 8"},
		{"empty", "", count(1, 40), nil, "is empty"},
		{"too few random bytes", testPassphrase, count(1, 39), nil, "read random bytes"},
		{"gone", testPassphrase, count(1, 40), func(t *testing.T, path string) { noError(t, os.Remove(path)) }, "no such file"},
		{"disk full", testPassphrase, count(1, 40), func(t *testing.T, path string) { limitFiles(t, 100) }, "the old one is as it was"},
		{"disk full, file of another user", testPassphrase, count(1, 40), func(t *testing.T, path string) {
			if os.Geteuid() == 0 {
				noError(t, os.Chown(path, 12345, 12345))
			}
			limitFiles(t, 100)
		}, "the old one is as it was"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := writeKey(t, plainText(t), 0o600)
			f := must(LoadStrong(path))(t)
			before := must(os.ReadFile(path))(t)
			if tt.before != nil {
				tt.before(t, path)
			}
			passphrase := []byte(tt.passphrase)
			if tt.passphrase == "" {
				passphrase = nil // which must not mean a file without a seal
			}
			err := f.ChangePassphrase(path, server, bytes.NewReader(tt.random), passphrase)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			after, err := os.ReadFile(path)
			if !errors.Is(err, os.ErrNotExist) && !bytes.Equal(after, before) {
				t.Errorf("the file is now\n%s", after)
			}
			if left := names(filepath.Dir(path)); left != "" && left != filepath.Base(path) {
				t.Errorf("the directory holds %q", left)
			}
		})
	}
}

// What cannot be put in the place of the old file is removed.
func TestReplacePrivateRefused(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("a", 250))
	noError(t, os.WriteFile(long, []byte("old"), 0o600))
	directory := filepath.Join(dir, "directory")
	noError(t, os.MkdirAll(filepath.Join(directory, "full"), 0o700))
	before := names(dir)
	for _, path := range []string{long, directory, filepath.Join(dir, "missing")} {
		if err := replacePrivate(path, []byte("new")); err == nil {
			t.Errorf("%s was replaced", path)
		}
		if left := names(dir); left != before {
			t.Errorf("the directory holds %q, want %q", left, before)
		}
	}
	if err := syncDir(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sync of a directory that is not there: %v", err)
	}
}

// A random device that says the same again and again makes no pair.
func TestStrongPairOfConstant(t *testing.T) {
	same := bytes.NewReader(bytes.Repeat(count(1, 32), 3))
	if a, b, err := NewStrongPair(same); err == nil || !strings.Contains(err.Error(), "that of this end") {
		t.Errorf("%v, %v, %v", a, b, err)
	}
}
