package crypto

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/cryptotest"
	"testing/iotest"
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

func writeKey(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vpnd.key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantFileError(t *testing.T, path, want string) {
	t.Helper()
	k, err := LoadKey(path)
	if err == nil || k != nil {
		t.Fatalf("key %v, error %v; want an error with %q", k, err, want)
	}
	if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %q, want %q and %q in it", err, want, path)
	}
}

func TestLoadKeyText(t *testing.T) {
	for _, tt := range parseTests {
		if len(tt.text) > maxKeyFile {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			path := writeKey(t, tt.text, 0o600)
			k, err := LoadKey(path)
			checkParsed(t, k, err, tt.text, tt.err)
			if err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not name the file", err)
			}
		})
	}
}

func TestLoadKeyModes(t *testing.T) {
	for _, mode := range []os.FileMode{0o600, 0o400, 0o700, 0o500} {
		if _, err := LoadKey(writeKey(t, line(testSecret), mode)); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for bit := os.FileMode(1); bit <= 0o40; bit <<= 1 {
		mode := 0o600 | bit
		wantFileError(t, writeKey(t, line(testSecret), mode), fmt.Sprintf("(mode %04o): chmod 600", mode))
	}
}

func TestLoadKeySize(t *testing.T) {
	fill := strings.Repeat("#", maxKeyFile-len(line(testSecret)))
	if _, err := LoadKey(writeKey(t, line(testSecret)+fill, 0o600)); err != nil {
		t.Errorf("file of %d bytes: %v", maxKeyFile, err)
	}
	wantFileError(t, writeKey(t, line(testSecret)+fill+"#", 0o600), "longer than 4096 bytes")
}

func TestLoadKeyKinds(t *testing.T) {
	good := writeKey(t, line(testSecret), 0o600)
	dir := t.TempDir()
	tests := []struct {
		name string
		make func(path string) error
		want string
	}{
		{"symbolic link", func(p string) error { return os.Symlink(good, p) }, "is a symbolic link"},
		{"dangling link", func(p string) error { return os.Symlink(p+"x", p) }, "is a symbolic link"},
		{"directory", func(p string) error { return os.Mkdir(p, 0o700) }, "is not a regular file"},
		{"pipe", func(p string) error { return syscall.Mkfifo(p, 0o600) }, "is not a regular file"},
		{"socket", func(p string) error { return listen(t, p) }, "key file"},
		{"nothing", func(string) error { return nil }, "does not exist: make it with vpnd -m"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, tt.name)
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			wantFileError(t, path, tt.want)
		})
	}
	wantFileError(t, filepath.Join(good, "below"), "key file")
}

func listen(t *testing.T, path string) error {
	l, err := net.Listen("unix", path)
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return err
}

func TestCheckPrivate(t *testing.T) {
	for _, tt := range []struct {
		name        string
		mode        os.FileMode
		owner, user int
		want        string // "" if it is private
	}{
		{"own", 0o600, 1000, 1000, ""},
		{"root's", 0o600, 0, 1000, ""},
		{"root's, for root", 0o600, 0, 0, ""},
		{"somebody's", 0o600, 1001, 1000, "belongs to user 1001"},
		{"somebody's, for root", 0o600, 1000, 0, "belongs to user 1000"},
		{"device", 0o600 | os.ModeDevice | os.ModeCharDevice, 1000, 1000, "not a regular file"},
		{"root's, open", 0o640, 0, 1000, "mode 0640"},
		{"set user id", 0o600 | os.ModeSetuid, 1000, 1000, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkPrivate("FILE", tt.mode, tt.owner, tt.user)
			if (err != nil) != (tt.want != "") {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q in it", err, tt.want)
			}
		})
	}
}

// Only root can give a file away; others test the owner in TestCheckPrivate.
func TestLoadKeyOwner(t *testing.T) {
	path := writeKey(t, line(testSecret), 0o600)
	if err := os.Chown(path, 4711, -1); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal(err)
		}
		return
	}
	wantFileError(t, path, "belongs to user 4711")
}

func TestMakeKey(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "vpnd.key")
	made := must(MakeKey(path, bytes.NewReader(testSecret)))(t)
	if made.ID() != testKey(t, testSecret).ID() {
		t.Errorf("made %v, want %v", made, testKey(t, testSecret))
	}
	if mode := must(os.Stat(path))(t).Mode(); mode != 0o600 {
		t.Errorf("mode %v, want 0600", mode)
	}
	if loaded, err := LoadKey(path); err != nil || loaded.ID() != made.ID() {
		t.Errorf("loaded %v, %v; want %v", loaded, err, made)
	}
	text := string(must(os.ReadFile(path))(t))
	if !strings.Contains(text, made.ID().String()) || !strings.HasSuffix(text, line(testSecret)) {
		t.Errorf("the file is\n%s", text)
	}
}

