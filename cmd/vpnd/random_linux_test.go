package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRandomForeign names what is no random device. It is not opened, as that may take
// for ever.
func TestRandomForeign(t *testing.T) {
	for name, create := range strangeFiles {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "random")
			strangeAt(t, path, create)
			ended := make(chan error, 1)
			go func() {
				_, err := openRandom(path)
				ended <- err
			}()
			select {
			case err := <-ended:
				if err == nil || !strings.Contains(err.Error(), path+" is not a random device") {
					t.Errorf("error %v", err)
				}
			case <-time.After(patience):
				os.WriteFile(path, nil, 0) // has the other one go on
				t.Error("it waits")
			}
		})
	}
	f, err := openRandom("/dev/urandom")
	must(t, err)
	defer f.Close()
	if n, err := f.Read(make([]byte, 16)); n != 16 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}
