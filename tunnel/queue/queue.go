// Package queue holds the packets that wait for a link, and decides which of
// them leaves next and which is dropped.
package queue

import (
	"math"
	"sync"
)

// Buffer holds one packet.
type Buffer struct {
	// Bytes is the memory. Its length is the largest packet that fits in.
	Bytes []byte
	// N is the length of the packet.
	N int
}

// Packet returns the packet.
func (b *Buffer) Packet() []byte { return b.Bytes[:b.N] }

// Pool hands out buffers of one size and takes them back. The zero Pool is not
// usable; see NewPool.
type Pool struct {
	size int
	mu   sync.Mutex
	free []*Buffer
}

// NewPool returns a pool of buffers for packets of up to size bytes.
func NewPool(size int) *Pool { return &Pool{size: size} }

// Get fills the empty places of dst with buffers.
func (p *Pool) Get(dst []*Buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range dst {
		switch n := len(p.free); {
		case dst[i] != nil:
		case n > 0:
			dst[i], p.free = p.free[n-1], p.free[:n-1]
		default:
			dst[i] = &Buffer{Bytes: make([]byte, p.size)}
		}
	}
}

// put takes buffers back.
func (p *Pool) put(bs []*Buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, bs...)
}

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
	closed bool
}

// New returns a queue of at most limit bytes of buffers, which come from pool.
func New(pool *Pool, limit int) *Queue {
	return &Queue{
		pool:  pool,
		limit: max(1, limit/pool.size),
		ready: make(chan struct{}, 1),
	}
}

// Push takes the packets that find room and sets their places in packets to nil;
// the others stay the caller's. It returns how many it took.
func (q *Queue) Push(packets []*Buffer) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0
	}
	n := min(len(packets), q.limit-q.count)
	q.grow(q.count + n)
	for i, b := range packets[:n] {
		q.ring[(q.head+q.count+i)%len(q.ring)] = b
		packets[i] = nil
	}
	q.count += n
	if n > 0 {
		q.signal()
	}
	return n
}

// grow makes the ring long enough for n packets.
func (q *Queue) grow(n int) {
	if n <= len(q.ring) {
		return
	}
	ring := make([]*Buffer, min(q.limit, max(64, 2*n)))
	for i := range q.count {
		ring[i] = q.ring[(q.head+i)%len(q.ring)]
	}
	q.ring, q.head = ring, 0
}

func (q *Queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Ready receives a value when packets may be waiting.
func (q *Queue) Ready() <-chan struct{} { return q.ready }

// Pop appends waiting packets to dst, one behind the other, and returns dst and
// how many there are: as many as stay within most bytes together, but one in
// any case. Ready receives again when some are left.
func (q *Queue) Pop(dst []byte, most int) ([]byte, int) {
	var taken [64]*Buffer
	n := q.take(taken[:], most)
	for _, b := range taken[:n] {
		dst = append(dst, b.Packet()...)
	}
	q.pool.put(taken[:n])
	return dst, n
}

func (q *Queue) take(taken []*Buffer, most int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(taken) && q.count > 0 {
		b := q.ring[q.head]
		if most -= b.N; most < 0 && n > 0 {
			break
		}
		taken[n] = b
		n++
		q.ring[q.head] = nil
		q.head = (q.head + 1) % len(q.ring)
		q.count--
	}
	if q.count > 0 {
		q.signal()
	}
	return n
}

// MoveTo gives the packets that wait to another queue, as far as they find room
// there, and returns how many did not.
func (q *Queue) MoveTo(other *Queue) (lost int) {
	var taken [64]*Buffer
	for {
		n := q.take(taken[:], math.MaxInt)
		if n == 0 {
			return lost
		}
		lost += n - other.Push(taken[:n])
		left := taken[:0]
		for i, b := range taken[:n] {
			if taken[i] = nil; b != nil {
				left = append(left, b)
			}
		}
		q.pool.put(left)
	}
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
		q.pool.put(q.ring[(q.head+i)%len(q.ring):][:1])
	}
	q.ring, q.count, q.closed = nil, 0, true
	return left
}
