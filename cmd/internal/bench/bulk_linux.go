package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"vpnd/cmd/internal/lab"
)

// bulkRead is the room for one read of a bulk flow.
const bulkRead = 64 << 10

// dialPair opens a TCP connection from A to B, and returns both ends.
func dialPair(ctx context.Context, e lab.Ends) (a, b *net.TCPConn, err error) {
	l, err := e.Server.Listen(netip.AddrPortFrom(e.Dst, 0))
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	if a, err = e.Client.Dial(ctx, netip.Addr{}, l.Addr().(*net.TCPAddr).AddrPort()); err != nil {
		return nil, nil, err
	}
	if b, err = l.AcceptTCP(); err != nil {
		return nil, nil, errors.Join(context.Cause(ctx), err, a.Close())
	}
	return a, b, nil
}

// reset closes connections without what is still under way.
func reset(conns ...*net.TCPConn) {
	for _, c := range conns {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// bulk fills the way from A to B over one TCP connection until it is stopped.
type bulk struct {
	a, b     *net.TCPConn
	began    time.Time
	received atomic.Int64
	both     sync.WaitGroup
}

// startBulk sends the payload over and over, one write for each of its pieces, from
// piece first on.
func startBulk(ctx context.Context, e lab.Ends, payload [][]byte, first int) (*bulk, error) {
	l := &bulk{}
	var err error
	if l.a, l.b, err = dialPair(ctx, e); err != nil {
		return nil, fmt.Errorf("start bulk transfer: %w", err)
	}
	l.began = time.Now()
	l.both.Go(func() {
		for i := first; ; i++ {
			if _, err := l.a.Write(payload[i%len(payload)]); err != nil {
				return // stopped, or what arrives tells
			}
		}
	})
	l.both.Go(func() {
		buf := make([]byte, bulkRead)
		for {
			n, err := l.b.Read(buf)
			l.received.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	return l, nil
}

func (l *bulk) stop() {
	reset(l.a, l.b)
	l.both.Wait()
}

// rate returns the bit/s of payload that have arrived since the start. From then on it
// is never more than the way carries, as in a part of the time, when what a lost
// packet has held up comes at once.
func (l *bulk) rate() (float64, error) {
	n, elapsed := l.received.Load(), time.Since(l.began)
	if n == 0 {
		return 0, fmt.Errorf("nothing arrived in %v", elapsed.Round(time.Millisecond))
	}
	return float64(n) * 8 / elapsed.Seconds(), nil
}

// rates returns the bit/s of payload that arrive in each of the flows from now on.
func rates(ctx context.Context, d time.Duration, flows ...*bulk) ([]float64, error) {
	list := make([]float64, len(flows))
	for i, l := range flows {
		list[i] = -float64(l.received.Load())
	}
	begin := time.Now()
	if err := pause(ctx, d); err != nil {
		return nil, err
	}
	elapsed, sum := time.Since(begin).Seconds(), 0.0
	for i, l := range flows {
		list[i] = (list[i] + float64(l.received.Load())) * 8 / elapsed
		sum += list[i]
	}
	if sum == 0 {
		return nil, fmt.Errorf("nothing arrived in %v", d)
	}
	return list, nil
}

// pause waits while a measurement goes on.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
