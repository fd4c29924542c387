package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// bulkRead is the room for one read: what a full receive buffer holds.
const bulkRead = 1 << 20

// Bulk says what a Pour sends: as much as passes.
type Bulk struct {
	Time    time.Duration
	Streams int  // connections at once, 0 is 1
	Down    bool // from server to client
	// Payload is what the connections send over and over, one write for each. It
	// is only read.
	Payload [][]byte
}

// Pour fills the way over TCP for a time, and returns what arrived in it. Unlike
// Transfer it does not look at the bytes, so that it is never what limits the
// rate. What is under way at the end is thrown away.
func (e Ends) Pour(ctx context.Context, b Bulk) (Flow, error) {
	streams, err := e.open(ctx, Load{Streams: max(b.Streams, 1)})
	defer resetStreams(streams)
	var flow Flow
	if err == nil {
		flow, err = b.run(ctx, streams)
	}
	if err != nil {
		return flow, fmt.Errorf("bulk between %s and %s: %w", e.Client.name, e.Server.name, err)
	}
	return flow, nil
}

func (b Bulk) run(ctx context.Context, streams []stream) (Flow, error) {
	start := time.Now() // not later: what passes from here on counts for the whole time
	limited, cancel := context.WithTimeout(ctx, b.Time)
	defer cancel()
	defer context.AfterFunc(limited, func() { interrupt(streams) })()
	var received atomic.Int64
	errs := make([]error, 2*len(streams))
	var wg sync.WaitGroup
	for i, s := range streams {
		from, to := s.client, s.server
		if b.Down {
			from, to = to, from
		}
		wg.Go(func() { errs[2*i] = b.pump(from) })
		wg.Go(func() { errs[2*i+1] = drain(to, &received) })
	}
	wg.Wait()
	flow := Flow{Bytes: received.Load(), Elapsed: time.Since(start)}
	return flow, errors.Join(append(errs, context.Cause(ctx))...)
}

// pump sends until it is interrupted.
func (b Bulk) pump(to *net.TCPConn) error {
	for i := 0; ; i++ {
		if _, err := to.Write(b.Payload[i%len(b.Payload)]); err != nil {
			return unlessInterrupted(err)
		}
	}
}

// drain counts what comes until it is interrupted.
func drain(from *net.TCPConn, received *atomic.Int64) error {
	buf := make([]byte, bulkRead)
	for {
		n, err := from.Read(buf)
		received.Add(int64(n))
		if err != nil {
			return unlessInterrupted(err)
		}
	}
}

// interrupt makes reads and writes on both ends fail from now on.
func interrupt(streams []stream) {
	for _, s := range streams {
		_ = s.client.SetDeadline(time.Unix(1, 0))
		_ = s.server.SetDeadline(time.Unix(1, 0))
	}
}

func unlessInterrupted(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// resetStreams closes both ends at once. Neither tries to get rid of what it
// still holds.
func resetStreams(streams []stream) {
	for _, s := range streams {
		_ = s.client.SetLinger(0)
		_ = s.server.SetLinger(0)
	}
	closeStreams(streams)
}
