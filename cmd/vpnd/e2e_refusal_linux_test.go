package main

import (
	"crypto/rand"
	bytesof "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
	"vpnd/crypto"
)

// also adds lines to the configuration.
func (s *site) also(lines ...string) {
	s.t.Helper()
	must(s.t, appendLine(s.config(), strings.Join(lines, "\n")))
}

// newKey gives the site a key of its own.
func (s *site) newKey() {
	s.t.Helper()
	must(s.t, os.Remove(s.file("vpnd.key")))
	must(s.t, exec.Command(binary, "-m", s.file("vpnd.key")).Run())
}

// carriesNothing checks that the daemon has no link and has let no packet pass.
func (s *site) carriesNothing() {
	s.t.Helper()
	r := s.tells()
	if isUp(r) || r.Link != nil || r.Links != 0 {
		s.t.Errorf("%s has had a link: %+v", s.name, r)
	}
	if r.Inside.PacketsOut != 0 || r.Wire.PacketsIn != 0 || r.Wire.PacketsOut != 0 {
		s.t.Errorf("%s has let packets pass: inside %+v, wire %+v", s.name, r.Inside, r.Wire)
	}
	if r.Reason == "" {
		s.t.Errorf("%s does not say in its status why there is no link", s.name)
	}
}

// TestRefused lets a client call that the server must not serve. Each end names
// the cause in its log as far as it can know it.
func TestRefused(t *testing.T) {
	t.Parallel()
	const noAnswer = `no answer: wrong key, address filter, or not a vpnd`
	for _, tt := range []struct {
		name                   string
		change                 func(w *world)
		serverSays, clientSays string
		counter                string
	}{
		{"wrong key", func(w *world) { w.client.newKey() },
			`wrong key, or not a vpnd`, noAnswer, "door"},
		{"no common cipher", func(w *world) {
			w.server.also("cipher aes-256-gcm")
			w.client.also("cipher chacha20-poly1305 blowfish")
		},
			`no common cipher`, `server refuses: no common cipher`, "terms"},
		{"keysize differs", func(w *world) { w.client.also("keysize 128") },
			`blowfish with another keysize`, `server refuses: .*blowfish with another keysize`, "terms"},
		{"client address", func(w *world) { w.server.also("client 203.0.113.9") },
			`not the configured client address`, noAnswer, "address"},
		{"client port", func(w *world) { w.server.also("client 0.0.0.0 999") },
			`not the configured client address`, noAnswer, "address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure()
			tt.change(w)
			w.server.start()
			w.client.start()
			w.server.says(`level=WARN msg="caller refused" peer=198\.51\.100\.1:\d+ cause=.*` + tt.serverSays)
			w.client.says(`level=WARN msg="no link" cause=.*` + tt.clientSays)
			for _, p := range []struct {
				from *site
				to   netip.Addr
			}{{w.client, serverInner}, {w.server, clientInner}} {
				pings, err := p.from.ns.Ping(t.Context(), p.to, lab.PingOptions{Count: 3, Interval: 10 * time.Millisecond})
				must(t, err)
				if len(pings.RTT) > 0 {
					t.Errorf("%s pings %v through no link", p.from.name, p.to)
				}
			}
			w.client.carriesNothing()
			w.server.carriesNothing()
			r := w.server.tells()
			for name, n := range r.Refused {
				if want := name == tt.counter; (n > 0) != want {
					t.Errorf("refused: %s %d, want only %s", name, n, tt.counter)
				}
			}
			if e := w.client.run("--status", "-f", w.client.config()); e.code != exit.Down || !regexp.MustCompile(tt.clientSays).MatchString(e.stdout) {
				t.Errorf("--status of the client: exit code %d, want %d and the reason:\n%s", e.code, exit.Down, e.stdout)
			}
		})
	}
}

// TestRefusedKeyFile gives one end a key file that it must not use.
func TestRefusedKeyFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	for _, s := range []*site{w.server, w.client} {
		before, key := s.dump(), s.file("vpnd.key")
		for _, tt := range []struct {
			name   string
			change func() error
			says   string
		}{
			{"readable by others", func() error { return os.Chmod(key, 0o640) }, `can be read or changed by others \(mode 0640\): chmod 600`},
			{"no key", func() error { return errors.Join(os.Chmod(key, 0o600), os.Truncate(key, 5)) }, `vpnd\.key`},
			{"gone", func() error { return os.Remove(key) }, `vpnd\.key does not exist: make it with vpnd -m`},
		} {
			must(t, tt.change())
			e := s.run("-n", "-f", s.config())
			if e.code != exit.Config || !regexp.MustCompile(`(?m)^.*`+s.name+`\.conf: keyfile: .*`+tt.says).MatchString(e.stderr) {
				t.Errorf("%s with a key file that is %s: exit code %d, want %d and %q:\n%s", s.name, tt.name, e.code, exit.Config, tt.says, e.stderr)
			}
			if after := s.dump(); after != before {
				t.Errorf("%s with a key file that is %s: the host has changed:\n%s", s.name, tt.name, after)
			}
		}
	}
}

