package main

import (
	"context"
	bytesof "encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vpnd/cmd/internal/lab"
	"vpnd/crypto"
)

// TestReload changes what a running daemon can follow, and sees the effect.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client
	w.configure()
	plain, err := os.ReadFile(c.config())
	must(t, err)
	reload := func(says string, lines ...string) {
		t.Helper()
		must(t, os.WriteFile(c.config(), append(slices.Clone(plain), strings.Join(lines, "\n")+"\n"...), 0o644))
		mark := c.Stderr.Mark()
		must(t, c.Signal(syscall.SIGHUP))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := c.Stderr.WaitAfter(ctx, mark, says); err != nil {
			t.Fatal(err)
		}
	}
	const done = `level=INFO msg="configuration reloaded"`
	w.up()
	inner := w.talk()
	first := c.dump()
	has := func(want string, there bool) {
		t.Helper()
		if d := c.dump(); strings.Contains(d, want) != there {
			t.Errorf("%q in the host's state: want %v:\n%s", want, there, d)
		}
	}

	reload(done, "route1 10.98.0.0 255.255.0.0 10.77.0.1", "route 10.99.0.0/16", "route fd00:99::/64")
	for _, route := range []string{"route 10.98.0.0/16 via 10.77.0.1 dev vpn0", "route 10.99.0.0/16 dev vpn0", "route fd00:99::/64 dev vpn0"} {
		has(route, true)
	}
	reload(done, "route 10.99.0.0/16", "autoroute off")
	has("10.98.0.0", false)
	has("fd00:99::/64", false)
	has("route 10.99.0.0/16 dev vpn0", true)

	// A file with mistakes changes nothing, neither do bad hooks and keys.
	with := c.dump()
	reload(`level=ERROR msg="configuration not reloaded" error=".*mtu: .*keepalve: unknown`, "route 10.97.0.0/16", "mtu 1", "keepalve 1")
	reload(`level=ERROR msg="configuration not reloaded" error=".*linkup: .*no such file`, "route 10.97.0.0/16", "linkup missing")
	reload(`level=ERROR msg="configuration not reloaded" error=".*keyfile: .*does not exist`, "route 10.97.0.0/16", "keyfile missing")
	if d := c.dump(); d != with {
		t.Errorf("a file with mistakes has changed the host:\nbefore\n%s\nafter\n%s", with, d)
	}

	// What needs a restart is named, and stays.
	reload(`(?s)level=WARN msg="change needs a restart" keyword=keyttl.*keyword=mtu.*`+done, "route 10.99.0.0/16", "autoroute off", "mtu 1400", "keyttl 60")
	if d := c.dump(); d != with {
		t.Errorf("a change that needs a restart was made:\nbefore\n%s\nafter\n%s", with, d)
	}

	reload(done, "linkup "+c.script("up", `echo "new $VPND_EVENT" >> `+c.file("hooks")))
	if d := c.dump(); d != first {
		t.Errorf("not as in the beginning:\nbefore\n%s\nafter\n%s", first, d)
	}
	if r := c.tells(); r.Links != 1 {
		t.Errorf("%d links: the reload has cost the link", r.Links)
	}
	must(t, c.Signal(syscall.SIGUSR1))
	c.until("up once more", func(r report) bool { return isUp(r) && r.Links == 2 && c.hookText() == "new linkup\n" })

	// The link's own tuning: 3 seconds of silence end it now, on this end only.
	reload(done, "keepalive 1", "noanswer 2")
	die(t, 3*time.Second, func() { must(t, w.path.Cut()) }, c)
	if r := w.server.tells(); !isUp(r) {
		t.Error("the server, which was not reloaded, gave the link up too")
	}
	must(t, w.path.Heal())
	inner.goesOn()
}

// zeros is content that compresses well.
func zeros(uint64) io.Reader { return zero{} }

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// frameMeter sees the frames that a client sends. The first connection need not
// be the one that becomes the link.
type frameMeter struct {
	mu      sync.Mutex
	rest    map[int][]byte // what follows the last whole frame, by connection
	largest int
}

func (m *frameMeter) tap(c lab.Chunk) ([]byte, error) {
	if c.Direction != lab.Up {
		return c.Data, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	const header = 2
	rest := append(m.rest[c.Conn], c.Data[min(len(c.Data), max(0, crypto.F1Size-int(c.Offset))):]...)
	for len(rest) >= header {
		n := header + int(bytesof.BigEndian.Uint16(rest)) + crypto.TagSize
		if len(rest) < n {
			break
		}
		m.largest, rest = max(m.largest, n), rest[n:]
	}
	m.rest[c.Conn] = rest
	return c.Data, nil
}

// take returns the largest frame since the last call.
func (m *frameMeter) take() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.largest
	m.largest = 0
	return n
}

// TestReloadSending changes how a client sends while it does.
func TestReloadSending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client
	relay, err := w.path.Router.Relay(netip.MustParseAddrPort("198.51.100.2:0"), netip.AddrPortFrom(serverOuter, outerPort))
	must(t, err)
	meter := frameMeter{rest: map[int][]byte{}}
	relay.Tap(meter.tap)
	w.configure()
	text, err := os.ReadFile(c.config())
	must(t, err)
	direct := fmt.Sprintf("server %v %d", serverOuter, outerPort)
	through := fmt.Sprintf("server %v %d", relay.Addr().Addr(), relay.Addr().Port())
	plain := strings.Replace(string(text), direct, through, 1)
	set := func(compress string, sendbuf int) {
		t.Helper()
		must(t, os.WriteFile(c.config(), fmt.Appendf(nil, "%scompress %s\nsendbuf %d\n", plain, compress, sendbuf), 0o644))
	}
	move := func() (r report, frame int) {
		t.Helper()
		_, err := lab.Ends{Client: c.ns, Server: w.server.ns, Dst: serverInner}.Transfer(t.Context(), lab.Load{Up: 4 << 20, Content: zeros})
		must(t, err)
		r = c.tells()
		return r, meter.take()
	}
	reload := func() {
		t.Helper()
		mark := c.Stderr.Mark()
		must(t, c.Signal(syscall.SIGHUP))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := c.Stderr.WaitAfter(ctx, mark, "configuration reloaded")
		must(t, err)
	}

	set("asym", 1500)
	w.up()
	const overhead = 2 + 1 + 1 + crypto.TagSize // header, type, compression, tag
	r, frame := move()
	t.Logf("sendbuf 1500, compress asym: largest frame %d, compression %.2f", frame, r.CompressionOut)
	if frame > 1500+overhead || r.CompressionOut > 1 {
		t.Errorf("sendbuf 1500, compress asym: largest frame %d, compression %.2f", frame, r.CompressionOut)
	}
	set("asym", 60000)
	reload()
	r, frame = move()
	t.Logf("sendbuf 60000, compress asym: largest frame %d, compression %.2f", frame, r.CompressionOut)
	if frame < 3000 || r.CompressionOut > 1 {
		t.Errorf("sendbuf 60000, compress asym: largest frame %d, compression %.2f", frame, r.CompressionOut)
	}
	set("s2", 60000)
	reload()
	r, _ = move()
	t.Logf("compress s2 for a third of the way: compression %.2f", r.CompressionOut)
	if r.CompressionOut < 1.2 || r.Links != 1 {
		t.Errorf("compress s2: compression %.2f, %d links", r.CompressionOut, r.Links)
	}
}
