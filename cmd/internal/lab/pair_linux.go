package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// relayChunk is the most a relay reads at once.
const relayChunk = 64 << 10

// errReset ends a pair with a RST to both ends.
var errReset = errors.New("reset")

// Direction tells the two directions of a connection apart.
type Direction int

// Up is from the client to the target, Down is back.
const (
	Up Direction = iota
	Down
)

// Chunk is some bytes on their way through a relay.
type Chunk struct {
	Conn      int // 0 is the first connection accepted
	Direction Direction
	Offset    int64  // of Data in what the sender sent
	Data      []byte // valid until the tap returns
}

// Tap sees each chunk and returns what goes on instead, such as Data itself,
// altered or shortened in place. With io.EOF that is the last of the
// connection, which is closed in good order; any other error resets it. Taps
// of different connections and directions run concurrently.
type Tap func(Chunk) ([]byte, error)

// FlipBit returns a tap that changes one bit at offset of one direction of
// the connection conn.
func FlipBit(conn int, d Direction, offset int64) Tap {
	return func(c Chunk) ([]byte, error) {
		if i := offset - c.Offset; c.at(conn, d) && i >= 0 && i < int64(len(c.Data)) {
			c.Data[i] ^= 1
		}
		return c.Data, nil
	}
}

// Truncate returns a tap that closes the connection conn in good order after
// offset bytes of one direction.
func Truncate(conn int, d Direction, offset int64) Tap {
	return func(c Chunk) ([]byte, error) {
		if i := max(offset-c.Offset, 0); c.at(conn, d) && i <= int64(len(c.Data)) {
			return c.Data[:i], io.EOF
		}
		return c.Data, nil
	}
}

func (c Chunk) at(conn int, d Direction) bool {
	return c.Conn == conn && c.Direction == d
}

// pair is the two halves of a relayed connection.
type pair struct {
	relay  *Relay
	number int
	client *net.TCPConn
	lost   atomic.Bool // a black hole
	ctx    context.Context
	end    context.CancelCauseFunc // io.EOF: in good order
}

// carry connects to the target, passes bytes until both directions are done
// or the pair is ended, and closes both halves.
func (p *pair) carry() {
	server, err := p.relay.ns.Dial(p.ctx, netip.Addr{}, p.relay.target)
	if err != nil {
		closeWith(err, p.client)
		return
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(p.ctx, func() {
		closeWith(context.Cause(p.ctx), p.client, server)
		close(ended)
	})
	var wg sync.WaitGroup
	wg.Go(func() { p.pump(Up, p.client, server) })
	wg.Go(func() { p.pump(Down, server, p.client) })
	wg.Wait()
	if stop() {
		closeWith(io.EOF, p.client, server)
	} else {
		<-ended
	}
}

// closeWith closes in good order after io.EOF, else with a RST.
func closeWith(cause error, conns ...*net.TCPConn) {
	for _, c := range conns {
		if cause != io.EOF {
			_ = c.SetLinger(0)
		}
		_ = c.Close()
	}
}

// pump passes one direction. The sender's end or reset is passed on too.
func (p *pair) pump(d Direction, from, to *net.TCPConn) {
	buf := make([]byte, relayChunk)
	for offset := int64(0); ; {
		n, err := from.Read(buf)
		if n > 0 {
			if err := p.pass(to, Chunk{p.number, d, offset, buf[:n]}); err != nil {
				p.end(err)
				return
			}
			offset += int64(n)
		}
		switch {
		case err == nil:
		case p.lost.Load(): // not even the end gets through
			return
		case err == io.EOF:
			_ = to.CloseWrite()
			return
		default:
			p.end(err)
			return
		}
	}
}

// pass hands one chunk on as the relay's settings have it.
func (p *pair) pass(to *net.TCPConn, c Chunk) error {
	tap, delay, gate := p.relay.way()
	var tapErr error
	if tap != nil {
		c.Data, tapErr = tap(c)
	}
	if err := p.wait(delay, gate); err != nil {
		return err
	}
	if p.lost.Load() {
		return nil
	}
	n, err := to.Write(c.Data)
	p.relay.count(c.Direction, n)
	if tapErr != nil {
		return tapErr
	}
	return err
}

func (p *pair) wait(delay time.Duration, gate <-chan struct{}) error {
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
	}
	if gate != nil {
		select {
		case <-gate:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
	}
	return nil
}
