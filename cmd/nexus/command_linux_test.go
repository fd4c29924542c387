package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/registry"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "lahm", "berlin")
	ok := w.run("--check", "-f", w.conf)
	if want := fmt.Sprintf("%s and %s are right: 2 networks, 0 of them disabled, with 2 subnets\nserver_key = %q\n", w.conf, w.file("networks"), w.own); ok != (ended{0, want, ""}) {
		t.Errorf("%+v, want %q", ok, want)
	}
	w.disable("lahm")
	if ok := w.run("--check", "-f", w.conf); ok.code != 0 || !strings.Contains(ok.stdout, "2 networks, 1 of them disabled") {
		t.Errorf("%+v", ok)
	}
	good, err := os.ReadFile(w.file("networks"))
	must(t, err)
	for _, tt := range []struct {
		name string
		make func()
		want []string // lines
	}{
		{"network file", func() { w.write("networks", string(good)+"prag\n subnet=10.0.0.128/25\n") },
			[]string{"DIR/networks:8: prag has no key=", "DIR/networks:9: subnet 10.0.0.128/25 of prag overlaps 10.0.0.0/24 of lahm in line 3"}},
		{"its own key", func() { w.write("networks", string(good)+"prag\n subnet=10.9.0.0/16\n key="+w.own.String()+"\n") },
			[]string{"DIR/networks:8: prag has the key of nexus itself: packthread -m makes that of the gateway"}},
		{"settings", func() { w.configure("password = 'PASSWORD'", "prot = 3") },
			[]string{"DIR/nexus.conf:4: password stands in line 1 already",
				`DIR/nexus.conf:5: there is no setting "prot": there are port, password, config_path, gw_addrs_path, certificate_path, certificate_key_path`}},
		{"certificate, and network file", func() {
			w.configure("certificate_path = a.crt", "certificate_key_path = a.key")
			w.write("networks", " x\n")
		}, []string{"nexus: stat DIR/a.crt: no such file or directory", "DIR/networks:1: a line that is indented belongs to a name, and there is none above it"}},
		{"key, and network file", func() {
			must(t, os.Rename(w.file("state/nexus.key"), w.file("away")))
			w.write("networks", " x\n")
		}, []string{"nexus: key file DIR/state/nexus.key does not exist: make it with -m", "DIR/networks:1: a line that is indented belongs to a name, and there is none above it"}},
		{"state directory", func() { must(t, os.Chmod(w.file("state"), 0o755)) },
			[]string{"nexus: state directory: DIR/state is open to others (mode 0755): chmod 700 DIR/state"}},
		{"no settings", func() { must(t, os.Remove(w.conf)) }, []string{"nexus: settings: open DIR/nexus.conf: no such file or directory"}},
		{"open settings", func() { must(t, os.Chmod(w.conf, 0o644)) },
			[]string{"nexus: settings: DIR/nexus.conf can be read or changed by others (mode 0644), and has a password in it: chmod 640 or 600"}},
	} {
		tt.make()
		want := strings.ReplaceAll(strings.Join(tt.want, "\n")+"\n", "DIR", w.dir)
		if got := w.run("--check", "-f", w.conf); got != (ended{exit.Config, "", want}) {
			t.Errorf("%s: %+v, want\n%s", tt.name, got, want)
		}
		if tt.name != "its own key" && tt.name != "network file" {
			if got := w.run("-f", w.conf); got.code != exit.Config || got.stderr == "" {
				t.Errorf("%s: nexus runs: %+v", tt.name, got)
			}
		}
		os.Remove(w.conf)
		w.configure()
		w.write("networks", string(good))
		os.Rename(w.file("away"), w.file("state/nexus.key"))
		must(t, os.Chmod(w.file("state"), 0o700))
	}
}

func TestMakeKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	again := w.run("-m", "-f", w.conf)
	if again.code != 0 || !strings.Contains(again.stdout, "server_key = \""+w.own.String()+"\"\n") || !strings.Contains(again.stderr, "exists already") {
		t.Errorf("%+v", again)
	}
	for name, mode := range map[string]os.FileMode{"state": 0o700 | os.ModeDir, "state/nexus.key": 0o600} {
		if info, err := os.Stat(w.file(name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	must(t, os.WriteFile(w.file("state/nexus.key"), []byte("x"), 0o600))
	if got := w.run("-m", "-f", w.conf); got.code != exit.Config || got.stdout != "" || !strings.Contains(got.stderr, "line 1 is not") {
		t.Errorf("%+v", got)
	}
	if text, err := os.ReadFile(w.file("state/nexus.key")); err != nil || string(text) != "x" {
		t.Errorf("a file that is no key was changed to %q: %v", text, err)
	}
	w.write("nexus.conf", "password = '"+testPassword+"'\nconfig_path = n\ngw_addrs_path = none/state\n")
	if got := w.run("-m", "-f", w.conf); got.code == 0 || !strings.Contains(got.stderr, "no such file") {
		t.Errorf("%+v", got)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "lahm")
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"-x", exit.Usage, "unknown shorthand flag"}, {"lahm", exit.Usage, `unexpected argument "lahm"`}, {"-m --check", exit.Usage, "exclude each other"},
		{"-h", exit.OK, "usage: nexus [-f FILE]"}, {"--version", exit.OK, "nexus 2.0, linux/"},
	} {
		got := w.run(strings.Fields(tt.args)...)
		if got.code != tt.code || !strings.Contains(got.stdout+got.stderr, tt.want) || (got.stderr == "") != (tt.code == exit.OK) {
			t.Errorf("%s: %+v", tt.args, got)
		}
	}
	taken, err := net.Listen("tcp", ":0")
	must(t, err)
	defer taken.Close()
	w.configure(fmt.Sprintf("port = %d", taken.Addr().(*net.TCPAddr).Port))
	if got := w.run("-f", w.conf); got.code != exit.Unavailable || !strings.Contains(got.stderr, "address already in use") {
		t.Errorf("%+v", got)
	}
}

// TestPortForRoot listens without the right to, in a network where no port below 1024 is
// for all.
func TestPortForRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "lahm")
	w.configure("port = 80")
	done := make(chan ended, 1)
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with what it has lost
		err := errors.Join(unix.Unshare(unix.CLONE_NEWNET), unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_BIND_SERVICE, 0, 0, 0))
		if err != nil {
			t.Error(err)
			return
		}
		done <- w.run("-f", w.conf)
	}()
	if got := <-done; got.code != exit.NoPerm || !strings.Contains(got.stderr, "permission denied: ports below 1024 need root") {
		t.Errorf("%+v", got)
	}
}

// cgi runs nexus as a web server does.
func (w *world) cgi(body []byte, env ...string) ended {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, binary, "--check", "-f", "/nonexistent") // a web server makes arguments of a query
	c.Env = append([]string{"GATEWAY_INTERFACE=CGI/1.1", "SERVER_PROTOCOL=HTTP/1.1", "REQUEST_METHOD=POST", "REQUEST_URI=/nexus.cgi",
		"HTTP_HOST=www.example.org", "REMOTE_ADDR=192.0.2.1", "REMOTE_PORT=4000", "NEXUS_CONF=" + w.conf, fmt.Sprint("CONTENT_LENGTH=", len(body))}, env...)
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(body), &stdout, &stderr
	err := c.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		w.t.Fatal(err)
	}
	return ended{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// TestCGI has what no web server should do.
func TestCGI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "lahm")
	letter := make([]byte, registry.RequestSize)
	for _, tt := range []struct {
		name string
		body []byte
		env  []string
		code int
		want string
	}{
		{"stranger", letter, nil, exit.OK, "Status: 403 Forbidden\r\n"},
		{"body breaks off", letter[:100], []string{fmt.Sprint("CONTENT_LENGTH=", len(letter))}, exit.OK, "Status: 400 Bad Request\r\n"},
		{"body goes on", append(letter, letter...), []string{fmt.Sprint("CONTENT_LENGTH=", len(letter))}, exit.OK, "Status: 403 Forbidden\r\n"},
		{"no length", letter, []string{"CONTENT_LENGTH="}, exit.OK, "Status: 400 Bad Request\r\n"},
		{"length is no number", letter, []string{"CONTENT_LENGTH=x"}, exit.Internal, ""},
		{"negative length", letter, []string{"CONTENT_LENGTH=-1"}, exit.OK, "Status: 411 Length Required\r\n"},
		{"no method", letter, []string{"REQUEST_METHOD="}, exit.Internal, ""},
		{"GET", nil, []string{"REQUEST_METHOD=GET"}, exit.OK, "Status: 405 Method Not Allowed\r\n"},
		{"not set up", letter, []string{"NEXUS_CONF=/nonexistent"}, exit.Config, "Status: 500 Internal Server Error\r\n"},
	} {
		got := w.cgi(tt.body, tt.env...)
		if got.code != tt.code || !strings.HasPrefix(got.stdout, tt.want) || tt.want == "" && got.stdout != "" {
			t.Errorf("%s: %+v", tt.name, got)
		}
		if strings.Contains(got.stdout, w.dir) || strings.Contains(got.stdout, "nonexistent") {
			t.Errorf("%s: the answer tells paths: %s", tt.name, got.stdout)
		}
	}
}

