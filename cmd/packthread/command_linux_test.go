package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/meshlab"
	"vpnd/crypto"
	"vpnd/tunnel"
)

// call runs packthread outside of all namespaces, which it never gets far enough to need.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), filepath.Join(programs, "packthread"), args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

const serverKey = "public:aFq9emm2wUTNZdR/MdsKJvwUNkRwEeg6/Iuzg6xchDw="

func writeSettings(t *testing.T, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "packthread.conf")
	text := "server_addr = '192.0.2.1'\npassword = 'correct horse battery'\nserver_key = '" + serverKey + "'\nstate_path = state\n" + more
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestCommand(t *testing.T) {
	t.Parallel()
	conf, wrong := writeSettings(t, ""), writeSettings(t, "port = 99999\nxyzzy = 1\n")
	taken := writeSettings(t, fmt.Sprintf("port = %d\n", tunnel.InnerCallPort))
	for _, test := range []struct {
		name   string
		args   []string
		code   int
		stderr string
	}{
		{"no name", []string{"-f", conf}, exit.Usage, "the name of the network is missing"},
		{"two names", []string{"-f", conf, "a", "b"}, exit.Usage, `unexpected argument "b"`},
		{"a path for a name", []string{"-f", conf, "../a"}, exit.Usage, "is no name of a network"},
		{"two commands", []string{"-m", "--status", "a"}, exit.Usage, "exclude each other"},
		{"json alone", []string{"--json", "a"}, exit.Usage, "--json goes with --status"},
		{"unknown flag", []string{"--xyzzy", "a"}, exit.Usage, "usage: packthread"},
		{"no settings", []string{"-f", conf + ".not", "a"}, exit.Config, "no such file"},
		{"mistakes", []string{"-f", wrong, "a"}, exit.Config, wrong + ":5: port"},
		{"port of the calls through others", []string{"-f", taken, "a"}, exit.Config, taken + ":5: port 2003 is where calls through a third gateway come from"},
		{"no key", []string{"-f", conf, "a"}, exit.Config, "make it with -m"},
		{"nobody runs", []string{"--status", "-f", conf, "a"}, exit.Unknown, "is it running?"},
	} {
		if code, stdout, stderr := call(t, test.args...); code != test.code || !strings.Contains(stderr, test.stderr) || stdout != "" {
			t.Errorf("%s: code %d, stdout %q, stderr %q", test.name, code, stdout, stderr)
		}
	}
	if code, stdout, _ := call(t, "--version"); code != 0 || !strings.HasPrefix(stdout, "packthread ") {
		t.Errorf("version: code %d, %s", code, stdout)
	}
	if code, stdout, _ := call(t, "-h"); code != 0 || !strings.Contains(stdout, "--status") {
		t.Errorf("help: code %d, %s", code, stdout)
	}
}

func TestMakeKey(t *testing.T) {
	t.Parallel()
	conf := writeSettings(t, "")
	code, first, stderr := call(t, "-m", "-f", conf, "lahm")
	_, key, _ := strings.Cut(first, "\nlahm\n    subnet=ADDRESS/BITS\n    key=")
	if _, err := crypto.ParsePublicKey(strings.TrimSpace(key)); err != nil || code != 0 || stderr != "" {
		t.Errorf("code %d, stdout %q, stderr %q, %v", code, first, stderr, err)
	}
	if code, again, stderr := call(t, "-m", "-f", conf, "lahm"); code != 0 || again != first || !strings.Contains(stderr, "left as it is") {
		t.Errorf("again: code %d, stdout %q, stderr %q", code, again, stderr)
	}
}

// TestDetach starts packthread as ip-up.d does.
func TestDetach(t *testing.T) {
	w := newWorld(t, meshlab.Config{Sites: 2, Bare: true})
	must(t, w.StartNexus(w.ctx))
	one, two := w.Sites[0], w.Sites[1]
	starts := make(chan error)
	for range 4 { // nobody runs yet
		go func() { starts <- one.Again(w.ctx) }()
	}
	for range 4 {
		must(t, <-starts)
	}
	must(t, two.Start())
	w.paths("start", startLimit)
	r, code := w.status(one)
	if code != exit.OK || r.Interface != "vpn0" || r.Inner != one.Addr() || len(r.Conflicts) > 0 {
		t.Errorf("code %d, status %+v", code, r)
	}
	must(t, one.Again(w.ctx))
	if again, _ := w.status(one); again.PID != r.PID {
		t.Errorf("process %d, before it was %d", again.PID, r.PID)
	}
	text, err := one.Command("--status", one.Name).Output()
	if err != nil || !strings.Contains(string(text), "net2       up ") || !strings.Contains(string(text), "10.77.2.1/32") {
		t.Errorf("status %s, %v", text, err)
	}
	crash := one.Path(one.Name + ".state/" + one.Name + ".crash")
	if info, err := os.Stat(crash); err != nil || info.Size() > 0 {
		t.Errorf("no place for the reason of a crash: %v", err)
	}
	must(t, syscall.Kill(r.PID, syscall.SIGTERM))
	w.until(two, "alone", func(r report) bool { p := r.peer(one.Name); return !p.Live && p.State == "down" && len(p.Routes) == 0 })
	w.until(one, "gone", func(report) bool { // the other one knows a little earlier
		pids, err := one.Gateway.PIDs()
		must(t, err)
		return len(pids) == 0
	})
	if text, err := one.Gateway.Dump(); err != nil || strings.Contains(text, "vpn0") {
		t.Errorf("left on the host: %s, %v", text, err)
	}
	if _, err := os.Stat(crash); !os.IsNotExist(err) {
		t.Errorf("left without a crash: %v", err)
	}
}
