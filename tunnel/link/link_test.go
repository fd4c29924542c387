package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// noName is what no resolver asks a server for.
const noName = "no such name"

func TestSetIPOpts(t *testing.T) {
	for sum, want := range map[int]Options{
		0: {}, 1: {TOS: 0x04}, 2: {TOS: 0x08}, 4: {TOS: 0x10}, 8: {Priority: 6},
		6: {TOS: 0x18}, 15: {TOS: 0x1c, Priority: 6},
	} {
		var got Options
		if got.SetIPOpts(sum); got != want {
			t.Errorf("ipopts %d is %+v, want %+v", sum, got, want)
		}
	}
}

// listen opens a listener on loopback and accepts until the test ends. Accepted
// connections come out of the channel.
func listen(t *testing.T, address string) (netip.AddrPort, <-chan net.Conn) {
	t.Helper()
	l, err := Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		close(conns)
		for c := range conns {
			c.Close()
		}
	})
	return netip.MustParseAddrPort(l.Addr().String()), conns
}

// loopbacks are the addresses of this host that lead to itself.
func loopbacks(t *testing.T) (addrs []netip.Addr) {
	t.Helper()
	for _, a := range []string{"127.0.0.1", "::1"} {
		if l, err := net.Listen("tcp", net.JoinHostPort(a, "0")); err == nil {
			l.Close()
			addrs = append(addrs, netip.MustParseAddr(a))
		}
	}
	if len(addrs) == 0 {
		t.Fatal("no loopback")
	}
	return addrs
}

func dialTo(at netip.AddrPort) *Dialer {
	return &Dialer{Host: at.Addr().String(), Port: at.Port(), Log: slog.New(slog.DiscardHandler)}
}

// connect dials and returns both ends.
func connect(t *testing.T, d *Dialer, accepted <-chan net.Conn) (client, server net.Conn) {
	t.Helper()
	client, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server = <-accepted
	t.Cleanup(func() { server.Close() })
	return client, server
}

func TestDial(t *testing.T) {
	for _, a := range loopbacks(t) {
		t.Run(a.String(), func(t *testing.T) {
			at, accepted := listen(t, netip.AddrPortFrom(a, 0).String())
			client, server := connect(t, dialTo(at), accepted)
			go client.Write([]byte("hello"))
			b := make([]byte, 5)
			if _, err := io.ReadFull(server, b); err != nil || string(b) != "hello" {
				t.Errorf("got %q: %v", b, err)
			}
		})
	}
}

// TestListenAny sees that the empty host takes callers of both families.
func TestListenAny(t *testing.T) {
	any, accepted := listen(t, ":0")
	for _, a := range loopbacks(t) {
		_, server := connect(t, dialTo(netip.AddrPortFrom(a, any.Port())), accepted)
		if err := (Options{}).Apply(server); err != nil {
			t.Errorf("from %v: %v", a, err)
		}
	}
}

func TestPortInUse(t *testing.T) {
	at, _ := listen(t, "127.0.0.1:0")
	_, err := Listen(t.Context(), at.String())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.HasPrefix(err.Error(), "port in use: ") {
		t.Errorf("error is %v", err)
	}
	if _, err := Listen(t.Context(), "127.0.0.1:x"); err == nil {
		t.Error("a port that is none is taken")
	}
}

func TestRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	if _, err := dialTo(at).Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error is %v", err)
	}
}

func TestCanceled(t *testing.T) {
	at, _ := listen(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if conn, err := dialTo(at).Dial(ctx); err == nil {
		conn.Close()
		t.Error("dialled")
	}
}

// TestLocal dials from given addresses.
func TestLocal(t *testing.T) {
	at, accepted := listen(t, "127.0.0.1:0")
	for _, test := range []struct {
		local string
		warns bool
	}{
		{"127.0.0.1:0", false},
		{"0.0.0.0:0", false},
		{"[::]:0", false},
		{"203.0.113.77:0", true}, // only a NAT has it
	} {
		t.Run(test.local, func(t *testing.T) {
			var text bytes.Buffer
			d := dialTo(at)
			d.Local, d.Log = netip.MustParseAddrPort(test.local), slog.New(slog.NewTextHandler(&text, nil))
			for range 2 {
				client, server := connect(t, d, accepted)
				if got := netip.MustParseAddrPort(server.RemoteAddr().String()).Addr().Unmap(); got != netip.MustParseAddr("127.0.0.1") {
					t.Errorf("came from %v", got)
				}
				client.Close()
			}
			want := map[bool]int{true: 1}[test.warns]
			if n := strings.Count(text.String(), "not one of this host"); n != want {
				t.Errorf("%d warnings, want %d: %s", n, want, text.String())
			}
		})
	}
}

// TestFixedPort dials again and again from one port, to the same server and to
// another: the connections before must not be in the way.
func TestFixedPort(t *testing.T) {
	one, first := listen(t, "127.0.0.1:0")
	two, second := listen(t, "127.0.0.1:0")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := netip.MustParseAddrPort(free.Addr().String()).Port()
	free.Close()
	for i := range 6 {
		d, accepted := dialTo(one), first
		if i%2 == 1 {
			d, accepted = dialTo(two), second
		}
		d.Local = netip.AddrPortFrom(netip.Addr{}, port)
		client, server := connect(t, d, accepted)
		if got := netip.MustParseAddrPort(server.RemoteAddr().String()).Port(); got != port {
			t.Errorf("came from port %d, want %d", got, port)
		}
		client.(*net.TCPConn).SetLinger(0) // as a session does
		client.Close()
		server.Close()
	}
}

// TestBefore sees each address before it is tried, and refuses one.
func TestBefore(t *testing.T) {
	at, accepted := listen(t, "127.0.0.1:0")
	refused := errors.New("refused by the test")
	no := netip.MustParseAddr("127.0.0.9")
	d := &Dialer{Host: noName, Port: at.Port(), known: []netip.Addr{no, at.Addr()}}
	var seen []netip.Addr
	d.Before = func(a netip.Addr) error {
		seen = append(seen, a)
		if a == no {
			return refused
		}
		return nil
	}
	connect(t, d, accepted)
	if !slices.Equal(seen, []netip.Addr{no, at.Addr()}) {
		t.Errorf("saw %v", seen)
	}
	d.known = d.known[:1]
	if _, err := d.Dial(t.Context()); !errors.Is(err, refused) {
		t.Errorf("error is %v", err)
	}
}

// TestLookup has a name server that fails: the addresses of the last time are
// used, each in its turn, and all of them.
func TestLookup(t *testing.T) {
	if _, err := (&Dialer{Host: noName}).Dial(t.Context()); err == nil {
		t.Error("dialled nobody")
	}
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	d := &Dialer{Host: noName, known: []netip.Addr{a, netip.MustParseAddr("::ffff:192.0.2.2")}}
	for i, want := range [][]netip.Addr{{a, b}, {b, a}, {a, b}} {
		if got, err := d.lookup(t.Context()); err != nil || !slices.Equal(got, want) {
			t.Errorf("turn %d: %v (%v), want %v", i, got, err, want)
		}
	}
	d = &Dialer{Host: "192.0.2.9", known: []netip.Addr{a}}
	if got, err := d.lookup(t.Context()); err != nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr("192.0.2.9")}) {
		t.Errorf("a number is looked up as %v (%v)", got, err)
	}
}

func TestApplyOther(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if err := (Options{}).Apply(a); err == nil || !strings.Contains(err.Error(), "not TCP") {
		t.Errorf("error is %v", err)
	}
}
