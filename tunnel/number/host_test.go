package number

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// onHost opens both files in a directory.
func onHost(t testing.TB, dir string) (*Client, *Journal) {
	t.Helper()
	c, err := OpenClient(dir, testID, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	j, err := OpenJournal(filepath.Join(dir, "server.numbers"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return c, j
}

func closed(t testing.TB, c *Client, j *Journal) {
	t.Helper()
	if err := errors.Join(c.Close(), j.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestHost(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := filepath.Join(t.TempDir(), "state")
	var last Call
	for n := range 3 {
		c, j := onHost(t, dir)
		if j.Made() != (n == 0) || c.Lost() {
			t.Errorf("round %d: journal made %v, client's number lost %v", n, j.Made(), c.Lost())
		}
		if n > 0 {
			refused(t, j, testID, last.Number)
		}
		for range 2 {
			last = next(t, c)
			if f, err := j.Accept(testID, last); f != Known || err != nil {
				t.Fatalf("round %d: %v, %v", n, f, err)
			}
		}
		closed(t, c, j)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v: %v", e.Name(), info.Mode(), err)
		}
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), "01020304050607ff.number 01020304050607ff.number.lock server.numbers server.numbers.lock"; got != want {
		t.Errorf("the directory holds %s, want %s", got, want)
	}
}

func TestHostLocked(t *testing.T) {
	dir := t.TempDir()
	c, j := onHost(t, dir)
	if _, err := OpenClient(dir, testID, time.Now); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second client: error %v", err)
	}
	if _, err := OpenJournal(j.path, time.Now); !errors.Is(err, ErrLocked) {
		t.Errorf("a second server: error %v", err)
	}
	other, err := OpenClient(dir, ID{9}, time.Now)
	if err != nil {
		t.Fatalf("a client with another key: %v", err)
	}
	closed(t, other, j)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	closed(t, onHostClient(t, dir), onHostJournal(t, j.path))
}

func onHostClient(t testing.TB, dir string) *Client {
	c, err := OpenClient(dir, testID, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func onHostJournal(t testing.TB, path string) *Journal {
	j, err := OpenJournal(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestHostOddFiles(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"symbolic link", func(p string) error { return os.Symlink("elsewhere", p) }, "too many levels of symbolic links"},
		{"directory", func(p string) error { return os.Mkdir(p, 0o700) }, "is a directory"},
		{"pipe", func(p string) error { return syscall.Mkfifo(p, 0o600) }, "is not a regular file"},
		{"lock is a link", func(p string) error { return os.Symlink("elsewhere", p+".lock") }, "too many levels of symbolic links"},
		{"no directory", func(p string) error { return os.Remove(filepath.Dir(p)) }, ""},
		{"no directory above", func(p string) error {
			return errors.Join(os.Remove(filepath.Dir(p)), os.WriteFile(filepath.Dir(p), nil, 0o600))
		}, "not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			for _, open := range []func() (interface{ Close() error }, error){
				func() (interface{ Close() error }, error) { return OpenClient(dir, testID, time.Now) },
				func() (interface{ Close() error }, error) {
					return OpenJournal(filepath.Join(dir, "server.numbers"), time.Now)
				},
			} {
				if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
					t.Fatal(err)
				}
				for _, name := range []string{testID.String() + ".number", "server.numbers"} {
					if err := tt.make(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
						t.Fatal(err)
					}
				}
				f, err := open()
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				if err == nil {
					f.Close()
				}
			}
		})
	}
}

func TestHostErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing", "file")
	if err := (host{}).rename(missing, missing+"2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("rename what is not there: %v", err)
	}
	if err := (host{}).syncDir(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sync a directory that is not there: %v", err)
	}
	if err := (host{}).syncDir(filepath.Dir(missing)); err != nil {
		t.Errorf("sync a directory: %v", err)
	}
}

// TestHostFull lets no file grow: nobody is answered, and then all goes on.
// It does so in a process of its own, since the go command has a file in this one.
func TestHostFull(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		c := exec.Command(os.Args[0], "-test.run", "^TestHostFull$")
		c.Env = append(os.Environ(), childEnv+"=alone")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	dir := t.TempDir()
	c, j := onHost(t, dir)
	defer closed(t, c, j)
	accept(t, j, testID, 1)
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	limit.Cur = 60
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	_, refusal := j.Accept(testID, Call{5, 1})
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if refusal == nil || !strings.Contains(refusal.Error(), "transaction number not stored: write ") {
		t.Errorf("error %v", refusal)
	}
	accept(t, j, testID, 6)
}

// childEnv is what a test tells itself in another process: for TestHostKilled the
// directory.
const childEnv = "VPND_TEST_NUMBERS"

// TestHostKilled kills a client and a server that call and answer as fast as they can,
// again and again. What was answered is not answered again.
func TestHostKilled(t *testing.T) {
	if dir := os.Getenv(childEnv); dir != "" {
		c, j := onHost(t, dir)
		for {
			call := next(t, c)
			if _, err := j.Accept(testID, call); err != nil {
				t.Fatal(err)
			}
			fmt.Println("answered", call.Number)
		}
	}
	dir := t.TempDir()
	rounds, answered := 20, 0
	for round := range rounds {
		numbers := killAfter(t, dir, 1+round*7)
		answered += len(numbers)
		c, j := onHost(t, dir)
		last := uint64(0)
		for _, n := range numbers {
			refused(t, j, testID, n)
			last = max(last, n)
		}
		call := next(t, c)
		if call.Number <= last || call.Before < last {
			t.Fatalf("round %d: call %+v after %d", round, call, last)
		}
		if f, err := j.Accept(testID, call); f != Known || err != nil {
			t.Fatalf("round %d: locked out: %v, %v", round, f, err)
		}
		closed(t, c, j)
	}
	t.Logf("%d kills, %d calls answered", rounds, answered)
}

// killAfter lets a process answer n calls, and kills it. It returns all that it has
// answered.
func killAfter(t *testing.T, dir string, n int) (numbers []uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestHostKilled$")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var number uint64
		if _, err := fmt.Sscanf(lines.Text(), "answered %d", &number); err != nil {
			t.Errorf("the process says %q", lines.Text())
		}
		if numbers = append(numbers, number); len(numbers) == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(numbers) < n {
		t.Fatalf("the process ended by itself after %d calls: %v", len(numbers), err)
	}
	return numbers
}
