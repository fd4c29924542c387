package hook

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// write makes a script of shell commands and returns its path.
func write(t *testing.T, path, commands string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+commands+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// fifo makes a named pipe, with which a test and a script wait for each other:
// each blocks in open until the other has opened it too.
func fifo(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens a fifo.
func open(t *testing.T, path string, flag int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// journal is a log: what scripts printed as it is, other messages with their
// level and error.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *journal) WithGroup(string) slog.Handler            { return j }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "line" {
			line = a.Value.String()
		} else {
			line += ": " + a.Value.String()
		}
		return true
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	return nil
}

func (j *journal) logger() *slog.Logger { return slog.New(j) }

// expect compares the whole log.
func (j *journal) has(line string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Contains(j.lines, line)
}

func (j *journal) expect(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.lines, want) {
		t.Errorf("log\n%s\nwant\n%s", strings.Join(j.lines, "\n"), strings.Join(want, "\n"))
	}
}

// environment is enough to find the commands of the scripts.
var environment = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}

func TestRun(t *testing.T) {
	for _, c := range []struct {
		name, script string
		args         []string
		want         []string
		wantErr      string
	}{
		{"nothing", "", nil, nil, ""},
		{"both outputs", "echo one; echo two >&2; echo three", nil, []string{"one", "two", "three"}, ""},
		{"no newline", "printf 'begun'", nil, []string{"begun"}, ""},
		{"arguments", `printf '%s\n' "$#" "$@"`, []string{"a", "", "$(id) `id` ;|&*", "-x"}, []string{"4", "a", "$(id) `id` ;|&*", "-x"}, ""},
		{"directory", "pwd", nil, []string{"/"}, ""},
		{"standard input", "read x || echo end of file", nil, []string{"end of file"}, ""},
		{"control characters", `printf '\033[31mred\007\tbell\r\n\377 \342\200\256 \303\244 \\ %%s\n'`, nil, []string{`\x1b[31mred\a\tbell`, `\xff \u202e ä \\ %s`}, ""},
		{"exit status", "echo before; exit 3", nil, []string{"before"}, "exit status 3"},
		{"signal", "kill -9 $$", nil, nil, "signal: killed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log journal
			s := Script{Path: write(t, filepath.Join(t.TempDir(), "hook"), c.script), Args: c.args, Env: environment, Timeout: time.Hour, Log: log.logger()}
			err := s.Run(t.Context())
			checkError(t, err, c.wantErr, s.Path)
			log.expect(t, c.want...)
		})
	}
}

