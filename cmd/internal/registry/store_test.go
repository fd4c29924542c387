package registry

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func testStore(t testing.TB) *Store {
	t.Helper()
	s, err := OpenStore(stateDir(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// count adds one to the serial.
func count(s *state) bool { s.serial++; return true }

func (s *Store) serial(t testing.TB) (n uint64) {
	t.Helper()
	if err := s.update(t.Context(), func(st *state) bool { n = st.serial; return false }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOpenStore(t *testing.T) {
	dir := stateDir(t)
	open := func(path, want string) {
		t.Helper()
		s, err := OpenStore(path, slog.New(slog.DiscardHandler))
		if want == "" && err == nil {
			return
		}
		if err == nil || s != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	open(dir, "")
	open(dir+"x", "no such file")
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(file, "is not a directory")
	for _, mode := range []os.FileMode{0o777, 0o750, 0o701, 0o710, 0o704} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		open(dir, "is open to others")
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 12345, 0); err != nil {
		t.Fatal(err)
	}
	open(dir, "belongs to user 12345")
}

func TestStoreModes(t *testing.T) {
	s := testStore(t)
	if err := s.update(t.Context(), count); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has the mode %v", e.Name(), info.Mode())
		}
	}
	if len(entries) != 2 {
		t.Errorf("%d files, want state and lock", len(entries))
	}
}

// Several have the directory open at once, as CGI programs have.
func TestStoreShared(t *testing.T) {
	dir := stateDir(t)
	const stores, each = 8, 50
	var all sync.WaitGroup
	for range stores {
		s, err := OpenStore(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			all.Go(func() {
				for range each / 2 {
					if err := s.update(t.Context(), count); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	s, err := OpenStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if n := s.serial(t); n != stores*each {
		t.Errorf("%d changes are there, %d were made", n, stores*each)
	}
}

// Whoever holds the lock for ever makes others wait no longer than they want.
func TestStoreLocked(t *testing.T) {
	s := testStore(t)
	if err := s.update(t.Context(), count); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(s.path(lockFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := s.update(ctx, count); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		cancel()
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if n := s.serial(t); n != 1 {
		t.Errorf("serial %d, want 1", n)
	}
}

// TestStoreDamage has what a killed process, a full disk or bad luck may leave.
func TestStoreDamage(t *testing.T) {
	s := testStore(t)
	if err := s.update(t.Context(), count); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(s.path(stateFile))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"", "x", string(whole[:len(whole)/2])} { // killed while it wrote
		write(newFile, text)
		before := s.serial(t)
		if err := s.update(t.Context(), count); err != nil || s.serial(t) != before+1 {
			t.Errorf("error %v, serial %d", err, s.serial(t))
		}
	}
	for _, text := range []string{"", "x", string(whole[:len(whole)/2]), strings.Repeat("x", 2*maxState)} {
		write(stateFile, text)
		if n := s.serial(t); n != 0 {
			t.Errorf("serial %d of a damaged state", n)
		}
		if kept, err := os.ReadFile(s.path(damagedFile)); err != nil || string(kept) != text {
			t.Errorf("%d bytes were kept of %d, error %v", len(kept), len(text), err)
		}
		if err := s.update(t.Context(), count); err != nil || s.serial(t) != 1 {
			t.Errorf("error %v, serial %d", err, s.serial(t))
		}
	}
}

func TestStoreErrors(t *testing.T) {
	s := testStore(t)
	if err := s.update(t.Context(), count); err != nil {
		t.Fatal(err)
	}
	fails := func(name, want string) {
		t.Helper()
		if err := s.update(t.Context(), count); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	instead := func(name, want string) { // a directory stands where a file belongs
		t.Helper()
		path := s.path(name)
		os.Rename(path, path+".away")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		fails(name, want)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		os.Rename(path+".away", path)
	}
	instead(stateFile, "read state")
	instead(newFile, "write state")
	instead(lockFile, "lock state")
	if err := os.Remove(s.path(lockFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", s.path(lockFile)); err != nil {
		t.Fatal(err)
	}
	fails("link", "lock state")
	if err := os.Remove(s.path(lockFile)); err != nil {
		t.Fatal(err)
	}
	if n := s.serial(t); n != 1 {
		t.Errorf("serial %d, want 1", n)
	}
}

func TestHostClock(t *testing.T) {
	a, b := hostClock(), hostClock()
	if a.boot != b.boot || b.at < a.at || strings.ContainsAny(a.boot, " \n") || a.boot == "" || a.at%time.Millisecond != 0 {
		t.Errorf("the clock says %+v, then %+v", a, b)
	}
	if w := wallClock(); w.boot != noBoot || w.at%time.Millisecond != 0 {
		t.Errorf("the clock says %+v", w)
	}
}
