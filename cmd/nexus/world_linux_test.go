package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vpnd/cmd/internal/meshlab"
	"vpnd/cmd/internal/registry"
	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
)

// patience bounds every wait: far more than is needed on a slow machine.
const patience = 60 * time.Second

const testPassword = "correct horse battery"

// binary is the program under test.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "nexus-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "nexus")
	if err := meshlab.Build(dir, "."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is the files of a nexus, and its gateways.
type world struct {
	t    testing.TB
	dir  string
	conf string
	own  crypto.PublicKey
	keys map[string]*crypto.Identity
	url  string
	logs *output
}

// output is what a program prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// newWorld writes settings and a network file with networks of these names, and makes
// the key with nexus -m.
func newWorld(t testing.TB, names ...string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), keys: map[string]*crypto.Identity{}, logs: &output{}}
	w.conf = w.file("nexus.conf")
	w.configure()
	var text strings.Builder
	for i, name := range names {
		own, err := crypto.NewIdentity(rand.Reader)
		must(t, err)
		w.keys[name] = own
		fmt.Fprintf(&text, "%s\n    subnet=10.%d.%d.0/24\n    key=%v\n", name, i>>8, i&255, own)
	}
	w.write("networks", text.String())
	out := w.run("-m", "-f", w.conf)
	line := strings.TrimSpace(out.stdout)
	if out.code != 0 || !strings.HasSuffix(line, `"`) {
		t.Fatalf("nexus -m: %+v", out)
	}
	key := line[strings.Index(line, `"`)+1 : len(line)-1]
	var err error
	w.own, err = crypto.ParsePublicKey(key)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() && w.logs.String() != "" {
			t.Logf("the log:\n%s", w.logs)
		}
	})
	return w
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string) {
	w.t.Helper()
	must(w.t, os.WriteFile(w.file(name), []byte(text), 0o600))
}

// configure writes the settings, with lines added.
func (w *world) configure(lines ...string) {
	w.t.Helper()
	w.write("nexus.conf", "password = '"+testPassword+"'\nconfig_path = networks\ngw_addrs_path = state\n"+strings.Join(lines, "\n")+"\n")
}

// ended is what a command printed and returned.
type ended struct {
	code           int
	stdout, stderr string
}

func (w *world) run(args ...string) ended {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, binary, args...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		w.t.Fatal(err)
	}
	return ended{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ports counts those that freePort gave.
var ports atomic.Int32

// freePort returns a port that nobody has on any address, and that nobody gets who does
// not ask for it: what the host gives begins at 32768.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 10000 + (os.Getpid()*64+int(ports.Add(1)))%20000
		if l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
			must(t, l.Close())
			return port
		}
	}
	t.Fatal("no free port")
	panic("not reached")
}

// start starts a program whose output becomes the log, and ends it with the test.
func (w *world) start(c *exec.Cmd) *exec.Cmd {
	w.t.Helper()
	c.Stdout, c.Stderr = w.logs, w.logs
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.WaitDelay = time.Second
	started, done := make(chan error), w.t.Context().Done()
	go func() {
		// Pdeathsig fires when the thread that forked ends, and a test may end threads.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- c.Start()
		<-done
	}()
	must(w.t, <-started)
	w.t.Cleanup(func() {
		if c.ProcessState == nil {
			syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			c.Wait()
		}
	})
	return c
}

func (w *world) command(args ...string) *exec.Cmd { return exec.Command(binary, args...) }

// serve starts nexus without a web server.
func (w *world) serve(lines ...string) *exec.Cmd {
	w.t.Helper()
	port := freePort(w.t)
	w.configure(append(lines, fmt.Sprintf("port = %d", port))...)
	scheme := "http"
	if len(lines) > 0 {
		scheme = "https"
	}
	w.url = fmt.Sprintf("%s://127.0.0.1:%d/", scheme, port)
	c := w.start(w.command("-f", w.conf))
	w.await(port)
	return c
}

// await waits until somebody listens.
func (w *world) await(port int) {
	w.t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(limit) {
			w.t.Fatalf("nobody listens: %v\n%s", err, w.logs)
		}
	}
}

// lighttpd starts a web server with nexus as a CGI program, as the example has it.
func (w *world) lighttpd() *exec.Cmd {
	w.t.Helper()
	port := freePort(w.t)
	server := meshlab.WebServer{Example: "../../examples/dynvpn/lighttpd.conf", Dir: w.dir,
		Nexus: binary, Conf: w.conf, Bind: "127.0.0.1", Port: port}
	cmd, err := server.Command()
	must(w.t, err)
	w.url = fmt.Sprintf("http://127.0.0.1:%d/cgi-bin/nexus.cgi", port)
	c := w.start(cmd)
	w.await(port)
	w.t.Cleanup(func() {
		if text, _ := os.ReadFile(w.file("breakage.log")); w.t.Failed() && len(text) > 0 {
			w.t.Logf("the web server's log:\n%s", text)
		}
	})
	return c
}

// host returns the address and port of the server.
func (w *world) host() string {
	w.t.Helper()
	u, err := url.Parse(w.url)
	must(w.t, err)
	return u.Host
}

func (w *world) settings() *settings.Packthread {
	return &settings.Packthread{URL: w.url, ServerKey: w.own, Password: testPassword, Port: 2002}
}

func (w *world) clientWith(name string, own *crypto.Identity, s *settings.Packthread) *registry.Client {
	w.t.Helper()
	c, err := registry.NewClient(name, own, s)
	must(w.t, err)
	return c
}

func (w *world) client(name string) *registry.Client {
	w.t.Helper()
	return w.clientWith(name, w.keys[name], w.settings())
}

func (w *world) register(c *registry.Client) *registry.Table {
	w.t.Helper()
	table, err := c.Register(w.t.Context())
	must(w.t, err)
	return table
}

// live returns the names of the gateways that are there.
func live(table *registry.Table) (names []string) {
	for _, g := range table.Gateways {
		if g.State == registry.Live {
			names = append(names, g.Name)
		}
	}
	return names
}

// post sends a body and returns the status and what came back.
func (w *world) post(body []byte) (int, string) {
	w.t.Helper()
	status, text, err := w.send(body)
	must(w.t, err)
	return status, text
}

func (w *world) send(body []byte) (int, string, error) {
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	r, err := client.Post(w.url, "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return r.StatusCode, string(text), err
}
