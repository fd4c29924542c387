package tiny

import (
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

func TestEnter(t *testing.T) {
	d := &door{seen: make(map[string]bool)}
	for _, tt := range []struct {
		word string
		ok   bool
	}{{"abc", true}, {"abc", false}, {"abcd", false}} {
		if err := d.enter(tt.word); (err == nil) != tt.ok {
			t.Errorf("%q: %v", tt.word, err)
		}
	}
}

func TestGrade(t *testing.T) {
	if grade(1) != 1 || grade(3) != 0 {
		t.Error("wrong grade")
	}
}

func TestSum(t *testing.T) {
	if sum(0) != 0 || sum(3) != 6 {
		t.Error("wrong sum")
	}
}

// No file may be written here, by nobody.
func TestKeep(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	none := syscall.Rlimit{}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &none); err != nil {
		t.Fatal(err)
	}
	if err := keep(filepath.Join(t.TempDir(), "word"), "abc"); err != errRefused {
		t.Errorf("error %v", err)
	}
}
