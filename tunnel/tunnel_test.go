package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"net"
	"testing"
	"time"

	"vpnd/crypto"
)

// end is one end of a link under test.
type end struct {
	*Tunnel
	device *fakeDevice
	stop   func()
	up     chan Link
	down   chan error
}

func testKey(t *testing.T, seed byte) *crypto.Key {
	t.Helper()
	key, err := crypto.NewKey(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// testConfig is what both ends of a test have in common.
func testConfig(t *testing.T) Config {
	return Config{
		MTU:     1500,
		Keys:    []*crypto.Key{testKey(t, 1)},
		Random:  rand.Reader,
		Ciphers: []crypto.Cipher{crypto.Blowfish},
		KeyBits: 448,
		KeyTTL:  10 * time.Minute,
		Tuning:  Tuning{Keepalive: 20 * time.Second, NoAnswer: 6, Retry: time.Minute, Compress: "auto", SendBuf: 16384},
		Log:     slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Helper()
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// start runs one end until the test ends.
func start(t *testing.T, c Config) *end {
	t.Helper()
	e := &end{device: newFakeDevice(), up: make(chan Link, 64), down: make(chan error, 64)}
	c.Device = e.device
	c.Up = func(l Link) { e.up <- l }
	c.Down = func(_ Link, err error) { e.down <- err }
	var err error
	if e.Tunnel, err = New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	e.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		done <- nil
	}
	t.Cleanup(e.stop)
	return e
}

// pair starts a server and a client on loopback and waits until the link is up.
func pair(t *testing.T, server, client Config) (s, c *end) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server.Listener = l
	client.Servers = []Dial{func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}}
	s, c = start(t, server), start(t, client)
	<-s.up
	<-c.up
	return s, c
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

func TestPacketsBothWays(t *testing.T) {
	for _, cipher := range []crypto.Cipher{crypto.Blowfish, crypto.AES256GCM, crypto.ChaCha20Poly1305} {
		for _, policy := range []string{"off", "auto", "s2", "deflate", "zstd", "asym"} {
			t.Run(cipher.String()+" "+policy, func(t *testing.T) {
				c := testConfig(t)
				c.Ciphers, c.Tuning.Compress = []crypto.Cipher{cipher}, policy
				server, client := pair(t, c, c)
				for n := 20; n <= 1500; n += 37 {
					client.device.in <- udp(n, 1)
					server.device.in <- udp(n, 2)
					if got := <-server.device.out; !bytes.Equal(got, udp(n, 1)) {
						t.Fatalf("to the server: %x", got)
					}
					if got := <-client.device.out; !bytes.Equal(got, udp(n, 2)) {
						t.Fatalf("to the client: %x", got)
					}
				}
			})
		}
	}
}
