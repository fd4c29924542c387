package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

// end is one end of a link under test.
type end struct {
	*Tunnel
	device *fakeDevice
	log    *book
	up     chan Link
	down   chan error
	cancel func()
	result chan error // of Run
	once   sync.Once
	err    error
}

// stop ends Run and returns its result.
func (e *end) stop(t *testing.T) error {
	e.cancel()
	return e.ended(t)
}

// ended waits for the end of Run and returns its result.
func (e *end) ended(t *testing.T) error {
	t.Helper()
	e.once.Do(func() { e.err = await(t, e.result, "end of Run") })
	return e.err
}

// book is what an end has logged.
type book struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// says fails the test when the log does not have the text exactly n times.
func (b *book) says(t *testing.T, n int, text string) {
	t.Helper()
	if log := b.String(); strings.Count(log, text) != n {
		t.Errorf("log does not say %q %d times:\n%s", text, n, log)
	}
}

// clock is a clock that a test can put forward, as a suspended host's is.
type clock struct {
	began time.Time
	jump  atomic.Int64
}

// newClock returns the clock of a host that has run for an hour.
func newClock() *clock { return &clock{began: time.Now().Add(-time.Hour)} }

func (c *clock) now() time.Duration { return time.Since(c.began) + time.Duration(c.jump.Load()) }

func testKey(t testing.TB, seed byte) *crypto.Key {
	t.Helper()
	key, err := crypto.NewKey(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// testConfig is what both ends of a test have in common.
func testConfig(t testing.TB) Config {
	return Config{
		MTU:     1500,
		Keys:    []*crypto.Key{testKey(t, 1)},
		Random:  rand.Reader,
		Ciphers: []crypto.Cipher{crypto.Blowfish},
		KeyBits: 448,
		KeyTTL:  10 * time.Minute,
		Tuning:  Tuning{Keepalive: 20 * time.Second, NoAnswer: 6, Retry: time.Minute, Compress: "auto", SendBuf: 16384},
		Now:     newClock().now,
	}
}

// start runs one end until the test ends. A test that does not ask how Run ended
// wants it to have been without an error.
func start(t *testing.T, c Config) *end {
	t.Helper()
	e := &end{
		device: newFakeDevice(), log: &book{}, result: make(chan error, 1),
		up: make(chan Link, 1024), down: make(chan error, 1024),
	}
	c.Device = e.device
	c.Log = slog.New(slog.NewTextHandler(e.log, nil))
	c.Up = func(l Link) { e.up <- l }
	c.Down = func(_ Link, err error) { e.down <- err }
	var err error
	if e.Tunnel, err = New(c); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, e.cancel = context.WithCancel(context.Background())
	go func() { e.result <- e.Run(ctx) }()
	t.Cleanup(func() {
		asked := true
		e.once.Do(func() {
			e.cancel()
			asked, e.err = false, await(t, e.result, "end of Run")
		})
		if !asked && e.err != nil {
			t.Errorf("run: %v", e.err)
		}
		if t.Failed() {
			t.Logf("log of this end:\n%s", e.log)
		}
	})
	return e
}

// run runs a tunnel until stop is called or the test ends, which must be without
// an error.
func run(t testing.TB, c Config) (tunnel *Tunnel, stop func()) {
	t.Helper()
	tunnel, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tunnel.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return tunnel, stop
}

// noLeak checks, when the test has ended, that no goroutine is left which it
// started. Where time is simulated the end of the bubble shows that.
func noLeak(t testing.TB) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; {
			if time.Now().After(end) {
				t.Errorf("%d goroutines, %d at the start", runtime.NumGoroutine(), before)
				return
			}
			runtime.Gosched()
		}
	})
}

// noMore checks, where time is simulated, that there are no more goroutines than before.
// The runtime counts one that has returned for a moment more, also after synctest.Wait.
func noMore(t *testing.T, before int) {
	t.Helper()
	synctest.Wait()
	for range 10_000_000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d goroutines, before there were %d", runtime.NumGoroutine(), before)
}

func dialer(l net.Listener) Dial {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}
}

// simPair does the same with a road in memory.
func simPair(t *testing.T, server, client Config) (s, c *end, r *road) {
	t.Helper()
	r = newRoad()
	server.Listener, client.Servers = r, []Dial{r.dial}
	s, c = linked(t, server, client)
	return s, c, r
}

func linked(t *testing.T, server, client Config) (s, c *end) {
	t.Helper()
	s, c = start(t, server), start(t, client)
	await(t, s.up, "link of the server")
	await(t, c.up, "link of the client")
	return s, c
}

// simServer starts a server that waits for callers of the test's own.
func simServer(t *testing.T, c Config) (*end, *road) {
	t.Helper()
	r := newRoad()
	c.Listener = r
	return start(t, c), r
}

// passes checks that packets pass both ways.
func passes(t *testing.T, a, b *end) {
	t.Helper()
	for _, way := range [][2]*end{{a, b}, {b, a}} {
		want := udp(333, byte(time.Now().UnixNano()))
		way[0].device.in <- want
		if got := way[1].device.take(t); !bytes.Equal(got, want) {
			t.Errorf("packet is %x, want %x", got, want)
		}
	}
}

// conserved checks that no packet came or went without being counted. Nothing
// may be under way.
func conserved(t *testing.T, e *end) {
	t.Helper()
	synctest.Wait()
	s := e.Stats()
	out, in := s.Wire.PacketsOut+uint64(s.Waiting), s.Inside.PacketsOut
	for _, n := range s.DropsOut {
		out += n
	}
	for _, n := range s.DropsIn {
		in += n
	}
	if s.Inside.PacketsIn != out || s.Wire.PacketsIn != in {
		t.Errorf("%d packets from the host, %d accounted for; %d from the wire, %d accounted for: %+v",
			s.Inside.PacketsIn, out, s.Wire.PacketsIn, in, s)
	}
}

// udp returns an IPv4 packet of n bytes whose content depends on seed.
func udp(n int, seed byte) []byte {
	p := make([]byte, n)
	p[0], p[9] = 0x45, 17
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	for i := 20; i < n; i++ {
		p[i] = seed + byte(i/7)
	}
	return p
}

func TestNewRefuses(t *testing.T) {
	dial := func(context.Context) (net.Conn, error) { panic("not called") }
	for name, change := range map[string]func(*Config){
		"neither end": func(c *Config) { c.Listener, c.Servers = nil, nil },
		"both ends":   func(c *Config) { c.Listener, c.Servers = newRoad(), []Dial{dial} },
		"no key":      func(c *Config) { c.Keys = nil },
		"no door": func(c *Config) {
			c.Listener, c.Servers, c.Keys, c.Key = newRoad(), nil, nil, sharedKey{}
		},
		"no cipher":      func(c *Config) { c.Ciphers = nil },
		"no such policy": func(c *Config) { c.Tuning.Compress = "lzma" },
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t)
			c.Device, c.Servers = newFakeDevice(), []Dial{dial}
			if _, err := New(c); err != nil {
				t.Fatal("a good configuration is refused:", err)
			}
			change(&c)
			if _, err := New(c); err == nil {
				t.Error("not refused")
			}
		})
	}
}

// sim runs a test in a bubble of simulated time. That the bubble ends shows that
// no goroutine is left.
func sim(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}
