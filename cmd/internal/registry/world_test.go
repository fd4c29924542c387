package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
)

const testPassword = "correct horse battery"

// world is a nexus with its gateways.
type world struct {
	t        testing.TB
	own      *crypto.Identity
	keys     map[string]*crypto.Identity
	networks []settings.Network
	bad      error // of the network file
	store    *Store
	handler  *Handler
	server   *httptest.Server
	log      *syncBuffer
	from     atomic.Value // string: the address that requests come from, "": the true one
	asked    atomic.Int64 // requests

	mu  sync.Mutex
	now moment
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const (
	firstBoot  = "11111111-2222-3333-4444-555555555555"
	secondBoot = "66666666-2222-3333-4444-555555555555"
)

func identity(t testing.TB) *crypto.Identity {
	t.Helper()
	own, err := crypto.NewIdentity(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// newWorld makes a nexus with networks that have these names, 10.N.0.0/24 each.
func newWorld(t testing.TB, names ...string) *world {
	t.Helper()
	w := &world{t: t, own: identity(t), keys: map[string]*crypto.Identity{}, log: &syncBuffer{}, now: moment{firstBoot, time.Hour}}
	for i, name := range names {
		w.keys[name] = identity(t)
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		w.networks = append(w.networks, settings.Network{Name: name, Line: i + 1, Key: w.keys[name].Public(),
			Subnets: []netip.Prefix{prefix}, Inner: prefix.Addr().Next()})
	}
	w.from.Store("")
	log := slog.New(slog.NewTextHandler(w.log, nil))
	store, err := OpenStore(stateDir(t), log)
	if err != nil {
		t.Fatal(err)
	}
	store.clock = func() moment { w.mu.Lock(); defer w.mu.Unlock(); return w.now }
	w.store = store
	w.handler = NewHandler(w.own, testPassword, func() ([]settings.Network, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.Clone(w.networks), w.bad
	}, store, log)
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		if from := w.from.Load().(string); from != "" {
			r.RemoteAddr = from
		}
		w.handler.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.server.Close)
	return w
}

// stateDir returns a directory that only this user can open.
func stateDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.at += d
}

// edit changes the network file.
func (w *world) edit(name string, change func(*settings.Network)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.networks = slices.Clone(w.networks)
	for i := range w.networks {
		if w.networks[i].Name == name {
			change(&w.networks[i])
		}
	}
}

func (w *world) settings() *settings.Packthread {
	return &settings.Packthread{URL: w.server.URL, ServerKey: w.own.Public(), Password: testPassword, Port: 2002}
}

// client returns the gateway of a network.
func (w *world) client(name string) *Client { return w.clientWith(name, w.keys[name], w.settings()) }

func (w *world) clientWith(name string, own *crypto.Identity, s *settings.Packthread) *Client {
	w.t.Helper()
	c, err := NewClient(name, own, s)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) register(c *Client) *Table {
	w.t.Helper()
	t, err := c.Register(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

// states returns the table in one line.
func states(t *Table) string {
	var s []string
	for _, g := range t.Gateways {
		word := g.Name + " " + g.State.String()
		if g.State == Live {
			word += fmt.Sprintf(" %v %v", g.Endpoint, g.Left)
		}
		s = append(s, word)
	}
	return strings.Join(s, ", ")
}

func (w *world) wantStates(t *Table, want string) {
	w.t.Helper()
	if got := states(t); got != want {
		w.t.Errorf("the table has %s\nwant %s", got, want)
	}
}

// post sends a body and returns the status and what came back.
func (w *world) post(body []byte) (int, []byte) {
	w.t.Helper()
	r, err := http.Post(w.server.URL, contentType, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return r.StatusCode, text
}

// ask sends any text as a question of a gateway and returns the answer.
func (w *world) ask(own *crypto.Identity, text []byte) (status int, a *answer) {
	w.t.Helper()
	q, letter, err := crypto.WriteQuestion(rand.Reader, own, w.own.Public(), crypto.NewPassword(testPassword), text)
	if err != nil {
		w.t.Fatal(err)
	}
	status, reply := w.post(letter)
	if status != http.StatusOK {
		return status, nil
	}
	text, err = q.Open(reply)
	if err != nil {
		w.t.Fatal(err)
	}
	a, err = parseAnswer(text)
	if err != nil {
		w.t.Fatal(err)
	}
	return status, a
}

// state returns the state as it is stored.
func (w *world) state() *state {
	w.t.Helper()
	var copied *state
	err := w.store.update(context.Background(), func(s *state) bool { copied = s; return false })
	if err != nil {
		w.t.Fatal(err)
	}
	return copied
}
