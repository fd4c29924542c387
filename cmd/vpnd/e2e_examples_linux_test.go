package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/conf"
	"vpnd/serial/serialtest"
)

// The inner addresses of the examples.
var (
	exampleServer = netip.MustParseAddr("192.168.200.1")
	exampleClient = netip.MustParseAddr("192.168.200.2")
)

var deviceArgument = regexp.MustCompile(`(?m)^(server|client) /\S+`)

// example gives the site a configuration of the examples, with the site's device, and
// the chat scripts beside it as they are.
func (s *site) example(dir, name string) {
	s.t.Helper()
	dir = filepath.Join("../../examples", dir)
	text, err := os.ReadFile(filepath.Join(dir, name))
	must(s.t, err)
	s.write(deviceArgument.ReplaceAllString(string(text), "$1 "+s.device()))
	scripts, err := filepath.Glob(filepath.Join(dir, "*.chat"))
	must(s.t, err)
	for _, path := range scripts {
		script, err := os.ReadFile(path)
		must(s.t, err)
		must(s.t, os.WriteFile(s.file(filepath.Base(path)), script, 0o644))
	}
}

// finds waits for a ping's first reply over a line so slow that each request costs
// something.
func (s *site) finds(to netip.Addr) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if _, err := s.ns.WaitPing(ctx, to, time.Second); err != nil {
		s.t.Fatalf("%s does not reach %v: %v\n%s", s.name, to, err, s.Stderr)
	}
}

func TestExampleCable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cable(serialtest.Wire{Rate: 115200})
	w.server.example("cable", "server.conf")
	w.client.example("cable", "client.conf")
	w.up()
	w.client.finds(exampleServer)
	w.server.finds(exampleClient)
	w.client.stop()
	w.server.stop()
}

func TestExampleStrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.strongKeys(nil)
	w.server.example("strong", "server.conf")
	w.client.example("strong", "client.conf")
	w.up()
	w.client.finds(exampleServer)
	w.client.stop()
	w.server.stop()
}

// TestExampleHub has the two clients of the example, with keys, and does to a third one
// what the README says.
func TestExampleHub(t *testing.T) {
	t.Parallel()
	w := newPeersWorld(t)
	w.server.example("hub", "server.conf")
	for name, s := range map[string]*site{"office": w.client, "laptop": w.other} {
		key := w.enrol(s)
		must(t, os.Remove(w.peer(s.name)))
		s.also("cipher aes-256-gcm")
		text := string(read(t, filepath.Join("../../examples/hub/peers", name+conf.PeerSuffix)))
		text = regexp.MustCompile(`(?m)^publickey .*`).ReplaceAllString(text, "publickey "+key.Identity().String())
		text = regexp.MustCompile(`(?m)^secret .*`).ReplaceAllString(text, "secret "+key.Secret().Text())
		must(t, os.WriteFile(w.peer(name), []byte(text), 0o600))
	}
	w.server.start()
	arrive := func(s *site, want string) {
		s.start()
		s.until("up with its address", func(r report) bool { return isUp(r) && slices.Equal(r.Local, []string{want}) })
		s.reaches(hubInner)
	}
	arrive(w.client, "10.99.0.2")
	arrive(w.other, "10.99.0.3")
	readme := string(read(t, "../../examples/hub/README"))
	commands := regexp.MustCompile(`(?m)^    vpnd (invite|revoke) laptop .*$`).FindAllString(readme, -1)
	if len(commands) != 2 {
		t.Fatalf("commands are %q", commands)
	}
	run := func(command string) {
		args := strings.Fields(strings.NewReplacer("laptop", "third", "/etc/vpnd/server.conf", w.server.config(), "vpn.example.org", w.outer(w.third)).Replace(command))
		if e := w.server.run(args[1:]...); e.code != exit.OK {
			t.Fatalf("%s: exit code %d\n%s", command, e.code, e.stderr)
		}
	}
	run(commands[0])
	w.third.write(string(read(t, w.server.file("third.conf"))))
	must(t, os.Chmod(w.third.config(), 0o600))
	arrive(w.third, "10.99.0.4")
	w.leaves(w.third, func() { run(commands[1]) })
	for _, s := range []*site{w.client, w.other, w.third, w.server} {
		s.stop()
	}
}

// TestExampleDialup has the two ends call each other by telephone.
func TestExampleDialup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	x := &serialtest.Exchange{
		Wire: serialtest.Wire{Rate: 33600, Latency: 50 * time.Millisecond, Modem: 1000},
		Ring: time.Second, Training: 100 * time.Millisecond,
	}
	w.server.modem(x, "5551234")
	w.client.modem(x, "5554321")
	w.server.example("dialup", "server.conf")
	w.client.example("dialup", "client.conf")
	w.server.start()
	w.client.start()
	w.client.says("interface is up")
	w.client.finds(exampleServer) // which dials
	w.server.finds(exampleClient)
	w.client.says(`report="CONNECT 33600"`)
	w.client.stop()
	w.server.stop()
}

// TestExampleLTE gives the script a module that connects it with the other end.
func TestExampleLTE(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line := serialtest.New(serialtest.Wire{Rate: 115200, Latency: 50 * time.Millisecond}, 1)
	t.Cleanup(line.Close)
	module := newLTEModule(line.A)
	client := &tty{t: t, name: w.client.device(), end: line.B}
	server := &tty{t: t, name: w.server.device(), end: module.line.B}
	for _, d := range []*tty{client, server} {
		d.plug()
		t.Cleanup(func() { d.pull() })
	}
	t.Cleanup(module.close)
	w.client.example("dialup", "lte.conf")
	w.server.write("mode server", "server "+w.server.device(), "localline", fmt.Sprintf("local %v\nremote %v", exampleServer, exampleClient))
	w.server.start()
	w.client.start()
	w.client.finds(exampleServer)
	w.client.stop()
	w.server.stop()
}

// lteModule obeys the commands of the script, then joins the host with a line that
// stands for the connection to the other end.
type lteModule struct {
	host *serialtest.End
	line *serialtest.Line
	done chan struct{}
}

func newLTEModule(host *serialtest.End) *lteModule {
	m := &lteModule{host: host, line: serialtest.New(serialtest.Wire{}, 1), done: make(chan struct{})}
	go func() {
		defer close(m.done)
		m.obey()
	}()
	return m
}

// obey answers one command a line.
func (m *lteModule) obey() {
	in := bufio.NewReader(m.host)
	for {
		command, err := in.ReadString('\r')
		if err != nil {
			return
		}
		switch command = strings.TrimSpace(command); {
		case strings.HasPrefix(command, "AT+QIDEACT"):
			io.WriteString(m.host, "\r\nOK\r\n")
		case command == "AT+CEREG?":
			io.WriteString(m.host, "\r\n+CEREG: 0,1\r\n\r\nOK\r\n")
		case strings.HasPrefix(command, `AT+QIOPEN=1,0,"TCP","192.0.2.1",24742,0,2`):
			io.WriteString(m.host, "\r\nCONNECT\r\n")
			go io.Copy(m.host, m.line.A)
			io.Copy(m.line.A, in)
			return
		case strings.HasPrefix(command, "AT"):
			io.WriteString(m.host, "\r\nOK\r\n")
		}
	}
}

func (m *lteModule) close() {
	m.line.Close()
	m.host.Close()
	<-m.done
}
