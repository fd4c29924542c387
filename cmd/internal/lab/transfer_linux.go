package lab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// ErrDamaged says that bytes came out other than they went in.
var ErrDamaged = errors.New("data damaged on the way")

// Load says what a Transfer moves.
type Load struct {
	Up, Down int64   // bytes from client to server and back, at once
	Streams  int     // connections that share them, 0 is 1
	Content  Content // nil is Random
	// Via, if not nil, is told where the server listens and returns where
	// the client connects: the place for a Relay.
	Via func(server netip.AddrPort) (netip.AddrPort, error)
}

// Moved is the outcome of a Transfer.
type Moved struct {
	Up, Down Flow
}

// Flow is what went in one direction.
type Flow struct {
	Bytes   int64
	Elapsed time.Duration // until the last byte was received
}

// Rate returns bytes per second.
func (f Flow) Rate() float64 {
	if f.Elapsed <= 0 {
		return 0
	}
	return float64(f.Bytes) / f.Elapsed.Seconds()
}

// Transfer moves the load over TCP. It fails with ErrDamaged if number or
// SHA-256 of the bytes received differ from those sent.
func (e Ends) Transfer(ctx context.Context, load Load) (Moved, error) {
	load.Streams = max(load.Streams, 1)
	if load.Content == nil {
		load.Content = Random
	}
	streams, err := e.open(ctx, load)
	defer closeStreams(streams)
	var moved Moved
	if err == nil {
		moved, err = runAll(ctx, streams, load.flows(streams))
	}
	if err != nil {
		return moved, fmt.Errorf("transfer from %s to %s: %w", e.Client.name, e.Server.name, err)
	}
	return moved, nil
}

// runAll runs the flows at once. One that fails does not end the others,
// which have their own story to tell.
func runAll(ctx context.Context, streams []stream, flows []flow) (Moved, error) {
	defer context.AfterFunc(ctx, func() { closeStreams(streams) })()
	start := time.Now()
	var wg sync.WaitGroup
	for i := range flows {
		wg.Go(func() { flows[i].run(start) })
	}
	wg.Wait()
	moved, err := sum(flows)
	if err != nil && ctx.Err() != nil {
		// Not wrapped: what was cut short is not damaged.
		err = fmt.Errorf("%w: %v", context.Cause(ctx), err)
	}
	return moved, err
}

// stream is both ends of one connection.
type stream struct {
	client, server *net.TCPConn
}

// open makes the connections one after the other, so that the ends of each
// are known to belong together.
func (e Ends) open(ctx context.Context, load Load) (streams []stream, err error) {
	ln, err := e.Server.Listen(netip.AddrPortFrom(e.Dst, 0))
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	target := ln.Addr().(*net.TCPAddr).AddrPort()
	if load.Via != nil {
		if target, err = load.Via(target); err != nil {
			return nil, err
		}
	}
	for range load.Streams {
		var s stream
		if s.client, err = e.Client.Dial(ctx, e.Src, target); err != nil {
			return streams, err
		}
		if s.server, err = ln.AcceptTCP(); err != nil {
			_ = s.client.Close()
			return streams, errors.Join(context.Cause(ctx), err)
		}
		streams = append(streams, s)
	}
	return streams, nil
}

func closeStreams(streams []stream) {
	for _, s := range streams {
		_ = s.client.Close()
		_ = s.server.Close()
	}
}

// flow is one direction of one stream.
type flow struct {
	name     string
	up       bool
	from, to *net.TCPConn
	bytes    int64
	content  io.Reader
	elapsed  time.Duration
	err      error
}

func (l Load) flows(streams []stream) []flow {
	var flows []flow
	for i, s := range streams {
		up := flow{name: fmt.Sprintf("stream %d up", i), up: true, from: s.client, to: s.server,
			bytes: share(l.Up, len(streams), i), content: l.Content(uint64(2 * i))}
		down := flow{name: fmt.Sprintf("stream %d down", i), from: s.server, to: s.client,
			bytes: share(l.Down, len(streams), i), content: l.Content(uint64(2*i + 1))}
		flows = append(flows, up, down)
	}
	return flows
}

// share returns the i-th of n nearly equal parts of total.
func share(total int64, n, i int) int64 {
	part := total / int64(n)
	if int64(i) < total%int64(n) {
		part++
	}
	return part
}

// run sends and receives the flow, compares, and sets elapsed and err.
func (f *flow) run(start time.Time) {
	var sent digest
	var sendErr error
	var wg sync.WaitGroup
	wg.Go(func() { sent, sendErr = f.send() })
	got, err := digestOf(io.Discard, f.to)
	f.elapsed = time.Since(start)
	wg.Wait()
	if err == nil && sent != got {
		err = fmt.Errorf("%w: sent %s, received %s", ErrDamaged, sent, got)
	}
	if err = errors.Join(err, sendErr); err != nil {
		f.err = fmt.Errorf("%s: %w", f.name, err)
	}
}

func (f *flow) send() (digest, error) {
	sent, err := digestOf(f.from, io.LimitReader(f.content, f.bytes))
	if err == nil && sent.bytes < f.bytes {
		err = fmt.Errorf("content ends after %d of %d bytes", sent.bytes, f.bytes)
	}
	return sent, errors.Join(err, f.from.CloseWrite())
}

// digest identifies a run of bytes.
type digest struct {
	bytes int64
	sha   [sha256.Size]byte
}

func (d digest) String() string {
	return fmt.Sprintf("%d bytes (sha256 %x)", d.bytes, d.sha[:8])
}

// digestOf copies src to dst and returns what was copied.
func digestOf(dst io.Writer, src io.Reader) (digest, error) {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, dst), src)
	return digest{bytes: n, sha: [sha256.Size]byte(h.Sum(nil))}, err
}

func sum(flows []flow) (m Moved, err error) {
	var errs []error
	for _, f := range flows {
		total := &m.Down
		if f.up {
			total = &m.Up
		}
		total.Bytes += f.bytes
		total.Elapsed = max(total.Elapsed, f.elapsed)
		errs = append(errs, f.err)
	}
	return m, errors.Join(errs...)
}