// checkError expects no error, or one of the script at path.
func checkError(t *testing.T, err error, want, path string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error %q", err)
	case want != "" && err == nil:
		t.Errorf("no error, want %q", want)
	case want != "" && err.Error() != "hook "+path+": "+want:
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("VPND_SECRET", "of the daemon")
	for _, env := range [][]string{nil, {}, {"PATH=/bin", "VPND_EVENT=linkup", "VPND_REASON=a b"}} {
		var log journal
		if err := (Script{Path: "/usr/bin/env", Env: env, Log: log.logger()}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		log.expect(t, env...)
	}
}

// TestName runs scripts whose names a shell would take apart.
func TestName(t *testing.T) {
	for _, name := range []string{"a b", "$(touch x)", "`touch x`", "x;touch x", "'", `"`, `\`, "*", "-x", "ü", "a\nb"} {
		var log journal
		dir := t.TempDir()
		path := write(t, filepath.Join(dir, name), `test "$0" = "$1" && echo same`)
		if err := (Script{Path: path, Args: []string{path}, Env: environment, Log: log.logger()}).Run(t.Context()); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		log.expect(t, "same")
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Errorf("%q: files %v, %v", name, files, err)
		}
	}
}

func TestRelativePath(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "true"), "exit 7") // not the one in $PATH
	t.Chdir(dir)
	err := Script{Path: "true", Env: environment, Log: new(journal).logger()}.Run(t.Context())
	checkError(t, err, "exit status 7", "true")
}

// TestLink runs the file behind a link.
func TestLink(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "hook"), `echo "$0"`)
	link := filepath.Join(dir, "link")
	if err := os.Symlink("hook", link); err != nil {
		t.Fatal(err)
	}
	var log journal
	checkError(t, Script{Path: link, Env: environment, Log: log.logger()}.Run(t.Context()), "", link)
	log.expect(t, filepath.Join(dir, "hook"))
}

func TestCannotStart(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"no interpreter line", "echo hello\n", "fork/exec PATH: exec format error: a script begins with a line such as #!/bin/sh"},
		{"missing interpreter", "#!/no/such/shell\n", "fork/exec PATH: no such file or directory: the interpreter named in its first line is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "hook")
			if err := os.WriteFile(path, []byte(c.content), 0o700); err != nil {
				t.Fatal(err)
			}
			err := Script{Path: path, Log: new(journal).logger()}.Run(t.Context())
			checkError(t, err, strings.ReplaceAll(c.want, "PATH", path), path)
		})
	}
}

// TestReplaced puts another file into the place of a checked one.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "hook"), "echo good")
	if err := Check(path); err != nil {
		t.Fatal(err)
	}
	other := write(t, filepath.Join(dir, "other"), "echo bad")
	if err := os.Chmod(other, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	var log journal
	err := Script{Path: path, Env: environment, Log: log.logger()}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "writable by group or others") {
		t.Errorf("error %v", err)
	}
	log.expect(t)
}

func TestTimeout(t *testing.T) {
	for _, c := range []struct{ name, script string }{
		{"never ends", "while :; do sleep 1; done"},
		{"never ends and prints", "while :; do echo on and on; done"},
		{"waits for a child", "sleep 1000"},
		{"ends well after SIGTERM", "trap 'exit 0' TERM; while :; do sleep 0.01; done"},
		{"takes no SIGTERM", "trap '' TERM; while :; do sleep 1; done"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, filepath.Join(t.TempDir(), "hook"), c.script)
			s := Script{Path: path, Env: environment, Timeout: 300 * time.Millisecond, Log: new(journal).logger()}
			checkError(t, s.Run(t.Context()), "killed after 300ms", path)
		})
	}
}

// TestTimeoutFromStart has so little time that it would be up before the start.
func TestTimeoutFromStart(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "hook"), "sleep 1000")
	s := Script{Path: path, Env: environment, Timeout: time.Nanosecond, Log: new(journal).logger()}
	checkError(t, s.Run(t.Context()), "killed after 1ns", path)
}

// TestKillsGroup has a child that takes no SIGTERM and, as long as it lives,
// keeps a fifo open.
func TestKillsGroup(t *testing.T) {
	for _, c := range []struct{ name, end string }{
		{"the script waits", "wait"},
		{"the script takes no SIGTERM either", "trap '' TERM; wait; wait; while :; do sleep 1; done"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			alive := fifo(t, dir, "alive")
			path := write(t, filepath.Join(dir, "hook"), `(trap '' TERM; echo up; while :; do sleep 1; done) >"$1" &`+"\n"+c.end)
			ctx, cancel := context.WithCancelCause(t.Context())
			result := make(chan error, 1)
			go func() {
				result <- Script{Path: path, Args: []string{alive}, Env: environment, Log: new(journal).logger()}.Run(ctx)
			}()
			f := open(t, alive, os.O_RDONLY)
			if _, err := io.ReadFull(f, make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			cancel(errors.New("the end"))
			checkError(t, <-result, "killed: the end", path)
			if rest, err := io.ReadAll(f); err != nil || len(rest) > 0 { // returns when all are gone
				t.Errorf("%q, %v", rest, err)
			}
		})
	}
}

func TestAlreadyDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var log journal
	path := write(t, filepath.Join(t.TempDir(), "hook"), "echo here")
	err := Script{Path: path, Env: environment, Log: log.logger()}.Run(ctx)
	checkError(t, err, "context canceled", path)
	log.expect(t)
}

// TestBackground leaves a child behind that has the output open. It lives on
// until the test reads what it writes.
func TestBackground(t *testing.T) {
	dir := t.TempDir()
	later := fifo(t, dir, "later")
	path := write(t, filepath.Join(dir, "hook"), `(echo still here >"$1") &`+"\n"+`echo done`)
	var log journal
	err := Script{Path: path, Args: []string{later}, Env: environment, Timeout: time.Hour, Log: log.logger()}.Run(t.Context())
	checkError(t, err, "", path)
	log.expect(t, "done")
	if got, err := io.ReadAll(open(t, later, os.O_RDONLY)); err != nil || string(got) != "still here\n" {
		t.Errorf("the child says %q, %v", got, err)
	}
}
