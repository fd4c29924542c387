package mesh

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vpnd/cmd/internal/registry"
	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
)

// patience bounds every wait: far more than is needed on a slow machine.
const patience = 60 * time.Second

// member is a gateway of a mesh with a real nexus.
type member struct {
	t        *testing.T
	name     string
	follower *Follower
	port     uint16
	stop     func()

	mu   sync.Mutex
	plan *Plan
	news chan struct{}
}

// join starts a gateway that keeps its table in dir.
func join(t *testing.T, dir, name, url string, own *crypto.Identity, server crypto.PublicKey) *member {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &member{t: t, name: name, port: uint16(conn.LocalAddr().(*net.UDPAddr).Port), news: make(chan struct{}, 1)}
	client, err := registry.NewClient(name, own, &settings.Packthread{URL: url, ServerKey: server, Password: "correct horse battery", Port: m.port})
	if err != nil {
		t.Fatal(err)
	}
	saved, err := NewSaved(dir, name, own.Public(), server)
	if err != nil {
		t.Fatal(err)
	}
	m.follower = NewFollower(client, saved, slog.New(slog.DiscardHandler), func(table *registry.Table) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.plan = NewPlan(table, name, nil)
		ring(m.news)
	})
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	parts.Go(func() { m.follower.Run(ctx) })
	parts.Go(func() { m.follower.Listen(ctx, conn) })
	m.stop = sync.OnceFunc(func() {
		cancel()
		parts.Wait()
	})
	t.Cleanup(m.stop)
	return m
}

// peers returns the peers in one line.
func (m *member) peers() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.plan == nil {
		return "no plan"
	}
	var s []string
	for _, p := range m.plan.Peers {
		s = append(s, p.Name) // nexus does not publish endpoints on its own host
	}
	return strings.Join(s, " ")
}

// until waits for peers.
func (m *member) until(peers ...*member) {
	m.t.Helper()
	var want []string
	for _, p := range peers {
		want = append(want, p.name)
	}
	began := time.Now()
	for limit := time.After(patience); m.peers() != strings.Join(want, " "); {
		select {
		case <-m.news:
		case <-limit:
			m.t.Fatalf("%s has the peers %q, want %q", m.name, m.peers(), want)
		}
	}
	if took := time.Since(began); took > 20*time.Second { // no poll is that early
		m.t.Errorf("%s learned after %v", m.name, took)
	}
}

// TestMesh has three gateways and a nexus, over real sockets.
func TestMesh(t *testing.T) {
	nexus, err := crypto.NewIdentity(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]*crypto.Identity{}
	var networks []settings.Network
	for i, name := range []string{"a", "b", "c"} {
		if keys[name], err = crypto.NewIdentity(rand.Reader); err != nil {
			t.Fatal(err)
		}
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24)
		networks = append(networks, settings.Network{Name: name, Key: keys[name].Public(), Subnets: []netip.Prefix{prefix}, Inner: prefix.Addr().Next()})
	}
	dir := stateDir(t)
	if err := makeDir(dir); err != nil {
		t.Fatal(err)
	}
	store, err := registry.OpenStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	handler := registry.NewHandler(nexus, "correct horse battery", func() ([]settings.Network, error) { return networks, nil }, store, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var sender sync.WaitGroup
	sender.Go(func() { handler.Run(ctx) })
	defer sender.Wait()
	defer cancel()
	var away atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			http.Error(w, "", http.StatusBadGateway)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	home := func(name string) string { return filepath.Join(dir, "..", "home-"+name) }
	start := func(name string) *member { return join(t, home(name), name, server.URL, keys[name], nexus.Public()) }

	a, b, c := start("a"), start("b"), start("c")
	a.until(b, c)
	b.until(a, c)
	c.until(a, b)
	c.stop()
	a.until(b)
	b.until(a)
	c = start("c")
	a.until(b, c)
	b.until(a, c)
	c.until(a, b)

	away.Store(true)
	b.stop() // it cannot say so
	moved := start("b")
	moved.until(a, c) // from its saved table
	a.follower.Register()
	a.until(b, c) // what it knew
	away.Store(false)
	moved.follower.Register()
	a.until(moved, c)
	c.until(a, moved)
}
