package main

import (
	"os"
	"path/filepath"
	"strings"
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