// helloOf returns the payload of a first flight as the documentation of package
// tunnel lays it out, of a caller that speaks one version.
func helloOf(version byte) []byte {
	const blowfish, stored = 1 << 0, 1 << 0 // sets with number 0 in them
	b := []byte{version, version, blowfish, stored}
	b = bytesof.BigEndian.AppendUint16(b, 448)   // key bits
	b = bytesof.BigEndian.AppendUint16(b, 65535) // largest frame
	b = bytesof.BigEndian.AppendUint16(b, 1500)  // MTU
	b = bytesof.BigEndian.AppendUint32(b, 600)   // keyttl
	b = bytesof.BigEndian.AppendUint32(b, 20)    // keepalive
	b = bytesof.BigEndian.AppendUint32(b, 6)     // noanswer
	b = bytesof.BigEndian.AppendUint32(b, 0)     // maxdelay
	b = append(b, "an id..."...)                 // client id 8
	v4, v6 := clientInner.As4(), clientIPv6.As16()
	return append(append(b, v4[:]...), v6[:]...)
}

// answered shakes hands with a server as a caller of one version, up to the
// server's answer.
func answered(conn net.Conn, key *crypto.Key, version byte) ([]byte, error) {
	initiator, f1, err := crypto.Initiate(key, rand.Reader, helloOf(version))
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(f1); err != nil {
		return nil, err
	}
	f2 := make([]byte, crypto.F2Size)
	if _, err := io.ReadFull(conn, f2); err != nil {
		return nil, err
	}
	answer, _, err := initiator.Finish(f2)
	return answer, err
}

// TestRefusedVersion calls a server as a vpnd of another version would. The same
// call with the right version is answered, so that the version alone decides.
func TestRefusedVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.server.start()
	w.server.says("interface is up")
	key, err := crypto.LoadKey(w.server.file("vpnd.key"))
	must(t, err)
	for _, call := range []struct{ version, reason byte }{{1, 1}, {3, 1}, {2, 0}} { // the first is logged
		conn := w.dial(w.client)
		answer, err := answered(conn, key, call.version)
		must(t, err)
		if reason := answer[0]; reason != call.reason {
			t.Errorf("version %d: answer with reason %d, want %d", call.version, reason, call.reason)
		}
		conn.Close()
	}
	w.server.says(`msg="caller refused".*cause="no common version"`)
	w.server.until("counting", func(r report) bool { return r.Refused["terms"] == 2 && r.Refused["no_confirm"] == 1 })
	w.server.carriesNothing()
}

// TestRefusedByVersion is the client's view: a server of another version.
func TestRefusedByVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	key, err := crypto.LoadKey(w.client.file("vpnd.key"))
	must(t, err)
	l, err := w.server.ns.Listen(netip.AddrPortFrom(serverOuter, outerPort))
	must(t, err)
	var server sync.WaitGroup
	defer server.Wait()
	defer l.Close()
	server.Go(func() {
		door := crypto.NewDoor(rand.Reader, key)
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			refuseVersion(conn, door)
		}
	})
	w.client.start()
	w.client.says(`msg="no link" cause="server 192\.0\.2\.1:24741: server refuses: no common version"`)
	w.client.carriesNothing()
}

func refuseVersion(conn net.Conn, door *crypto.Door) {
	defer conn.Close()
	var f1 [crypto.F1Size]byte
	if _, err := io.ReadFull(conn, f1[:]); err != nil {
		return
	}
	if call, err := door.Open(f1[:]); err == nil {
		const noVersion, theirs = 1, 3
		if f2, _, err := call.Answer([]byte{noVersion, theirs}); err == nil {
			_, _ = conn.Write(f2)
		}
	}
}

// dial connects to the server's port.
func (w *world) dial(from *site) *net.TCPConn {
	w.server.t.Helper()
	conn, err := from.ns.Dial(w.server.t.Context(), netip.Addr{}, netip.AddrPortFrom(serverOuter, outerPort))
	must(w.server.t, err)
	w.server.t.Cleanup(func() { conn.Close() })
	return conn
}

// silence is what a caller got that the server does not talk to.
type silence struct {
	bytes int
	open  time.Duration
	err   error // nil: an orderly end
}

// listen reads until the server ends the connection, which began a while ago.
func listenTo(conn net.Conn, began time.Time) (s silence) {
	if s.err = conn.SetReadDeadline(began.Add(patience)); s.err != nil {
		return s
	}
	n, err := io.Copy(io.Discard, conn)
	return silence{int(n), time.Since(began), err}
}

