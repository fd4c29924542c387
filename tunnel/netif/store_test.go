package netif

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// holdVar names a state directory to a child process that shall hold the
// instance x in it until its standard input ends.
const holdVar = "VPND_TEST_HOLD"

func TestMain(m *testing.M) {
	dir := os.Getenv(holdVar)
	if dir == "" {
		os.Exit(m.Run())
	}
	if _, err := openStore(dir, "x"); err != nil {
		panic(err)
	}
	os.Stdout.WriteString("held\n")
	io.Copy(io.Discard, os.Stdin)
}

// hold starts a process that holds the instance x.
func hold(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), holdVar+"="+dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 5)
	if _, err := io.ReadFull(out, line); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestDyingHolder takes a lock that is given back while it is waited for: a process
// that was killed, or its child that has not yet become another program, still has
// it for a moment.
func TestDyingHolder(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		want  error
	}{
		{"in time", lockWait - 2*lockPoll, nil},
		{"too late", lockWait + 2*lockPoll, ErrRunning},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				first, err := openStore(dir, "x")
				if err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(tt.after, func() { first.lock.Close() }) // the file stays, as after kill -9
				began := time.Now()
				second, err := openStore(dir, "x")
				if !errors.Is(err, tt.want) || time.Since(began) < min(tt.after, lockWait) {
					t.Errorf("after %v: %v, want %v", time.Since(began), err, tt.want)
				}
				if second != nil {
					second.close()
				}
				time.Sleep(tt.after)
			})
		})
	}
}

func TestRunning(t *testing.T) {
	dir := t.TempDir()
	child := hold(t, dir)
	_, err := openStore(dir, "x")
	if !errors.Is(err, ErrRunning) {
		t.Fatalf("second holder: %v", err)
	}
	if want := "instance x: already running, pid " + strconv.Itoa(child.Process.Pid); err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if s, err := openStore(dir, "y"); err != nil {
		t.Errorf("another instance: %v", err)
	} else {
		check(t, s.close())
	}
	check(t, child.Process.Kill())
	child.Wait()
	s, err := openStore(dir, "x")
	if err != nil || s.err != nil {
		t.Fatal(err, s.err)
	}
	check(t, s.close())
	wantFiles(t, dir)
}

// TestLockVanishes lets the holder go between our open and our lock: then we
// hold a file without a name, which keeps nobody out.
func TestLockVanishes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	f, err := os.Create(path)
	check(t, err)
	defer f.Close()
	if !sameFile(f, path) {
		t.Error("the lock is not taken for ours")
	}
	check(t, os.Remove(path))
	if sameFile(f, path) {
		t.Error("a removed lock is taken for ours")
	}
	check(t, os.WriteFile(path, nil, 0o600))
	if sameFile(f, path) {
		t.Error("another's lock is taken for ours")
	}
}

func TestInstanceName(t *testing.T) {
	for _, name := range []string{"", "a/b", "/a", "a/"} {
		if _, err := openStore(t.TempDir(), name); err == nil {
			t.Errorf("instance %q accepted", name)
		}
	}
}

// sample is a record with all that a record can hold.
func sample() record {
	h := *foreign([]section{{"host", `link eth0 1500 up
link vpn0 1500 up
addr vpn0 10.0.0.1/32 peer 10.0.0.2
addr vpn0 fd00::1/128
route 10.1.0.0/16 dev vpn0 via 10.0.0.2 src 10.0.0.1 metric 5 proto 118
route 198.51.100.7/32 dev eth0 via 192.0.2.1 proto 119
route ::/0 dev vpn0 metric 1024 proto 118
`}})
	return record{
		Version: recordVersion,
		Place:   "1",
		Device:  device{"vpn0", 2, 1400, true, h.addrs[1:]},
		Addrs:   h.addrs,
		Routes:  h.routes,
	}
}

func TestRecordGolden(t *testing.T) {
	text, err := sample().encode()
	check(t, err)
	const file = "testdata/x.state"
	if *update {
		check(t, os.WriteFile(file, text, 0o666))
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Error(diff)
	}
	r, err := decode(text)
	check(t, err)
	again, _ := r.encode()
	if !bytes.Equal(text, again) {
		t.Errorf("read back: %s", again)
	}
}

