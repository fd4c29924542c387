package registry

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A full disk leaves the old state.
func TestStoreFullDisk(t *testing.T) {
	dir := stateDir(t)
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=16k,mode=700"); err != nil {
		t.Fatalf("mount a disk: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	s, err := OpenStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.update(t.Context(), count); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 16<<10), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	for range 3 {
		if err := s.update(t.Context(), count); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("error %v", err)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if n := s.serial(t); n != 1 {
		t.Errorf("serial %d, want 1", n)
	}
	if err := s.update(t.Context(), count); err != nil {
		t.Error(err)
	}
}
