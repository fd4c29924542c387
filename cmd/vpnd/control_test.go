package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestControlForeign names what is no socket: it stays as it is.
func TestControlForeign(t *testing.T) {
	for name, create := range strangeFiles {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sock")
			before := strangeAt(t, path, create)
			if _, err := listenControl(path); err == nil || !strings.Contains(err.Error(), "what is there is no socket") {
				t.Errorf("error %v", err)
			}
			if after, err := os.Lstat(path); err != nil || after.Mode() != before.Mode() || !os.SameFile(before, after) {
				t.Errorf("was %v, is %v: %v", before.Mode(), after, err)
			}
		})
	}
}

// TestControlAbandoned replaces the socket of a daemon that was killed.
func TestControlAbandoned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	killed, err := listenControl(path)
	must(t, err)
	killed.l.SetUnlinkOnClose(false)
	must(t, killed.close())
	c, err := listenControl(path)
	must(t, err)
	must(t, c.close())
}

// TestControlPrivate looks at the socket all the time while it is made: at no moment it
// is open to others, whatever the umask is, which stays as it was.
func TestControlPrivate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "sock")
	var open, seen atomic.Int32
	var stop atomic.Bool
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop.Store(true)
	watching.Go(func() {
		for !stop.Load() {
			if info, err := os.Lstat(path); err == nil {
				seen.Add(1)
				if info.Mode().Perm()&0o077 != 0 {
					open.Add(1)
				}
			}
		}
	})
	for i := 0; i < 1000 || seen.Load() == 0; i++ {
		c, err := listenControl(path)
		must(t, err)
		must(t, c.close())
	}
	if n := open.Load(); n > 0 {
		t.Errorf("open to others at %d of %d looks", n, seen.Load())
	}
	if mask := syscall.Umask(0); mask != 0 {
		t.Errorf("the umask is %04o", mask)
	}
}
