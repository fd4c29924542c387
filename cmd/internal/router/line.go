package router

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// DefaultQueue is how many packets wait in a Way that does not say.
const DefaultQueue = 50

// Way is what happens to the packets of one direction.
type Way struct {
	// Rate is in bit/s of IP packets, headers included. 0 is as fast as can be.
	Rate int64
	// Delay is added when the last bit of a packet has left.
	Delay time.Duration
	// Loss is the probability that a packet which has left does not arrive.
	Loss float64
	// Queue is how many packets wait, the one that is leaving not counted. One more
	// is dropped. 0 is DefaultQueue.
	Queue int
	// Seed decides which packets are lost.
	Seed uint64
}

func (w Way) check() error {
	switch {
	case w.Rate < 0:
		return fmt.Errorf("rate of %d bit/s: it takes 0 or more", w.Rate)
	case w.Delay < 0:
		return fmt.Errorf("delay of %v: it takes 0 or more", w.Delay)
	case !(w.Loss >= 0 && w.Loss <= 1):
		return fmt.Errorf("loss of %v: it takes 0 to 1", w.Loss)
	case w.Queue < 0:
		return fmt.Errorf("queue of %d packets: it takes 0 or more", w.Queue)
	}
	return nil
}

// Reasons for which a packet does not arrive.
var (
	errFull = errors.New("queue is full")
	errLost = errors.New("lost")
)

// line is a Way at work. It has no clock: it is told the time, and says when what it
// was given is due at the other end.
type line struct {
	way    Way
	random *rand.Rand

	free    time.Time   // when the last bit of all that was accepted has left
	residue int64       // what rounding has taken from free, in 1/rate of a nanosecond
	begins  []time.Time // of the packets that wait
	sent    []parcel    // in the order in which they are due
}

// parcel is a packet that will arrive.
type parcel struct {
	packet []byte
	due    time.Time
}

func newLine(w Way) *line {
	if w.Queue == 0 {
		w.Queue = DefaultQueue
	}
	return &line{way: w, random: rand.New(rand.NewPCG(w.Seed, 0))}
}

// accept takes a packet, and keeps it, or says why it does not arrive.
func (l *line) accept(packet []byte, now time.Time) error {
	if l.waiting(now) >= l.way.Queue {
		return errFull
	}
	begin := l.free
	if !begin.After(now) {
		begin, l.residue = now, 0
	} else {
		l.begins = append(l.begins, begin)
	}
	l.free = begin.Add(l.duration(len(packet)))
	if l.way.Loss > 0 && l.random.Float64() < l.way.Loss {
		return errLost
	}
	l.sent = append(l.sent, parcel{packet, l.free.Add(l.way.Delay)})
	return nil
}

// waiting returns how many packets have not begun to leave.
func (l *line) waiting(now time.Time) int {
	for len(l.begins) > 0 && !l.begins[0].After(now) {
		l.begins = l.begins[1:]
	}
	return len(l.begins)
}

// duration returns how long the next packet takes to leave.
func (l *line) duration(size int) time.Duration {
	if l.way.Rate == 0 {
		return 0
	}
	work := int64(size)*8*int64(time.Second) + l.residue
	l.residue = work % l.way.Rate
	return time.Duration(work / l.way.Rate)
}

// next returns when the next packet is due.
func (l *line) next() (due time.Time, ok bool) {
	if len(l.sent) == 0 {
		return time.Time{}, false
	}
	return l.sent[0].due, true
}

// take returns the next packet if it is due.
func (l *line) take(now time.Time) (p parcel, ok bool) {
	if len(l.sent) == 0 || l.sent[0].due.After(now) {
		return parcel{}, false
	}
	p, l.sent[0] = l.sent[0], parcel{} // the slice does not hold on to the bytes
	l.sent = l.sent[1:]
	return p, true
}
