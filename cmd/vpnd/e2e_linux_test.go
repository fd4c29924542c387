package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
)

// The end-to-end tests start the real binary in namespaces of their own, two
// hosts with a router between them:
//
//	server 192.0.2.1 --- router --- 198.51.100.1 client

var (
	serverOuter = netip.MustParseAddr("192.0.2.1")
	clientOuter = netip.MustParseAddr("198.51.100.1")
	serverInner = netip.MustParseAddr("10.77.0.1")
	clientInner = netip.MustParseAddr("10.77.0.2")
	serverIPv6  = netip.MustParseAddr("fd00:77::1")
	clientIPv6  = netip.MustParseAddr("fd00:77::2")
)

// binary is the program under test.
var binary string

func TestMain(m *testing.M) {
	if text := os.Getenv(stageEnv); text != "" {
		fmt.Fprintln(os.Stderr, "stage:", enterStage(text))
		os.Exit(125)
	}
	if text := os.Getenv(assaultEnv); text != "" {
		if err := runAssault(text); err != nil {
			fmt.Fprintln(os.Stderr, "assault:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "vpnd-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // ordinary users run it too
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binary = filepath.Join(dir, "vpnd")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build vpnd: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// world is two hosts that do not have a link yet.
type world struct {
	*lab.Lab
	server, client *site
	path           *lab.Path
}

// site is one of the hosts, with the files of its vpnd.
type site struct {
	t    *testing.T
	name string
	dir  string
	ns   *lab.Namespace
	// other is the other end.
	other *site
	*lab.Process
}

// newWorld builds the hosts and a key that both have.
func newWorld(t *testing.T) *world {
	t.Helper()
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{Lab: l}
	w.server, w.client = newSite(t, l, "server"), newSite(t, l, "client")
	w.server.other, w.client.other = w.client, w.server
	w.path, err = l.Path(w.server.ns, w.client.ns, lab.Prefixes("192.0.2.1/24", "2001:db8:1::1/64"), lab.Prefixes("198.51.100.1/24", "2001:db8:2::1/64"))
	must(t, err)
	must(t, exec.Command(binary, "-m", w.server.file("vpnd.key")).Run())
	key, err := os.ReadFile(w.server.file("vpnd.key"))
	must(t, err)
	must(t, os.WriteFile(w.client.file("vpnd.key"), key, 0o600))
	return w
}

func newSite(t *testing.T, l *lab.Lab, name string) *site {
	t.Helper()
	ns, err := l.Namespace(name)
	must(t, err)
	s := &site{t: t, name: name, dir: filepath.Join(l.Dir(), name), ns: ns}
	must(t, os.Mkdir(s.dir, 0o755))
	return s
}

func (s *site) file(name string) string { return filepath.Join(s.dir, name) }

// config returns the path of the site's configuration.
func (s *site) config() string { return s.file(s.name + ".conf") }

// write makes the configuration: the lines, and the places for state and
// control socket, which tests must not share.
func (s *site) write(lines ...string) {
	s.t.Helper()
	lines = append(lines, "statedir "+s.file("state"), "control "+s.file("control.sock"))
	must(s.t, os.WriteFile(s.config(), []byte(strings.Join(lines, "\n")+"\n"), 0o644))
}

// configure writes the two halves of a link over IPv4 and IPv6, and what the
// test adds to both.
func (w *world) configure(both ...string) {
	w.server.t.Helper()
	w.server.write(append(both, "mode server", "server 24741",
		fmt.Sprintf("local %v\nremote %v", serverInner, clientInner), fmt.Sprintf("local %v\nremote %v", serverIPv6, clientIPv6))...)
	w.client.write(append(both, "mode client", fmt.Sprintf("server %v 24741", serverOuter),
		fmt.Sprintf("local %v\nremote %v", clientInner, serverInner), fmt.Sprintf("local %v\nremote %v", clientIPv6, serverIPv6))...)
}

// command is a vpnd that runs in the site's namespace when started there.
func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Dir = s.dir
	return cmd
}

// start starts vpnd in the foreground. Its log is shown when the test fails.
func (s *site) start() {
	s.t.Helper()
	p, err := s.ns.Start(s.command("-n", "-f", s.config()))
	must(s.t, err)
	s.Process = p
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", s.name, p.Stderr)
		}
	})
}

// end is what a command printed and returned.
type ended struct {
	code           int
	stdout, stderr string
}

// run runs vpnd with arguments in the site's namespace to its end.
func (s *site) run(args ...string) ended {
	s.t.Helper()
	return s.finish(s.command(args...))
}

// finish runs a command in the site's namespace to its end.
func (s *site) finish(cmd *exec.Cmd) ended {
	s.t.Helper()
	p, err := s.ns.Start(cmd)
	must(s.t, err)
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	code, err := p.Wait(ctx)
	must(s.t, err)
	return ended{code, p.Stdout.String(), p.Stderr.String()}
}

// stop ends vpnd with TERM and checks that it ends well.
func (s *site) stop() {
	s.t.Helper()
	must(s.t, s.Signal(syscall.SIGTERM))
	s.exits(exit.OK)
}

// kill ends vpnd with KILL.
func (s *site) kill() {
	s.t.Helper()
	must(s.t, s.Signal(syscall.SIGKILL))
	s.exits(128 + int(syscall.SIGKILL))
}

