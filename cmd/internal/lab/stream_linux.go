package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// streamTick is how often datagrams of a stream leave. Timers are not more
	// precise on a busy machine.
	streamTick = 2 * time.Millisecond
	// streamBurst bounds what is made up for when this program was held up itself:
	// the rest is not sent, so that it does not count as lost.
	streamBurst = 50 * time.Millisecond
	// streamBuffer is the receiver's buffer: what it loses is not the way's loss.
	streamBuffer = 16 << 20
	// streamLate is how long the last datagrams may be on their way.
	streamLate = 2 * time.Second
)

// Stream is a load of UDP datagrams from client to server at a fixed rate.
type Stream struct {
	client, server *net.UDPConn
	size           int
	pace           float64 // datagrams a second
	began          time.Time
	sent, received atomic.Int64
	quit           chan struct{}
	sender         sync.WaitGroup
	receiver       sync.WaitGroup
	failed         error // of the sender, once it has ended
}

// Streamed is what became of a stream.
type Streamed struct {
	Sent, Received int64 // datagrams
	Elapsed        time.Duration
	size           int
}

// Lost returns the part of the datagrams that did not arrive.
func (s Streamed) Lost() float64 {
	if s.Sent == 0 {
		return 1
	}
	return 1 - float64(s.Received)/float64(s.Sent)
}

// Offered returns the bits per second of payload that were sent.
func (s Streamed) Offered() float64 { return s.rate(s.Sent) }

// Goodput returns the bits per second of payload that arrived.
func (s Streamed) Goodput() float64 { return s.rate(s.Received) }

func (s Streamed) rate(n int64) float64 {
	return float64(n*int64(s.size)*8) / s.Elapsed.Seconds()
}

// Stream starts a stream of datagrams with size bytes of payload, bits of payload
// in a second. The caller stops it.
func (e Ends) Stream(bits float64, size int) (*Stream, error) {
	s := &Stream{size: size, pace: bits / 8 / float64(size), quit: make(chan struct{})}
	if err := s.open(e); err != nil {
		return nil, fmt.Errorf("stream from %s to %s: %w", e.Client.name, e.Server.name, err)
	}
	s.began = time.Now()
	s.receiver.Go(s.receive)
	s.sender.Go(s.send)
	return s, nil
}

func (s *Stream) open(e Ends) error {
	err := e.Server.Do(func() (err error) {
		s.server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.Dst, 0)))
		return err
	})
	if err != nil {
		return err
	}
	err = e.Client.Do(func() (err error) {
		s.client, err = net.DialUDP("udp", nil, s.server.LocalAddr().(*net.UDPAddr))
		return err
	})
	if err != nil {
		return errors.Join(err, s.server.Close())
	}
	if err := forceBuffer(s.server); err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}

// forceBuffer sets the receive buffer beyond the limit for ordinary users.
func forceBuffer(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, streamBuffer)
	})
	if err := errors.Join(cerr, err); err != nil {
		return fmt.Errorf("set SO_RCVBUFFORCE: %w", err)
	}
	return nil
}

func (s *Stream) close() error { return errors.Join(s.client.Close(), s.server.Close()) }

// send sends what is due at each tick until it is told to quit.
func (s *Stream) send() {
	ticker := time.NewTicker(streamTick)
	defer ticker.Stop()
	payload := pattern(s.size)
	due, last := 0.0, time.Now()
	for {
		select {
		case <-s.quit:
			return
		case now := <-ticker.C:
			due += min(now.Sub(last), streamBurst).Seconds() * s.pace
			last = now
		}
		for ; due >= 1; due-- {
			s.sent.Add(1)
			if _, err := s.client.Write(payload); err != nil {
				s.failed = err // of one datagram, which counts as lost
			}
		}
	}
}

func (s *Stream) receive() {
	buf := make([]byte, maxPacket)
	for {
		n, err := s.server.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && n == s.size {
			s.received.Add(1)
		}
	}
}

// Stop ends the stream and returns what became of it, and an error if not one
// datagram arrived.
func (s *Stream) Stop() (Streamed, error) {
	close(s.quit)
	s.sender.Wait()
	out := Streamed{Sent: s.sent.Load(), Elapsed: time.Since(s.began), size: s.size}
	ctx, cancel := context.WithTimeout(context.Background(), streamLate)
	defer cancel()
	_ = poll(ctx, func() error { // the count tells
		if s.received.Load() < out.Sent {
			return errors.New("some are missing")
		}
		return nil
	})
	err := s.close()
	s.receiver.Wait()
	out.Received = s.received.Load()
	if out.Received == 0 {
		err = errors.Join(err, errors.New("stream: no datagram arrived"), s.failed)
	}
	return out, err
}