func TestMakeKeyRefused(t *testing.T) {
	dir := t.TempDir()
	full := func(t *testing.T, path string) string { limitFiles(t, 100); return path }
	random := bytes.Repeat(testSecret, 2)
	tests := []struct {
		name   string
		random io.Reader
		before func(t *testing.T, path string) string // returns the path to make
		want   string
		after  string // what is in the file: "" if it does not exist
	}{
		{"exists", bytes.NewReader(random),
			func(t *testing.T, path string) string { return writeKey(t, "old", 0o644) }, "exists already", "old"},
		{"dangling link", bytes.NewReader(random),
			func(t *testing.T, path string) string { return link(t, path) }, "exists already", ""},
		{"no directory", bytes.NewReader(random),
			func(t *testing.T, path string) string { return filepath.Join(path, "below") }, "make key file", ""},
		{"directory", bytes.NewReader(random),
			func(t *testing.T, path string) string { return dir }, "exists already", ""},
		{"too few random bytes", bytes.NewReader(testSecret[:31]), nil, "read random bytes: unexpected EOF", ""},
		{"broken random device", iotest.ErrReader(errors.New("broken")), nil, "read random bytes: broken", ""},
		{"disk full", bytes.NewReader(random), full, "write key file", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, tt.name)
			if tt.before != nil {
				path = tt.before(t, path)
			}
			k, err := MakeKey(path, tt.random)
			if err == nil || k != nil {
				t.Fatalf("key %v, error %v", k, err)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q, want %q and %q in it", err, tt.want, path)
			}
			if text, _ := os.ReadFile(path); string(text) != tt.after {
				t.Errorf("the file holds %q, want %q", text, tt.after)
			}
			if _, err := os.Lstat(path); tt.want == "write key file" && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("half a key file was left (%v)", err)
			}
		})
	}
}

// link makes a symbolic link that leads to a name where nothing is.
func link(t *testing.T, path string) string {
	t.Helper()
	if err := os.Symlink(path+" target", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// limitFiles lets no file grow beyond n bytes until the test ends: a full disk,
// without one.
func limitFiles(t *testing.T, n uint64) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	setSoft(&limit.Cur, n)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	})
}

// setSoft sets a field that is signed on some systems.
func setSoft[T int64 | uint64](field *T, n uint64) { *field = T(n) }

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

func TestMixRandom(t *testing.T) {
	// drawn returns what comes out for a device, the kernel's bytes being the
	// same each time.
	drawn := func(device []byte) []byte {
		cryptotest.SetGlobalRandom(t, 1)
		out := make([]byte, len(device))
		if n, err := MixRandom(bytes.NewReader(device)).Read(out); n != len(out) || err != nil {
			t.Fatalf("read %d bytes, %v", n, err)
		}
		return out
	}
	device := count(1, 64)
	kernel, mixed := drawn(make([]byte, 64)), drawn(device)
	if bytes.Equal(kernel, make([]byte, 64)) {
		t.Fatal("with a device of zeros only zeros come out")
	}
	for i := range mixed {
		if mixed[i] != kernel[i]^device[i] {
			t.Fatalf("byte %d is %x, want %x^%x", i, mixed[i], kernel[i], device[i])
		}
	}
}

func TestMixRandomBroken(t *testing.T) {
	for _, tt := range []struct {
		name   string
		device io.Reader
		want   string
	}{
		{"broken", iotest.ErrReader(errors.New("broken")), "read random device: broken"},
		{"empty", bytes.NewReader(nil), "read random device: EOF"},
		{"short", bytes.NewReader(make([]byte, 31)), "read random device: unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := MixRandom(tt.device).Read(make([]byte, 32))
			if n != 0 || err == nil || err.Error() != tt.want {
				t.Errorf("%d bytes, error %v; want %q", n, err, tt.want)
			}
		})
	}
	// A device that gives its bytes one by one is read to the end.
	n, err := MixRandom(iotest.OneByteReader(bytes.NewReader(make([]byte, 32)))).Read(make([]byte, 32))
	if n != 32 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}