func TestRecordEmpty(t *testing.T) {
	if sample().empty() || !(record{Place: "1", Device: device{Name: "vpn0", Index: 2}}).empty() {
		t.Error("empty is wrong")
	}
	for name, r := range map[string]record{
		"mtu":    {Device: device{OldMTU: 1}},
		"down":   {Device: device{WasDown: true}},
		"lost":   {Device: device{Lost: make([]hostAddr, 1)}},
		"addrs":  {Addrs: make([]hostAddr, 1)},
		"routes": {Routes: make([]hostRoute, 1)},
	} {
		if r.empty() {
			t.Errorf("a record with %s counts as empty", name)
		}
	}
}

// damaged holds state files that must not be believed.
var damaged = []struct{ name, text, err string }{
	{"empty", ``, "unexpected end"},
	{"cut", `{"version": 1, "place`, "unexpected end"},
	{"no version", `{}`, "version 0"},
	{"newer", `{"version": 2}`, "version 2, this program knows 1"},
	{"type", `{"version": 1, "place": 7}`, "cannot unmarshal"},
	{"unknown field", `{"version": 1, "tables": []}`, "unknown field"},
	{"more text", `{"version": 1} {"version": 1}`, "after top-level value"},
	{"device", `{"version": 1, "device": {"index": -1}}`, "device -1"},
	{"mtu", `{"version": 1, "device": {"old_mtu": -1}}`, "MTU -1"},
	{"address", `{"version": 1, "addrs": [{"dev": 2, "local": ""}]}`, "address"},
	{"address on nothing", `{"version": 1, "addrs": [{"local": "10.0.0.1/32"}]}`, "interface 0"},
	{"lost address", `{"version": 1, "device": {"lost": [{"local": "10.0.0.1/32"}]}}`, "interface 0"},
	{"no destination", `{"version": 1, "routes": [{"dev": 2, "dest": "", "proto": 118}]}`, "route"},
	{"host bits", `{"version": 1, "routes": [{"dev": 2, "dest": "10.0.0.1/8", "proto": 118}]}`, "10.0.0.1/8"},
	{"route on nothing", `{"version": 1, "routes": [{"dest": "10.0.0.0/8", "proto": 118}]}`, "interface 0"},
	{"metric", `{"version": 1, "routes": [{"dev": 2, "dest": "10.0.0.0/8", "metric": -1, "proto": 118}]}`, "metric -1"},
	{"not our route", `{"version": 1, "routes": [{"dev": 2, "dest": "10.0.0.0/8", "proto": 4}]}`, "protocol 4"},
}

func TestDamaged(t *testing.T) {
	for _, d := range damaged {
		t.Run(d.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "x.state")
			check(t, os.WriteFile(file, []byte(d.text), 0o600))
			log, set := openLogged(t, dir, new(fakeKernel))
			for _, want := range []string{"level=WARN", file, d.err, file + ".damaged"} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("log does not mention %q:\n%s", want, log)
				}
			}
			check(t, set.Close())
			wantFiles(t, dir, "x.state.damaged")
		})
	}
}

func TestTooLarge(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.state")
	check(t, os.WriteFile(file, nil, 0o600))
	check(t, os.Truncate(file, maxState))
	if _, err := readFile(file); err != nil {
		t.Error(err)
	}
	check(t, os.Truncate(file, maxState+1))
	if _, err := readFile(file); err == nil {
		t.Error("read a file that is too large")
	}
}

// TestUnusableDirectory: the instance runs as long as it need not install
// anything.
func TestUnusableDirectory(t *testing.T) {
	for name, dir := range map[string]string{
		"no parent":       filepath.Join(t.TempDir(), "no", "state"),
		"not a directory": os.Args[0],
	} {
		t.Run(name, func(t *testing.T) {
			k := preparedKernel()
			before := k.host.String()
			log, set := openLogged(t, dir, k)
			if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), dir) {
				t.Errorf("no warning that names the directory:\n%s", log)
			}
			state := parseState("addr 10.0.0.1 10.0.0.2\n")
			check(t, set.Apply("vpn0", state))
			state.MTU = 1400
			if err := set.Apply("vpn0", state); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("installed what cannot be recorded: %v", err)
			}
			if diff := cmp.Diff(before, k.host.String()); diff != "" {
				t.Error(diff)
			}
			check(t, set.Close())
		})
	}
}

