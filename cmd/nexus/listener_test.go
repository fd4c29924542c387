package main

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// callers is a listener whose connections come from the addresses that it is told.
type callers struct {
	net.Listener
	from []string
	gone []string // were closed
}

type call struct {
	net.Conn
	from string
	l    *callers
}

func (l *callers) Accept() (net.Conn, error) {
	if len(l.from) == 0 {
		return nil, net.ErrClosed
	}
	c := &call{from: l.from[0], l: l}
	l.from = l.from[1:]
	return c, nil
}

func (c *call) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.from), 1))
}

func (c *call) Close() error {
	c.l.gone = append(c.l.gone, c.from)
	return nil
}

// TestFairListener lets callers come, and sees who gives way.
func TestFairListener(t *testing.T) {
	for _, test := range []struct {
		name string
		size int
		come string // a - in front: closes it
		gone string
	}{
		{"room for all", 3, "10.0.0.1 10.0.0.2 10.0.1.1", ""},
		{"oldest of one network", 2, "10.0.0.1 10.0.0.2 10.0.0.3", "10.0.0.1"},
		{"busiest network", 3, "10.9.9.9 10.0.0.1 10.0.0.2 10.8.8.8", "10.0.0.1"},
		{"newcomer makes his own busiest", 3, "10.9.9.9 10.0.0.1 10.0.0.2 10.0.0.3", "10.0.0.1"},
		{"first of equals", 2, "10.0.0.1 10.0.1.1 10.0.2.1", "10.0.0.1"},
		{"again and again", 2, "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4", "10.0.0.1 10.0.0.2"},
		{"who is through is not counted", 2, "10.0.0.1 -10.0.0.1 10.0.0.2 10.0.0.3", "10.0.0.1"},
		{"closed twice", 2, "10.0.0.1 10.0.0.2 -10.0.0.1 -10.0.0.1 10.0.0.3", "10.0.0.1 10.0.0.1"},
		{"closed after giving way", 1, "10.0.0.1 10.0.0.2 -10.0.0.1 10.0.0.3", "10.0.0.1 10.0.0.1 10.0.0.2"},
		{"IPv6 customer", 3, "2001:db8:9::1 2001:db8:0:1::1 2001:db8:0:ff::2 2001:db8:8::1", "2001:db8:0:1::1"},
		{"IPv4 in IPv6", 2, "10.0.1.1 ::ffff:10.0.0.1 10.0.0.2", "::ffff:10.0.0.1"},
		{"zones do not make networks", 2, "10.0.0.1 fe80::1%eth0 fe80::2%eth1", "fe80::1%eth0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inner := &callers{}
			l := newFairListener(inner, test.size)
			open := make(map[string]net.Conn)
			for word := range strings.FieldsSeq(test.come) {
				if who, closes := strings.CutPrefix(word, "-"); closes {
					open[who].Close()
					continue
				}
				inner.from = []string{word}
				c, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				open[word] = c
			}
			if !slices.Equal(inner.gone, strings.Fields(test.gone)) {
				t.Errorf("%v were closed, want %v", inner.gone, test.gone)
			}
			for _, c := range open {
				c.Close()
			}
			if n := l.room.Len(); n != 0 {
				t.Errorf("%d connections are left", n)
			}
			if _, err := l.Accept(); err != net.ErrClosed {
				t.Errorf("error %v", err)
			}
		})
	}
}
