package main

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// fairListener bounds how many connections are open. With one more than that, the
// oldest of the network that has most of them is closed, so one network cannot keep the
// others out. None has a bound of its own: many gateways behind one address of their
// provider, or a proxy on this host, are no special case.
type fairListener struct {
	net.Listener
	size int

	mu    sync.Mutex
	open  []*fairConn // in order of arrival
	crowd map[netip.Prefix]int
}

// fairConn is a connection that counts until it is closed.
type fairConn struct {
	net.Conn
	listener *fairListener
	network  netip.Prefix
}

func newFairListener(l net.Listener, size int) *fairListener {
	return &fairListener{Listener: l, size: size, crowd: make(map[netip.Prefix]int)}
}

// Accept returns the next connection, for which another one may have been closed.
func (l *fairListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &fairConn{conn, l, networkOf(conn.RemoteAddr())}
	if old := l.add(c); old != nil {
		old.Conn.Close()
	}
	return c, nil
}

// Close closes the connection. A second time does no harm.
func (c *fairConn) Close() error {
	c.listener.mu.Lock()
	c.listener.remove(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// add counts a connection, and returns the one that has to give way, nil for none.
func (l *fairListener) add(c *fairConn) (old *fairConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, c)
	l.crowd[c.network]++
	if len(l.open) <= l.size {
		return nil
	}
	old = l.open[0]
	for _, other := range l.open {
		if l.crowd[other.network] > l.crowd[old.network] {
			old = other
		}
	}
	l.remove(old)
	return old
}

// remove does not count a connection any more. The caller has the lock.
func (l *fairListener) remove(c *fairConn) {
	i := slices.Index(l.open, c)
	if i < 0 {
		return
	}
	l.open = slices.Delete(l.open, i, i+1)
	if l.crowd[c.network]--; l.crowd[c.network] == 0 {
		delete(l.crowd, c.network)
	}
}

// networkOf returns the network that a caller is counted with: /24 for IPv4, /56 for
// IPv6, which is what one customer is given as a rule.
func networkOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	addr, bits := tcp.AddrPort().Addr().Unmap(), 24
	if addr.Is6() {
		bits = 56
	}
	p, _ := addr.WithZone("").Prefix(bits)
	return p
}
