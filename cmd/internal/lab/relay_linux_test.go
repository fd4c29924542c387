package lab

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// relayed is a relay in front of a listener, and what dials it.
type relayed struct {
	*Relay
	ns     *Namespace
	target *net.TCPListener
}

func newRelayed(t *testing.T) relayed {
	t.Helper()
	n := newNamespaceIn(t, newLab(t), "a")
	ln, err := n.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	check(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	r, err := n.Relay(netip.MustParseAddrPort("127.0.0.1:0"), ln.Addr().(*net.TCPAddr).AddrPort())
	check(t, err)
	return relayed{r, n, ln}
}

// connect returns both ends of a new connection through the relay.
func (r relayed) connect(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	client, err := r.ns.Dial(timeout(t), netip.Addr{}, r.Addr())
	check(t, err)
	t.Cleanup(func() { _ = client.Close() })
	server, err = r.target.AcceptTCP()
	check(t, err)
	t.Cleanup(func() { _ = server.Close() })
	return client, server
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := c.Write([]byte(text))
	check(t, err)
}

func expect(t *testing.T, c net.Conn, text string) {
	t.Helper()
	check(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Fatalf("got %q, %v, want %q", b, err, text)
	}
}

// expectError reads until the error and compares it, os.ErrDeadlineExceeded
// after a while of silence.
func expectError(t *testing.T, c net.Conn, limit time.Duration, want error) {
	t.Helper()
	check(t, c.SetReadDeadline(time.Now().Add(limit)))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Errorf("read %d bytes, %v, want %v", n, err, want)
	}
}

// silence is how long nothing must come.
const silence = 50 * time.Millisecond

func TestRelayPasses(t *testing.T) {
	r := newRelayed(t)
	client, server := r.connect(t)
	send(t, client, "up")
	expect(t, server, "up")
	send(t, server, "down")
	expect(t, client, "down")
	check(t, client.CloseWrite())
	expectError(t, server, time.Minute, io.EOF)
	send(t, server, "still down")
	expect(t, client, "still down")
	if s := r.Stats(); s.Accepted != 1 || s.Open != 1 {
		t.Errorf("%+v", s)
	}
	check(t, server.Close())
	expectError(t, client, time.Minute, io.EOF)
	check(t, poll(timeout(t), func() error {
		if s := r.Stats(); s != (RelayStats{Accepted: 1, Up: 2, Down: 14}) {
			return errors.New("connection is not over")
		}
		return nil
	}))
}

func TestRelayPassesReset(t *testing.T) {
	r := newRelayed(t)
	client, server := r.connect(t)
	check(t, errors.Join(client.SetLinger(0), client.Close()))
	expectError(t, server, time.Minute, syscall.ECONNRESET)
}

func TestRelayReset(t *testing.T) {
	r := newRelayed(t)
	client, server := r.connect(t)
	send(t, client, "x")
	expect(t, server, "x")
	if n := r.Reset(); n != 1 {
		t.Errorf("%d were reset", n)
	}
	expectError(t, client, time.Minute, syscall.ECONNRESET)
	expectError(t, server, time.Minute, syscall.ECONNRESET)
	client, server = r.connect(t)
	send(t, client, "new")
	expect(t, server, "new")
}

func TestRelayEndsWithLab(t *testing.T) {
	r := newRelayed(t)
	client, server := r.connect(t)
	send(t, client, "x")
	expect(t, server, "x")
	check(t, r.ns.lab.Close())
	expectError(t, client, time.Minute, syscall.ECONNRESET)
	expectError(t, server, time.Minute, syscall.ECONNRESET)
}

func TestRelayRefuse(t *testing.T) {
	r := newRelayed(t)
	client, server := r.connect(t)
	addr := r.Addr()
	for range 2 {
		check(t, r.Refuse())
		check(t, r.Refuse())
		if _, err := r.ns.Dial(timeout(t), netip.Addr{}, addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v", err)
		}
		send(t, client, "old")
		expect(t, server, "old")
		check(t, r.Accept())
		check(t, r.Accept())
		if r.Addr() != addr {
			t.Errorf("relay moved from %s to %s", addr, r.Addr())
		}
		c, s := r.connect(t)
		send(t, c, "new")
		expect(t, s, "new")
	}
}

func TestRelayTargetGone(t *testing.T) {
	r := newRelayed(t)
	check(t, r.target.Close())
	client, err := r.ns.Dial(timeout(t), netip.Addr{}, r.Addr())
	if errors.Is(err, syscall.ECONNRESET) { // the relay was faster
		return
	}
	check(t, err)
	defer client.Close()
	expectError(t, client, time.Minute, syscall.ECONNRESET)
}

func TestRelayStall(t *testing.T) {
	r := newRelayed(t)
	client, server := r.connect(t)
	r.Stall()
	r.Stall()
	send(t, client, "up")
	send(t, server, "down")
	expectError(t, server, silence, os.ErrDeadlineExceeded)
	expectError(t, client, silence, os.ErrDeadlineExceeded)
	late, lateServer := r.connect(t)
	send(t, late, "late")
	expectError(t, lateServer, silence, os.ErrDeadlineExceeded)
	r.Resume()
	r.Resume()
	expect(t, server, "up")
	expect(t, client, "down")
	expect(t, lateServer, "late")
}

func TestRelayBlackhole(t *testing.T) {
	r := newRelayed(t)
	client, server := r.connect(t)
	r.Blackhole()
	send(t, client, "lost")
	send(t, server, "lost")
	expectError(t, client, silence, os.ErrDeadlineExceeded)
	check(t, client.Close())
	expectError(t, server, silence, os.ErrDeadlineExceeded)
	client, server = r.connect(t)
	send(t, client, "new")
	expect(t, server, "new")
}

func TestRelayDelay(t *testing.T) {
	r := newRelayed(t)
	client, server := r.connect(t)
	r.Delay(silence)
	start := time.Now()
	send(t, client, "late")
	expect(t, server, "late")
	if took := time.Since(start); took < silence {
		t.Errorf("passed after %s", took)
	}
}

func TestRelayTap(t *testing.T) {
	r := newRelayed(t)
	var offset atomic.Int64
	r.Tap(func(c Chunk) ([]byte, error) {
		if c.Direction == Up {
			offset.Store(c.Offset)
			return []byte("<" + string(c.Data) + ">"), nil
		}
		return nil, errors.New("reset, please")
	})
	client, server := r.connect(t)
	send(t, client, "one")
	expect(t, server, "<one>")
	send(t, client, "two")
	expect(t, server, "<two>")
	if n := offset.Load(); n != 3 {
		t.Errorf("second chunk at offset %d", n)
	}
	send(t, server, "x")
	expectError(t, client, time.Minute, syscall.ECONNRESET)
	expectError(t, server, time.Minute, syscall.ECONNRESET)
}
