package tunnel

import (
	"bytes"
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"vpnd/crypto"
)

// The tests of this file run over real TCP connections on loopback.

// pair starts a server and a client on loopback and waits until the link is up.
func pair(t *testing.T, server, client Config) (s, c *end) {
	t.Helper()
	noLeak(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server.Listener = l
	client.Servers = []Dial{dialer(l)}
	return linked(t, server, client)
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
					if got := server.device.take(t); !bytes.Equal(got, udp(n, 1)) {
						t.Fatalf("to the server: %x", got)
					}
					if got := client.device.take(t); !bytes.Equal(got, udp(n, 2)) {
						t.Fatalf("to the client: %x", got)
					}
				}
				for _, e := range []*end{server, client} {
					if l := e.Stats().Link; l == nil || l.Cipher != cipher.String() {
						t.Errorf("link is %+v", l)
					}
				}
			})
		}
	}
}

// TestCloseUnderLoad ends a link while both directions are full: the other end
// hears why all the same, though bytes are left unread where the good-bye is
// said. Only who does not read for longer than closeTimeout, on a busy machine, may not
// hear it: then it is tried again.
func TestCloseUnderLoad(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		t.Run(side, func(t *testing.T) {
			for range 20 {
				err, took := closeUnderLoad(t, side)
				if c := (*closeError)(nil); errors.As(err, &c) && c.peer && c.reason == closeShutdown {
					return
				}
				if took < closeTimeout {
					t.Fatalf("cause is %v after %v", err, took)
				}
				t.Logf("cause is %v after %v", err, took)
			}
			t.Error("the other end never hears why")
		})
	}
}

// closeUnderLoad ends a link on one side, and returns what the other one hears, and how
// long that took.
func closeUnderLoad(t *testing.T, side string) (heard error, took time.Duration) {
	c := testConfig(t)
	c.Ciphers, c.Tuning.Compress = []crypto.Cipher{crypto.AES256GCM}, "off"
	server, client := pair(t, c, c)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, e := range []*end{server, client} {
		go func() {
			p := udp(1400, 1)
			for ctx.Err() == nil {
				select {
				case e.device.in <- p:
				case <-e.device.out:
				case <-ctx.Done():
				}
			}
		}()
	}
	one, other := server, client
	if side == "client" {
		one, other = client, server
	}
	for one.Stats().Wire.PacketsIn < 5000 || one.Stats().Wire.PacketsOut < 5000 {
		time.Sleep(time.Millisecond)
	}
	begin := time.Now()
	if err := one.stop(t); err != nil {
		t.Error(err)
	}
	heard, took = await(t, other.down, "end of the link"), time.Since(begin)
	if err := other.stop(t); err != nil {
		t.Error(err)
	}
	return heard, took
}

// TestReset breaks the connection under a pair: the link is back at once.
func TestReset(t *testing.T) {
	c := testConfig(t)
	server, client := pair(t, c, c)
	abort(client.point.link.Load().conn)
	await(t, client.down, "end of the link")
	await(t, server.down, "end of the link")
	begin := time.Now()
	await(t, client.up, "new link")
	await(t, server.up, "new link")
	t.Logf("back after %v", time.Since(begin))
	want := udp(100, 1)
	client.device.in <- want
	if got := server.device.take(t); !bytes.Equal(got, want) {
		t.Errorf("packet is %x", got)
	}
}

// TestFixedPortTCP ends a link in each way while the client has one local port:
// the kernel must not keep the port.
func TestFixedPortTCP(t *testing.T) {
	noLeak(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := net.Dialer{LocalAddr: free.Addr(), Control: func(_, _ string, c syscall.RawConn) (err error) {
		cerr := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		})
		return errors.Join(cerr, err)
	}}
	free.Close()
	cs, cc := testConfig(t), testConfig(t)
	cs.Listener, cc.FixedPort = l, true
	cc.Servers = []Dial{func(ctx context.Context) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}}
	server, client := linked(t, cs, cc)
	for name, end := range map[string]func(){
		"the client wants":  client.Redial,
		"the server closes": func() { server.point.link.Load().end(errShutdown) },
		"a reset":           func() { abort(server.point.link.Load().conn) },
	} {
		begin := time.Now()
		end()
		await(t, server.up, "new link")
		await(t, client.up, "new link")
		t.Logf("%s: back after %v", name, time.Since(begin))
	}
	client.log.says(t, 0, "in use")
	client.log.says(t, 0, "cannot assign")
}
