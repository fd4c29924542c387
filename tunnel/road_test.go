package tunnel

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Ways a road can be.
const (
	roadOpen    = iota
	roadRefused // the server's host says no
	roadDead    // nothing comes back
)

// road leads callers to one server. It is the server's listener.
type road struct {
	arrived chan net.Conn
	closed  chan struct{}
	once    sync.Once

	mu    sync.Mutex
	state int
	pipes []*pipe
	dials []time.Time
}

func newRoad() *road {
	return &road{arrived: make(chan net.Conn, 1024), closed: make(chan struct{})}
}

// dial is the way of a client.
func (r *road) dial(ctx context.Context) (net.Conn, error) {
	return r.dialFrom(ctx, netip.MustParseAddr("192.0.2.1"))
}

func (r *road) dialFrom(ctx context.Context, from netip.Addr) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dials = append(r.dials, time.Now())
	switch r.state {
	case roadRefused:
		return nil, syscall.ECONNREFUSED
	case roadDead:
		r.mu.Unlock()
		<-ctx.Done()
		r.mu.Lock()
		return nil, ctx.Err()
	}
	client := netip.AddrPortFrom(from, uint16(1024+len(r.dials)))
	p := newPipe(net.TCPAddrFromAddrPort(client), r.Addr())
	r.pipes = append(r.pipes, p)
	r.arrived <- p.server
	return p.client, nil
}

// become changes how the road is for those who come.
func (r *road) become(state int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
}

// pipe returns the n-th connection that was made, or the last for -1.
func (r *road) pipe(n int) *pipe {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n < 0 {
		n += len(r.pipes)
	}
	return r.pipes[n]
}

// dialled returns when attempts were made.
func (r *road) dialled() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]time.Time(nil), r.dials...)
}

func (r *road) Accept() (net.Conn, error) {
	select {
	case c := <-r.arrived:
		return c, nil
	case <-r.closed:
		return nil, net.ErrClosed
	}
}

func (r *road) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

func (r *road) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("198.51.100.1:379"))
}

// caller makes a connection for a test's own use.
func (r *road) caller(t *testing.T) *pipeEnd {
	t.Helper()
	conn, err := r.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*pipeEnd)
}
