// Package queue holds the packets that wait for a link, and decides which of
// them leaves next and which is dropped.
package queue

import (
	"math"
	"sync"
)

// Queue is a bounded line of packets, first in, first out. One goroutine pushes,
// another pops.
type Queue struct {
	pool  *Pool
	limit int
	ready chan struct{}

	mu     sync.Mutex
	ring   []*Buffer
	head   int
	count  int
	bytes  int // of memory that waits
	closed bool
}

// New returns a queue of at most limit bytes of buffers, but one in any case, which
// come from pool.
func New(pool *Pool, limit int) *Queue {
	return &Queue{pool: pool, limit: limit, ready: make(chan struct{}, 1)}
}

// Push takes a buffer if there is room, and reports whether it did; otherwise it
// stays the caller's. Who pops is not told, see Wake.
func (q *Queue) Push(b *Buffer) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := len(b.Bytes)
	if q.closed || q.count > 0 && q.bytes+size > q.limit {
		return false
	}
	if q.count == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.count)%len(q.ring)] = b
	q.count++
	q.bytes += size
	return true
}

// grow doubles the ring.
func (q *Queue) grow() {
	ring := make([]*Buffer, max(64, 2*len(q.ring)))
	for i := range q.count {
		ring[i] = q.ring[(q.head+i)%len(q.ring)]
	}
	q.ring, q.head = ring, 0
}

// Wake makes Ready receive.
func (q *Queue) Wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Ready receives a value when packets may be waiting, after Wake.
func (q *Queue) Ready() <-chan struct{} { return q.ready }

// Pop appends waiting packets to dst, one behind the other, and returns dst and
// how many there are: as many as stay within most bytes together, but one in
// any case. Ready receives again when some are left. If whole is true it is what a
// Whole buffer holds, alone.
func (q *Queue) Pop(dst []byte, most int) (block []byte, n int, whole bool) {
	var taken [64]*Buffer
	n = q.take(taken[:], most)
	for _, b := range taken[:n] {
		dst = append(dst, b.Packet()...)
		whole = b.Whole
	}
	q.pool.Put(taken[:n]...)
	return dst, n, whole
}

func (q *Queue) take(taken []*Buffer, most int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(taken) && q.count > 0 {
		b := q.ring[q.head]
		if most -= b.N; n > 0 && (most < 0 || b.Whole) {
			break
		}
		taken[n] = b
		n++
		q.ring[q.head] = nil
		q.head = (q.head + 1) % len(q.ring)
		q.count--
		q.bytes -= len(b.Bytes)
		if b.Whole {
			break
		}
	}
	if q.count > 0 {
		q.Wake()
	}
	return n
}

// MoveTo gives the packets that wait to another queue, as far as they find room
// there, wakes who pops them, and returns how many did not.
func (q *Queue) MoveTo(other *Queue) (lost int) {
	var taken [1]*Buffer
	for q.take(taken[:], math.MaxInt) > 0 {
		if !other.Push(taken[0]) {
			q.pool.Put(taken[0])
			lost++
		}
	}
	other.Wake()
	return lost
}

// Len returns the number of packets that wait.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// Close ends the queue: nothing is taken any more. It returns how many packets
// were waiting and are lost.
func (q *Queue) Close() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := q.count
	for i := range left {
		q.pool.Put(q.ring[(q.head+i)%len(q.ring)])
	}
	q.ring, q.count, q.bytes, q.closed = nil, 0, 0, true
	return left
}
