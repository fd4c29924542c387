package main

import (
	"os"
	"path/filepath"
	"testing"
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
