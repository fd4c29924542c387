// Package serialtest is a serial line for tests: two ends with a wire between
// them that has a speed, a delay and faults. It keeps the time of package time,
// so that under testing/synctest hours pass in no time. Bridge joins an end with a
// pseudo terminal, for programs that open a device.
package serialtest

import (
	"bytes"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Wire is what the line does to bytes. The zero Wire passes them at once.
type Wire struct {
	// Rate in bit/s; a byte takes ten bits. 0 is as fast as can be.
	Rate int
	// Latency is added to the time that the bits take.
	Latency time.Duration
	// BitErrors is the probability that a bit arrives wrong.
	BitErrors float64
	// Pause, if not 0, is the mean time between bursts: stretches of nothing but
	// noise, which last from BurstMin to BurstMax.
	Pause, BurstMin, BurstMax time.Duration
	// Eaten are bytes that do not arrive.
	Eaten []byte
	// HalfDuplex destroys what both ends send at the same time.
	HalfDuplex bool
	// Modem is how many bytes a modem takes at once and keeps until the wire has
	// sent them. Waiting knows nothing of them.
	Modem int
}

// Line is a line with two ends.
type Line struct {
	A, B *End

	mu     sync.Mutex
	change sync.Cond
	wire   Wire
	random *rand.Rand
	closed bool
	done   sync.WaitGroup

	burst, calm time.Time // begin of the next burst, and its end
}

// New returns a line. The seed decides on all that happens by chance.
func New(wire Wire, seed uint64) *Line {
	l := &Line{wire: wire, random: rand.New(rand.NewPCG(seed, 0))}
	l.change.L = &l.mu
	l.A, l.B = &End{line: l}, &End{line: l}
	l.A.peer, l.B.peer = l.B, l.A
	l.done.Go(l.A.transmit)
	l.done.Go(l.B.transmit)
	return l
}

// do changes something and wakes whoever waits for that.
func (l *Line) do(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	l.change.Broadcast()
}

// Set changes the wire.
func (l *Line) Set(wire Wire) { l.do(func() { l.wire, l.burst = wire, time.Time{} }) }

// Hangup breaks the line: both ends can read what has arrived, and then get err.
// What is on the way is lost. nil makes the line whole again.
func (l *Line) Hangup(err error) {
	l.do(func() {
		for _, e := range []*End{l.A, l.B} {
			e.broken, e.out, e.modem, e.sent = err, nil, nil, nil
		}
	})
}

// Close ends the line, closes its ends and waits for its goroutines.
func (l *Line) Close() {
	l.A.Close()
	l.B.Close()
	l.do(func() { l.closed = true })
	l.done.Wait()
}

// chunk is how long the wire is held by one end at most.
const chunk = 2 * time.Millisecond

// duration returns how long n bytes take.
func (w Wire) duration(n int) time.Duration {
	if w.Rate == 0 {
		return 0
	}
	return time.Duration(float64(n) * 10 / float64(w.Rate) * float64(time.Second))
}

// bytes returns how many bytes the wire takes at once.
func (w Wire) bytes() int {
	if w.Rate == 0 {
		return math.MaxInt
	}
	return max(1, int(float64(w.Rate)/10*chunk.Seconds()))
}

// spoil does to bytes what the wire does, and returns what is left of them.
func (l *Line) spoil(b []byte, now time.Time, collided bool) []byte {
	if collided || l.inBurst(now) {
		for i := range b {
			b[i] = byte(l.random.Uint32())
		}
		return b
	}
	if l.wire.BitErrors > 0 {
		wrong := 1 - math.Pow(1-l.wire.BitErrors, 8)
		for i := range b {
			if l.random.Float64() < wrong {
				b[i] ^= 1 << l.random.IntN(8)
			}
		}
	}
	left := b[:0]
	for _, c := range b {
		if bytes.IndexByte(l.wire.Eaten, c) < 0 {
			left = append(left, c)
		}
	}
	return left
}

func (l *Line) inBurst(now time.Time) bool {
	if l.wire.Pause == 0 {
		return false
	}
	if l.burst.IsZero() || now.After(l.calm) {
		l.burst = now.Add(time.Duration(l.random.ExpFloat64() * float64(l.wire.Pause)))
		l.calm = l.burst.Add(l.wire.BurstMin + time.Duration(l.random.Float64()*float64(l.wire.BurstMax-l.wire.BurstMin)))
	}
	return now.After(l.burst)
}

// Bridge joins an end with a stream, the far end of a pseudo terminal as a rule,
// until one of them ends. It closes both.
func Bridge(e *End, stream io.ReadWriteCloser) {
	var both sync.WaitGroup
	both.Go(func() {
		io.Copy(e, stream)
		e.Close()
	})
	both.Go(func() {
		io.Copy(stream, e)
		stream.Close()
	})
	both.Wait()
}