func (s *site) exits(want int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	code, err := s.Wait(ctx)
	must(s.t, err)
	if code != want {
		s.t.Fatalf("%s: exit code %d, want %d\n%s", s.name, code, want, s.Stderr)
	}
}

// status asks the daemon for its state, over the socket itself: a program for
// each look would keep the machine busy.
func (s *site) status() (r report, ok bool) {
	s.t.Helper()
	text, err := ask(s.file("control.sock"))
	if err != nil || len(text) == 0 {
		return r, false
	}
	must(s.t, json.Unmarshal(text, &r))
	return r, true
}

// until waits for a state of the daemon.
func (s *site) until(what string, cond func(report) bool) report {
	s.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if r, ok := s.status(); ok && cond(r) {
			return r
		}
	}
	r, _ := s.status()
	s.t.Fatalf("%s: not %s after %v: %+v", s.name, what, patience, r)
	return r
}

// tells returns the state of a daemon that runs. One look is not enough: it may be too busy
// to answer in time.
func (s *site) tells() report {
	s.t.Helper()
	return s.until("telling its state", func(report) bool { return true })
}

func isUp(r report) bool { return r.State == "up" }

// says waits until the daemon's log matches a regular expression.
func (s *site) says(pattern string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if _, err := s.Stderr.WaitFor(ctx, pattern); err != nil {
		s.t.Fatalf("%s does not say %q: %v\n%s", s.name, pattern, err, s.Stderr)
	}
}

// up starts both ends and waits for the link.
func (w *world) up() {
	w.server.t.Helper()
	w.server.start()
	w.client.start()
	w.server.until("up", isUp)
	w.client.until("up", isUp)
}

// reaches waits for a ping's first reply and returns the time it took.
func (s *site) reaches(to netip.Addr) time.Duration {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	took, err := s.ns.WaitPing(ctx, to, 2*time.Millisecond)
	if err != nil {
		s.t.Fatalf("%s does not reach %v: %v", s.name, to, err)
	}
	return took
}

// dump returns what the host has: links, addresses, routes.
func (s *site) dump() string {
	s.t.Helper()
	text, err := s.ns.Dump()
	must(s.t, err)
	return text
}

// conserved checks that every packet of a quiet daemon is accounted for.
func (s *site) conserved() report {
	s.t.Helper()
	balance := func(r report) (out, in int64) {
		out = int64(r.Inside.PacketsIn) - int64(r.Wire.PacketsOut) - int64(r.Waiting)
		for _, n := range r.DropsOut {
			out -= int64(n)
		}
		in = int64(r.Wire.PacketsIn) - int64(r.Inside.PacketsOut)
		for _, n := range r.DropsIn {
			in -= int64(n)
		}
		return out, in
	}
	// A packet that is just on its way is in no counter: wait until it is.
	return s.until("conserving packets", func(r report) bool {
		out, in := balance(r)
		return out == 0 && in == 0
	})
}

func TestEndToEndPing(t *testing.T) {
	w := newWorld(t)
	w.configure()
	before := w.server.dump() + w.client.dump()
	w.up()
	for _, p := range []struct {
		from *site
		to   netip.Addr
	}{
		{w.client, serverInner}, {w.server, clientInner}, {w.client, serverIPv6}, {w.server, clientIPv6},
	} {
		t.Logf("%s to %v: %v", p.from.name, p.to, p.from.reaches(p.to))
	}
	w.client.conserved()
	w.server.conserved()
	w.client.stop()
	w.server.stop()
	if after := w.server.dump() + w.client.dump(); after != before {
		t.Errorf("left behind:\nbefore\n%s\nafter\n%s", before, after)
	}
	for _, s := range []*site{w.server, w.client} {
		left, err := filepath.Glob(s.file("*"))
		must(t, err)
		if n := len(left); n > 3 { // configuration, key, empty state directory
			t.Errorf("%s: files left: %v", s.name, left)
		}
	}
}

// TestEndToEndData moves a gigabyte each way at once, and datagrams of every
// size.
func TestEndToEndData(t *testing.T) {
	w := newWorld(t)
	w.configure()
	w.up()
	for dst, volume := range map[netip.Addr]int64{serverInner: 1e9, serverIPv6: 1e8} {
		ends := lab.Ends{Client: w.client.ns, Server: w.server.ns, Dst: dst}
		moved, err := ends.Transfer(t.Context(), lab.Load{Up: volume, Down: volume, Streams: 2})
		must(t, err)
		t.Logf("%v: up %.0f MB/s, down %.0f MB/s", dst, moved.Up.Rate()/1e6, moved.Down.Rate()/1e6)
		headers := 28
		if dst.Is6() {
			headers = 48
		}
		d, err := ends.Datagrams(t.Context(), 0, 1500-headers)
		must(t, err)
		t.Logf("%v: %d sizes of datagrams, %d retries", dst, d.Echoed, d.Retries)
	}
	w.client.conserved()
	w.server.conserved()
	// One that a kernel sends between two looks is in one of them.
	w.server.until("at one with the client about the packets on the wire", func(s report) bool {
		c := w.client.tells()
		return c.Wire.PacketsOut == s.Wire.PacketsIn && s.Wire.PacketsOut == c.Wire.PacketsIn
	})
	if bytes.Contains([]byte(w.client.Stderr.String()), []byte("ERROR")) {
		t.Error("errors in the log")
	}
}
