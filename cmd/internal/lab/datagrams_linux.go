package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"
)

const (
	// datagramTries is how often each size is sent before it is missing.
	datagramTries = 5
	// datagramPatience is how long echoes of a batch are waited for after
	// the last one: longer than a busy machine makes the server wait.
	datagramPatience = time.Second
	// A batch must fit into the receive buffers of both ends.
	batchSizes = 16
	batchBytes = 32 << 10
)

// Datagrams is the outcome of a sweep over datagram sizes.
type Datagrams struct {
	Echoed  int   // sizes that came back unchanged
	Retries int   // datagrams sent again
	Missing []int // sizes that never came back
	Damaged []int // sizes that came back changed
}

// Datagrams sends a UDP datagram of every size from smallest to largest to a
// server that sends it back. It fails if a size stays missing after some
// tries, or with ErrDamaged if one comes back changed.
func (e Ends) Datagrams(ctx context.Context, smallest, largest int) (Datagrams, error) {
	return e.sweep(ctx, smallest, largest, func(p []byte) []byte { return p })
}

// sweep is Datagrams with a server that answers with reply(p), or not at all
// if that is nil.
func (e Ends) sweep(ctx context.Context, smallest, largest int, reply func([]byte) []byte) (Datagrams, error) {
	s, err := e.newSweep(reply)
	if err != nil {
		return Datagrams{}, fmt.Errorf("send datagrams: %w", err)
	}
	defer s.close()
	for size := smallest; size <= largest && ctx.Err() == nil; {
		batch := nextBatch(size, largest)
		s.run(ctx, batch)
		size += len(batch)
	}
	return s.Datagrams, s.err(ctx)
}

// nextBatch returns the sizes from size on that are sent at once.
func nextBatch(size, largest int) []int {
	var batch []int
	for sum := 0; size <= largest && len(batch) < batchSizes; size++ {
		if sum += size; sum > batchBytes && len(batch) > 0 {
			break
		}
		batch = append(batch, size)
	}
	return batch
}

type sweep struct {
	Datagrams
	client, server *net.UDPConn
	buf            []byte
	last           error // of sending, or from ICMP
	done           chan struct{}
}

func (e Ends) newSweep(reply func([]byte) []byte) (*sweep, error) {
	s := &sweep{buf: make([]byte, maxPacket), done: make(chan struct{})}
	err := e.Server.Do(func() (err error) {
		s.server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.Dst, 0)))
		return err
	})
	if err != nil {
		return nil, err
	}
	err = e.Client.Do(func() (err error) {
		var src *net.UDPAddr
		if e.Src.IsValid() {
			src = net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.Src, 0))
		}
		s.client, err = net.DialUDP("udp", src, s.server.LocalAddr().(*net.UDPAddr))
		return err
	})
	if err != nil {
		return nil, errors.Join(err, s.server.Close())
	}
	go s.answer(reply)
	return s, nil
}

func (s *sweep) close() {
	_ = s.client.Close()
	_ = s.server.Close()
	<-s.done
}

func (s *sweep) answer(reply func([]byte) []byte) {
	defer close(s.done)
	buf := make([]byte, maxPacket)
	for {
		n, from, err := s.server.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if p := reply(buf[:n]); err == nil && p != nil {
			_, _ = s.server.WriteToUDPAddrPort(p, from) // may be lost, as on the way
		}
	}
}

// run sends the sizes of one batch until all are back or tries run out.
func (s *sweep) run(ctx context.Context, batch []int) {
	open := slices.Clone(batch)
	for try := 0; try < datagramTries && len(open) > 0 && ctx.Err() == nil; try++ {
		if try > 0 {
			s.Retries += len(open)
		}
		for _, size := range open {
			if _, err := s.client.Write(pattern(size)); err != nil {
				s.last = err
			}
		}
		open = s.collect(ctx, open)
	}
	s.Missing = append(s.Missing, open...)
	s.Echoed += len(batch) - len(open)
}

// collect reads echoes until all open sizes are back or none comes for a
// while, and returns what is still open.
func (s *sweep) collect(ctx context.Context, open []int) []int {
	for len(open) > 0 && ctx.Err() == nil {
		_ = s.client.SetReadDeadline(time.Now().Add(datagramPatience)) // Read tells
		n, err := s.client.Read(s.buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil { // an ICMP error, reported once
			s.last = err
			continue
		}
		if !bytes.Equal(s.buf[:n], pattern(n)) {
			s.Damaged = append(s.Damaged, n)
		}
		open = slices.DeleteFunc(open, func(size int) bool { return size == n })
	}
	return open
}

func (s *sweep) err(ctx context.Context) error {
	var errs []error
	if ctx.Err() != nil {
		errs = append(errs, context.Cause(ctx))
	}
	if len(s.Missing) > 0 {
		errs = append(errs, fmt.Errorf("no echo of %d sizes: %s", len(s.Missing), ranges(s.Missing)), s.last)
	}
	if len(s.Damaged) > 0 {
		errs = append(errs, fmt.Errorf("%w: sizes %s", ErrDamaged, ranges(s.Damaged)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("send datagrams: %w", err)
	}
	return nil
}

// ranges writes sorted numbers as "1-3, 7".
func ranges(numbers []int) string {
	var text []byte
	for i := 0; i < len(numbers); {
		last := i
		for last+1 < len(numbers) && numbers[last+1] == numbers[last]+1 {
			last++
		}
		if i > 0 {
			text = append(text, ", "...)
		}
		text = fmt.Append(text, numbers[i])
		if last > i {
			text = fmt.Appendf(text, "-%d", numbers[last])
		}
		i = last + 1
	}
	return string(text)
}
