package lab

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"time"
)

// TestNAT lets a host behind a NAT call, and be called.
func TestNAT(t *testing.T) {
	l := newLab(t)
	inside, router, outside := newNamespaceIn(t, l, "inside"), newNamespaceIn(t, l, "router"), newNamespaceIn(t, l, "outside")
	in, err := l.Connect(router, inside, Prefixes("172.16.0.1/24"), Prefixes("172.16.0.2/24"))
	check(t, err)
	_, err = l.Connect(outside, router, Prefixes("192.0.2.1/24"), Prefixes("192.0.2.2/24"))
	check(t, err)
	public := netip.MustParseAddr("203.0.113.1")
	check(t, inside.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("172.16.0.1")))
	check(t, outside.AddRoute(netip.PrefixFrom(public, 32), netip.MustParseAddr("192.0.2.2")))
	check(t, router.NAT(in.A, netip.MustParseAddr("172.16.0.2"), public))
	server, err := outside.Listen(netip.MustParseAddrPort("192.0.2.1:80"))
	check(t, err)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := inside.Dial(ctx, netip.Addr{}, netip.MustParseAddrPort("192.0.2.1:80"))
	check(t, err)
	defer c.Close()
	s, err := server.AcceptTCP()
	check(t, err)
	defer s.Close()
	if from := netip.MustParseAddrPort(s.RemoteAddr().String()).Addr(); from != public {
		t.Errorf("the call comes from %v", from)
	}
	for _, pair := range [][2]io.ReadWriter{{c, s}, {s, c}} {
		go pair[0].Write(make([]byte, 100000))
		if _, err := io.ReadFull(pair[1], make([]byte, 100000)); err != nil {
			t.Error(err)
		}
	}
	called, err := inside.Listen(netip.MustParseAddrPort("172.16.0.2:80"))
	check(t, err)
	defer called.Close()
	limit, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if c, err := outside.Dial(limit, netip.Addr{}, netip.AddrPortFrom(public, 80)); err == nil {
		c.Close()
		t.Error("a stranger got in")
	}
}