// A gateway is nudged as soon as something changes.
func TestNudged(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, start func(*world)) {
		w := newWorld(t, "lahm", "berlin")
		start(w)
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		must(t, err)
		defer conn.Close()
		s := w.settings()
		s.Port = uint16(conn.LocalAddr().(*net.UDPAddr).Port)
		lahm := w.clientWith("lahm", w.keys["lahm"], s)
		w.register(lahm)
		nudged := func(what string) []byte {
			t.Helper()
			must(t, conn.SetReadDeadline(time.Now().Add(patience)))
			datagram := make([]byte, registry.MaxDatagram)
			n, err := conn.Read(datagram)
			if err != nil || !lahm.Receive(datagram[:n]) {
				t.Errorf("%s: no nudge: %v", what, err)
			}
			w.register(lahm)
			if lahm.Receive(datagram[:n]) {
				t.Errorf("%s: the nudge counts twice", what)
			}
			return datagram[:n]
		}
		berlin := w.client("berlin")
		w.register(berlin)
		nudged("berlin comes")
		must(t, berlin.Leave(t.Context()))
		nudged("berlin leaves")
	})
}

// otherBoot returns a state as it was left by an earlier boot.
func otherBoot(state string) string {
	head, rest, _ := strings.Cut(state, "\n")
	words := strings.Split(head, " ")
	words[2] = "11111111-2222-3333-4444-555555555555"
	state = strings.Join(words, " ") + "\n" + rest[:strings.LastIndex(rest, "sum ")]
	sum := sha256.Sum256([]byte(state))
	return fmt.Sprintf("%ssum %x\n", state, sum[:8])
}

// The state of an earlier boot of the host is taken over, but nothing recorded counts.
func TestReboot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "lahm", "berlin")
	w.serve()
	lahm, berlin := w.client("lahm"), w.client("berlin")
	before := w.register(lahm)
	w.register(berlin)
	path := w.file("state/state")
	for _, tt := range []struct {
		name string
		text func(string) string
		want string
	}{
		{"another boot", otherBoot, "live"},
		{"damaged", func(s string) string { return s[:len(s)-9] + "\n" }, "unheard"},
		{"empty", func(string) string { return "" }, "unheard"},
	} {
		text, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, []byte(tt.text(string(text))), 0o600))
		table := w.register(lahm)
		if got := table.Gateway("berlin").State.String(); got != tt.want || table.Epoch == before.Epoch {
			t.Errorf("%s: berlin is %s, want %s; epoch %v after %v", tt.name, got, tt.want, table.Epoch, before.Epoch)
		}
		w.register(berlin)
		before = table
	}
	must(t, os.RemoveAll(filepath.Join(w.dir, "state")))
	if _, err := lahm.Register(t.Context()); err == nil || errors.Is(err, registry.ErrForged) {
		t.Errorf("without a state directory: %v", err)
	}
}
