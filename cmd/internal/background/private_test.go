package background

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestListenPrivate looks at a socket all the time while it is made: at no moment it is
// open to others, whatever the umask is, which stays as it was.
func TestListenPrivate(t *testing.T) {
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
				if info.Mode().Perm() != 0o600 {
					open.Add(1)
				}
			}
		}
	})
	for i := 0; i < 1000 || seen.Load() == 0; i++ {
		l, err := ListenPrivate(path)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	if n := open.Load(); n > 0 {
		t.Errorf("open to others at %d of %d looks", n, seen.Load())
	}
	if mask := syscall.Umask(0); mask != 0 {
		t.Errorf("the umask is %04o", mask)
	}
}