// TestStrangers lets strangers call a server that has a link. They get not one
// byte, they cannot tell from outside what was wrong, and the link goes on.
func TestStrangers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	stranger := w.host3("stranger")
	stranger.writeLike(w.client)
	w.up()
	inner := w.talk()
	before := w.server.until("up", isUp)

	key, err := crypto.LoadKey(w.server.file("vpnd.key"))
	must(t, err)
	_, recorded, err := crypto.Initiate(key, rand.Reader, helloOf(2))
	must(t, err)
	first := w.dial(stranger)
	_, err = first.Write(recorded)
	must(t, err)
	_, err = io.ReadFull(first, make([]byte, crypto.F2Size))
	must(t, err)

	random := make([]byte, 1000)
	_, _ = rand.Read(random)
	calls := []struct {
		name string
		says []byte
		hear silence
	}{
		{name: "nothing"},
		{name: "1 byte", says: random[:1]},
		{name: "191 bytes", says: random[:crypto.F1Size-1]},
		{name: "192 bytes", says: random[:crypto.F1Size]},
		{name: "1000 bytes", says: random},
		{name: "a recorded flight", says: recorded},
		{name: "a recorded flight but for its last byte", says: recorded[:crypto.F1Size-1]},
	}
	var ears sync.WaitGroup
	for i := range calls {
		c := &calls[i]
		began, conn := time.Now(), w.dial(stranger)
		_, err := conn.Write(c.says)
		must(t, err)
		ears.Go(func() { c.hear = listenTo(conn, began) })
	}
	var afterAnswer silence
	ears.Go(func() { afterAnswer = listenTo(first, time.Now()) })
	stranger.newKey()
	stranger.start() // and a vpnd with a wrong key among them

	heard := make(chan struct{})
	go func() { ears.Wait(); close(heard) }()
	worst, exchanges, standstill := time.Duration(0), 0, lab.Standstill()
	for done := false; !done; exchanges++ {
		select {
		case <-heard:
			done = true
		case <-time.After(10 * time.Millisecond):
		}
		worst = max(worst, inner.goesOn())
	}
	stall := standstill()
	t.Logf("the link carried %d exchanges meanwhile, the slowest took %v; the machine stood still for %v", exchanges, worst, stall)
	if worst > 2*time.Second+10*stall {
		t.Errorf("the link was disturbed: an exchange took %v", worst)
	}
	shortest, longest := calls[0].hear.open, calls[0].hear.open
	for _, c := range calls {
		t.Logf("%s: %d bytes, closed after %v: %v", c.name, c.hear.bytes, c.hear.open, c.hear.err)
		if c.hear.bytes != 0 {
			t.Errorf("%s: %d bytes came back", c.name, c.hear.bytes)
		}
		if !errors.Is(c.hear.err, syscall.ECONNRESET) {
			t.Errorf("%s: ended with %v, want the reset that all get", c.name, c.hear.err)
		}
		shortest, longest = min(shortest, c.hear.open), max(longest, c.hear.open)
	}
	if shortest < 9500*time.Millisecond || longest > 12*time.Second+10*stall || longest-shortest > 500*time.Millisecond+10*stall {
		t.Errorf("closed between %v and %v, want 10 s for all", shortest, longest)
	}
	if afterAnswer.bytes != 0 {
		t.Errorf("%d bytes came behind the second flight", afterAnswer.bytes)
	}

	// More are attempts of the client that its next one has overtaken.
	after := w.server.until("counting", func(r report) bool {
		return r.Refused["silent"] >= 4 && r.Refused["replay"] == 1 && r.Refused["no_confirm"] >= 1 && r.Refused["door"] > 2
	})
	if after.Links != 1 || after.Link == nil || !after.Link.Established.Equal(before.Link.Established) || after.Link.Peer != before.Link.Peer {
		t.Errorf("the link was changed: before %+v, after %+v", before.Link, after.Link)
	}
	stranger.carriesNothing()
}

// TestFilteredStranger calls a server from an address that is not the configured
// one: that looks like any other failure, even with the right key.
func TestFilteredStranger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.server.also(fmt.Sprintf("client %v", clientOuter))
	other := w.host3("other")
	w.up()
	inner := w.talk()
	key, err := crypto.LoadKey(other.file("vpnd.key"))
	must(t, err)
	began, conn, standstill := time.Now(), w.dial(other), lab.Standstill()
	_, f1, err := crypto.Initiate(key, rand.Reader, helloOf(2))
	must(t, err)
	_, err = conn.Write(f1)
	must(t, err)
	s := listenTo(conn, began)
	stall := standstill()
	t.Logf("%d bytes, closed after %v: %v", s.bytes, s.open, s.err)
	if s.bytes != 0 || !errors.Is(s.err, syscall.ECONNRESET) || s.open < 9500*time.Millisecond || s.open > 12*time.Second+10*stall {
		t.Errorf("%d bytes, closed after %v with %v; want none and a reset after 10 s", s.bytes, s.open, s.err)
	}
	// One refusal in ten seconds is logged, which may have been an attempt of the
	// client that its next one has overtaken.
	w.dial(other)
	w.server.says(`msg="caller refused" peer=203\.0\.113\.2:\d+ cause="not the configured client address"`)
	w.server.until("counting", func(r report) bool { return r.Refused["address"] == 2 && r.Links == 1 })
	inner.goesOn()
}

// TestFailedCallerEndsWithServer checks that callers who are kept in silence do
// not keep the server from ending.
func TestFailedCallerEndsWithServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.server.start()
	w.server.says("interface is up")
	conn := w.dial(w.client)
	_, err := conn.Write(make([]byte, crypto.F1Size))
	must(t, err)
	w.server.says("caller refused")
	began := time.Now()
	w.server.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the server ends after %v only", took)
	}
}