// TestDiskFull puts something in the way of the file that is written first.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	k := preparedKernel()
	log, set := openLogged(t, dir, k)
	state := parseState("addr 10.0.0.1 10.0.0.2\nroute 10.1.0.0/16\nroute 10.2.0.0/16\n")
	check(t, set.Apply("vpn0", state))
	before := k.host.String()

	full := filepath.Join(dir, "x.state.new")
	check(t, os.MkdirAll(filepath.Join(full, "in"), 0o700))
	state.Routes = append(state.Routes, Route{Dest: single(state.Addrs[0].Remote)})
	if err := set.Apply("vpn0", state); err == nil || !strings.Contains(err.Error(), "cannot be recorded") {
		t.Errorf("installed what cannot be recorded: %v", err)
	}
	if diff := cmp.Diff(before, k.host.String()); diff != "" {
		t.Error(diff)
	}
	state.Routes = state.Routes[:1] // to take away needs no record
	check(t, set.Apply("vpn0", state))
	if len(k.host.routes) != 1 || !strings.Contains(log.String(), "cannot update the state file") {
		t.Errorf("routes %v, log:\n%s", k.host.routes, log)
	}

	check(t, os.RemoveAll(full))
	check(t, set.Close())
	wantFiles(t, dir)
}

// TestNoLinks has links where the store's files belong: somebody else may have put
// them there, and what they lead to is not ours to write.
func TestNoLinks(t *testing.T) {
	for _, name := range []string{"x.lock", "x.state" + newSuffix} {
		dir := t.TempDir()
		victim := filepath.Join(t.TempDir(), "victim")
		check(t, os.WriteFile(victim, []byte("precious"), 0o600))
		check(t, os.Symlink(victim, filepath.Join(dir, name)))
		s, err := openStore(dir, "x")
		if err == nil {
			err = s.save(record{Device: device{Name: "vpn0", WasDown: true}})
			s.close()
		}
		if err == nil {
			t.Errorf("%s: a link is followed", name)
		}
		if text, _ := os.ReadFile(victim); string(text) != "precious" {
			t.Errorf("%s: the link's target became %q", name, text)
		}
	}
}

func TestDirectoryMode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	_, set := openLogged(t, dir, preparedKernel())
	check(t, set.Apply("vpn0", parseState("mtu 1400\n")))
	for path, want := range map[string]os.FileMode{dir: 0o700, dir + "/x.state": 0o600, dir + "/x.lock": 0o600} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: mode %v, error %v", path, fi.Mode(), err)
		}
	}
	check(t, set.Close())
}

// TestKilledWhileWriting leaves the half of a new state file.
func TestKilledWhileWriting(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "x.state.new"), []byte(`{"ver`), 0o600))
	_, set := openLogged(t, dir, new(fakeKernel))
	check(t, set.Close())
	wantFiles(t, dir)
}

func FuzzRecord(f *testing.F) {
	text, err := sample().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, d := range damaged {
		f.Add([]byte(d.text))
	}
	h := *foreign([]section{{"host", "link vpn0 1500 up\naddr vpn0 10.0.0.1/32\nroute 10.1.0.0/16 dev vpn0\n"}})
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := decode(text)
		if err != nil {
			return
		}
		for _, s := range planUndo(h, r) {
			if s.op == opDelRoute {
				t.Errorf("%s: takes away a route that is not ours", s)
			}
		}
		once, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if r, err = decode(once); err != nil {
			t.Fatalf("%v in our own text:\n%s", err, once)
		}
		if twice, _ := r.encode(); !bytes.Equal(once, twice) {
			t.Errorf("written again:\n%s\nbefore:\n%s", twice, once)
		}
	})
}

func preparedKernel() *fakeKernel {
	h := foreign([]section{{"host", "link vpn0 1500 up\naddr vpn0 10.0.0.1/32 peer 10.0.0.2\n"}})
	return &fakeKernel{*h}
}

// openLogged opens the instance x as Open does.
func openLogged(t *testing.T, dir string, k kernel) (*bytes.Buffer, *Set) {
	t.Helper()
	var log bytes.Buffer
	s, err := newSet(k, dir, "x", slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	check(t, err)
	s.sweep()
	return &log, s
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	var got []string
	files, err := os.ReadDir(dir)
	check(t, err)
	for _, f := range files {
		got = append(got, f.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files left:\n%s", diff)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
