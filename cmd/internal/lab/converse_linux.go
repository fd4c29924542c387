package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// maxExchange is what fits into the socket buffers of a path, so that
// everything can be written before anything is read.
const maxExchange = 64 << 10

// Conversation is a long-lived TCP connection to a server that sends
// everything back. It shows whether connections survive what is done to
// their path.
type Conversation struct {
	conn    *net.TCPConn
	out, in *rand.ChaCha8 // the bytes sent and those to come back
	unsent  []byte
	awaited int           // sent and not yet come back
	done    chan struct{} // the server has ended
}

// Converse opens a conversation. It must be closed before its lab.
func (e Ends) Converse(ctx context.Context) (*Conversation, error) {
	streams, err := e.open(ctx, Load{Streams: 1})
	if err != nil {
		return nil, fmt.Errorf("open conversation: %w", err)
	}
	s := streams[0]
	c := &Conversation{conn: s.client, out: random(0), in: random(0), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		defer s.server.Close()
		_, _ = io.Copy(s.server, s.server) // the client sees any error
	}()
	return c, nil
}

// Exchange sends n more bytes, waits until all bytes sent so far are back
// and returns how long that took. After a timeout the conversation can go
// on: Exchange(ctx, 0) waits for what is under way.
func (c *Conversation) Exchange(ctx context.Context, n int) (time.Duration, error) {
	if n > maxExchange {
		return 0, fmt.Errorf("exchange %d bytes: more than %d", n, maxExchange)
	}
	start := time.Now()
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		return 0, fmt.Errorf("exchange %d bytes: %w", n, err)
	}
	defer context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(start) })()
	more := make([]byte, n)
	_, _ = c.out.Read(more) // never fails
	c.unsent = append(c.unsent, more...)
	if err := errors.Join(c.send(), c.receive()); err != nil {
		return 0, fmt.Errorf("exchange %d bytes: %w", n, errors.Join(context.Cause(ctx), err))
	}
	return time.Since(start), nil
}

func (c *Conversation) send() error {
	n, err := c.conn.Write(c.unsent)
	c.unsent = c.unsent[n:]
	c.awaited += n
	return err
}

func (c *Conversation) receive() error {
	got := make([]byte, c.awaited)
	n, err := io.ReadFull(c.conn, got)
	c.awaited -= n
	want := make([]byte, n)
	_, _ = c.in.Read(want) // never fails
	if !bytes.Equal(got[:n], want) {
		return ErrDamaged
	}
	return err
}

// Close ends the conversation at once, whatever is under way.
func (c *Conversation) Close() error {
	err := errors.Join(c.conn.SetLinger(0), c.conn.Close())
	<-c.done
	return err
}
