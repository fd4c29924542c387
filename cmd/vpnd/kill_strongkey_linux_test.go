package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
	"vpnd/crypto"
)

// changing are the system calls that change files.
var changing = []uint64{
	unix.SYS_OPENAT, unix.SYS_WRITE, unix.SYS_FSYNC, unix.SYS_CLOSE, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2,
	unix.SYS_UNLINKAT, unix.SYS_FCHOWN, unix.SYS_MKDIRAT,
}

// touches reports whether a call that changes files concerns one below dir.
func touches(c *lab.Call, dir string) bool {
	if !slices.Contains(changing, c.Number) {
		return false
	}
	if c.Is(unix.SYS_WRITE) || c.Is(unix.SYS_FSYNC) || c.Is(unix.SYS_CLOSE) || c.Is(unix.SYS_FCHOWN) {
		return strings.HasPrefix(c.File(0), dir)
	}
	return strings.HasPrefix(c.Text(1), dir)
}

// TestKillChangePassphrase kills vpnd -c before and after every system call with
// which it changes something. The key file is whole at any time, the old one or the
// new one, and the next change leaves nothing else behind.
func TestKillChangePassphrase(t *testing.T) {
	t.Parallel()
	l, err := lab.New()
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	ns, err := l.Namespace("key")
	must(t, err)
	plain := newPair(t, "")
	text, err := os.ReadFile(filepath.Join(plain, "vpnd.lcl.key"))
	must(t, err)
	id := keyAt(t, filepath.Join(plain, "vpnd.lcl.key"), "").ID()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	path := filepath.Join(dir, "vpnd.lcl.key")
	// change runs vpnd -c until the nth call and returns how many there were.
	change := func(kill int) (calls, code int) {
		must(t, os.WriteFile(path, text, 0o600))
		cmd := exec.Command(binary, "-c", path, "--passphrase-fd", "3")
		giving(t, phrase+"\n")(cmd)
		trace, err := ns.Trace(cmd, lab.Tracing{Watch: func(c *lab.Call) bool {
			if touches(c, dir) {
				calls++
			}
			return touches(c, dir) && calls == kill
		}})
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		code, err = trace.Wait(ctx)
		must(t, err)
		<-trace.Ended()
		return calls, code
	}
	all, code := change(0)
	if code != exit.OK || keyAt(t, path, phrase).ID() != id {
		t.Fatalf("exit code %d", code)
	}
	var was struct{ old, new, left int }
	for kill := 1; kill <= all; kill++ {
		if _, code := change(kill); code != killed {
			t.Fatalf("call %d: exit code %d, want %d", kill, code, killed)
		}
		file, err := crypto.LoadStrong(path)
		must(t, err)
		if file.Sealed() {
			was.new++
			keyAt(t, path, phrase)
		} else {
			was.old++
			if now, err := os.ReadFile(path); err != nil || string(now) != string(text) {
				t.Errorf("call %d: the file is neither the old nor the new one: %v\n%s", kill, err, now)
			}
		}
		if len(filesIn(t, dir)) > 1 {
			was.left++
		}
	}
	t.Logf("%d kills: %d old, %d new, %d incomplete files beside", all, was.old, was.new, was.left)
	if was.old == 0 || was.new == 0 || was.left == 0 {
		t.Error("not every state of the file was seen")
	}
	change(0)
	if got := filesIn(t, dir); !slices.Equal(got, []string{"vpnd.lcl.key"}) {
		t.Errorf("after one more change the directory holds %v", got)
	}
}
