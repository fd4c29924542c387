package crypto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

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
		{"socket", func(p string) error { return listen(t, p) }, "key file: open "},
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
	wantFileError(t, filepath.Join(good, "below"), "key file: open ")
}

// A key file is closed again, whatever is in it.
func TestLoadKeyCloses(t *testing.T) {
	open := func() int { return len(must(os.ReadDir("/dev/fd"))(t)) }
	good, bad := writeKey(t, line(testSecret), 0o600), writeKey(t, "bad", 0o644)
	before := open()
	for range 5 {
		LoadKey(good)
		LoadKey(bad)
	}
	if now := open(); now != before {
		t.Errorf("%d descriptors are open, want %d", now, before)
	}
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
			err := checkPrivate(keyFile, "FILE", tt.mode, tt.owner, tt.user)
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
	if !alone(t) {
		return
	}
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
			func(t *testing.T, path string) string { return filepath.Join(path, "below") }, "make the directory first", ""},
		{"directory", bytes.NewReader(random),
			func(t *testing.T, path string) string { return dir }, "is a directory: name a file, such as " + filepath.Join(dir, "vpnd.key"), ""},
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
// without one. The test has to be alone: the limit is that of the process, and the go
// command has a file of its own there.
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
