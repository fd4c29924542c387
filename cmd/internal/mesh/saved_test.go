package mesh

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vpnd/crypto"
)

func TestSavedPlace(t *testing.T) {
	dir := stateDir(t)
	own, server := crypto.PublicKey{1}, crypto.PublicKey{2}
	s, err := NewSaved(dir, "a", own, server)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.load(); got != nil || err != nil {
		t.Errorf("nothing saved: %v, %v", got, err)
	}
	for range 2 {
		if err := s.store(live(0)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.load(); err != nil || len(got.Gateways) != 2 {
		t.Errorf("loaded %v, %v", got, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 || e.Name() != "a.table" {
			t.Errorf("%s %v", e.Name(), info.Mode())
		}
	}
	other, err := NewSaved(dir, "a", server, own)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := other.load(); got != nil || err == nil || !strings.Contains(err.Error(), s.path) {
		t.Errorf("another key: %v, %v", got, err)
	}
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", s.path); err != nil {
		t.Fatal(err)
	}
	if got, err := s.load(); got != nil || err == nil {
		t.Errorf("a link: %v, %v", got, err)
	}
	for _, mode := range []os.FileMode{0o777, 0o720, 0o702} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := NewSaved(dir, "a", own, server); err == nil || !strings.Contains(err.Error(), "can be changed by others") {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, 12345, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := NewSaved(dir, "a", own, server); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("of another user: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewSaved(file, "a", own, server); err == nil {
		t.Error("a file is taken for a directory")
	}
}

func TestInstance(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	for range 2 {
		i, err := Claim(dir, "a")
		if err != nil {
			t.Fatal(err)
		}
		if other, err := Claim(dir, "a"); !errors.Is(err, ErrRunning) || other != nil {
			t.Fatalf("claimed twice: %v", err)
		}
		var mu sync.Mutex
		var commands []string
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- i.Serve(ctx, func(command string) []byte {
				mu.Lock()
				defer mu.Unlock()
				commands = append(commands, command)
				return []byte("done " + command)
			})
		}()
		for _, command := range []string{"register", "status"} {
			if reply, err := Tell(dir, "a", command); err != nil || string(reply) != "done "+command {
				t.Errorf("reply %q, %v", reply, err)
			}
		}
		if reply, err := Tell(dir, "a", strings.Repeat("x", maxCommand)); err == nil && len(reply) > 0 {
			t.Errorf("a long command: %q", reply)
		}
		mu.Lock()
		if !slices.Equal(commands, []string{"register", "status"}) {
			t.Errorf("commands %q", commands)
		}
		mu.Unlock()
		if info, err := os.Stat(filepath.Join(dir, "a.sock")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the socket: %v, %v", info, err)
		}
		b, err := Claim(dir, "b")
		if err != nil {
			t.Fatal(err)
		}
		b.listener.Close()
		b.lock.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := Tell(dir, "a", "status"); err == nil {
			t.Error("somebody answers")
		}
		// What a killed process leaves.
		if err := os.WriteFile(filepath.Join(dir, "a.sock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Claim(filepath.Join(dir, strings.Repeat("x", 200)), "a"); err == nil {
		t.Error("a socket with too long a name")
	}
}

// Who can read the directory, and holds a lock on it, holds nobody up.
func TestClaimHeldUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	other, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	claimed := make(chan error, 1)
	go func() {
		i, err := Claim(dir, "a")
		if err == nil {
			err = errors.Join(i.listener.Close(), i.lock.Close())
		}
		claimed <- err
	}()
	select {
	case err := <-claimed:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("it waits for somebody else")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others can hold %s: mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

// Of those who claim a place at once one gets it, and it answers the others.
func TestClaimAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	const claims = 8
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var all, others sync.WaitGroup
		others.Add(claims - 1)
		for range claims {
			all.Go(func() {
				i, err := Claim(dir, "a")
				if err == nil {
					i.Serve(ctx, func(string) []byte { return []byte("here") })
					return
				}
				defer others.Done()
				if !errors.Is(err, ErrRunning) {
					t.Error(err)
				}
				if reply, err := Tell(dir, "a", "register"); err != nil || string(reply) != "here" {
					t.Errorf("reply %q, %v", reply, err)
				}
			})
		}
		others.Wait()
		cancel()
		all.Wait()
	}
}
