package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"vpnd/cmd/internal/exit"
)

// TestPidfileGone ends with a pidfile that somebody has removed, or made anew,
// meanwhile: that is no error, and a file of others stays.
func TestPidfileGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vpnd.pid")
	for _, remade := range []bool{false, true} {
		p, err := lockPidfile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if remade {
			if err := os.WriteFile(path, []byte("1\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.remove(); err != nil {
			t.Errorf("remove: %v", err)
		}
		if _, err := os.Stat(path); os.IsNotExist(err) == remade {
			t.Errorf("made anew %v: %v", remade, err)
		}
	}
}

// TestPidfileForeign names what is no pidfile: it stays as it is.
func TestPidfileForeign(t *testing.T) {
	for name, create := range strangeFiles {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "vpnd.pid")
			before := strangeAt(t, path, create)
			if _, err := lockPidfile(path); err == nil || exit.Code(err) == exit.Unavailable {
				t.Errorf("error %v", err)
			}
			if after, err := os.Lstat(path); err != nil || after.Mode() != before.Mode() || !os.SameFile(before, after) {
				t.Errorf("was %v, is %v: %v", before.Mode(), after, err)
			}
		})
	}
}

// strangeFiles make what may stand where a file of the daemon is expected.
var strangeFiles = map[string]func(path string) error{
	"text":      func(path string) error { return os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755) },
	"directory": func(path string) error { return os.Mkdir(path, 0o755) },
	"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o644) },
	"device":    func(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|3) }, // as /dev/null
	"link":      func(path string) error { return os.Symlink("/dev/null", path) },
}

// strangeAt makes one of them.
func strangeAt(t *testing.T, path string, create func(string) error) os.FileInfo {
	t.Helper()
	must(t, create(path))
	info, err := os.Lstat(path)
	must(t, err)
	return info
}
