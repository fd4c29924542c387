package main

import (
	"net"
	"net/netip"
	"sync"

	"vpnd/tunnel/lobby"
)

// fairListener bounds how many connections are open. With one more than that another one
// is closed, by the rule of lobby.Room.
type fairListener struct {
	net.Listener
	mu   sync.Mutex
	room lobby.Room
}

// fairConn is a connection that counts until it is closed.
type fairConn struct {
	net.Conn
	listener *fairListener
	place    *lobby.Place
}

func newFairListener(l net.Listener, size int) *fairListener {
	return &fairListener{Listener: l, room: lobby.NewRoom(size)}
}

// Accept returns the next connection, for which another one may have been closed.
func (l *fairListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	var from netip.Addr
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		from = tcp.AddrPort().Addr()
	}
	c := &fairConn{conn, l, lobby.NewPlace(from, func() { conn.Close() })}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room.Add(c.place)
	return c, nil
}

// Close closes the connection. A second time does no harm.
func (c *fairConn) Close() error {
	c.listener.mu.Lock()
	c.listener.room.Remove(c.place)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}
