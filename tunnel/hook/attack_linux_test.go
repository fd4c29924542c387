package hook

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// descriptors returns how many files this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// TestEndlessOutput has scripts that print until they are killed, which they are when
// they have printed much: the log gets its share, and nothing of it stays in memory.
func TestEndlessOutput(t *testing.T) {
	for _, c := range []struct {
		name, prints string
		lines        int // in the log, at most; the last says that there was more
		last         string
	}{
		{"short lines", "yes on and on", maxOutput/minLine + 1, "INFO hook output cut"},
		{"empty lines", "yes ''", 0, ""},
		{"a line without end", "cat /dev/zero", 1, strings.Repeat(`\x00`, maxLine)},
		{"noise", "cat /dev/urandom", maxOutput/minLine + 1, "INFO hook output cut"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log journal
			dir := t.TempDir()
			much := fifo(t, dir, "much")
			path := write(t, filepath.Join(dir, "hook"), c.prints+` | head -c 8388608; echo >"$1"; exec `+c.prints)
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				_, err := os.ReadFile(much)
				cancel(cmp.Or(err, errors.New("that is enough")))
			}()
			files := descriptors(t)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := Script{Path: path, Args: []string{much}, Env: environment, Log: log.logger()}.Run(ctx)
			runtime.ReadMemStats(&after)
			checkError(t, err, "killed: that is enough", path)
			if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
				t.Errorf("%d bytes of memory", used)
			}
			if n := descriptors(t); n != files {
				t.Errorf("%d open files, %d before", n, files)
			}
			if n := len(log.lines); n > c.lines || c.lines > 0 && (n == 0 || log.lines[n-1] != c.last) {
				t.Errorf("%d lines: %.200q", n, log.lines)
			}
		})
	}
}

// TestForksAway leaves a process behind that has a session of its own, so that no
// signal to the group finds it, and the output open. It lives on until the test
// has heard of it, but it holds up nothing.
func TestForksAway(t *testing.T) {
	const chatter = `setsid sh -c 'trap "" PIPE TERM; echo >"$2"; while echo on and on; do :; done 2>/dev/null; echo "nobody reads" >"$1"' away "$1" "$2" &`
	for _, c := range []struct {
		name, script, want string
		kill               bool // the script, when the other one is away
	}{
		{"the script ends", chatter, "", false},
		{"the script fails", chatter + "\nexit 3", "exit status 3", false},
		{"the script waits", chatter + "\nwait", "killed: it is away", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			later, away := fifo(t, dir, "later"), fifo(t, dir, "away")
			path := write(t, filepath.Join(dir, "hook"), c.script)
			files := descriptors(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			heard := make(chan error)
			go func() {
				_, err := os.ReadFile(away)
				if c.kill {
					cancel(errors.New("it is away"))
				}
				heard <- err
			}()
			err := Script{Path: path, Args: []string{later, away}, Env: environment, Log: new(journal).logger()}.Run(ctx)
			checkError(t, err, c.want, path)
			if err := <-heard; err != nil {
				t.Error(err)
			}
			if n := descriptors(t); n != files {
				t.Errorf("%d open files, %d before", n, files)
			}
			if got, err := io.ReadAll(open(t, later, os.O_RDONLY)); err != nil || string(got) != "nobody reads\n" {
				t.Errorf("it says %q, %v", got, err)
			}
		})
	}
}

// TestInherits sees which descriptors a hook gets: none that any other child of
// this process would not get.
func TestInherits(t *testing.T) {
	open(t, os.DevNull, os.O_RDWR) // the daemon has others, too
	want, err := exec.Command("/bin/ls", "/proc/self/fd").Output()
	if err != nil {
		t.Fatal(err)
	}
	var log journal
	if err := (Script{Path: "/bin/ls", Args: []string{"/proc/self/fd"}, Env: environment, Log: log.logger()}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.expect(t, strings.Fields(string(want))...)
}
