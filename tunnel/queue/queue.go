// Package queue holds the packets that wait for a link, and decides which of them
// leaves next and which is dropped: FQ-CoDel (RFC 8290). Each conversation is a flow
// with a queue of its own. Flows take turns by bytes, those that have just begun to
// send before the others, so that a keystroke does not wait behind a file; and a
// flow whose packets wait too long has one marked or dropped now and then, so that
// its sender slows down (RFC 8289).
package queue

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// flows is how many conversations are told apart, in sets of ways places: a hash chooses
	// the set, and two conversations share a place only when their set is full.
	flows = sets * ways
	sets  = 128
	ways  = 8
	// leastPackets may wait in any case on a line whose rate is known, and else what it
	// sends in longest: more would be too old before its turn comes.
	leastPackets = 64
	longest      = 2 * time.Second
)

// Queue is a bounded set of packets that wait. One goroutine pushes, another pops.
type Queue struct {
	pool  *Pool
	most  int // bytes of buffers, on a fast line
	mtu   int
	front int // bytes before the packet in a Whole buffer
	seed  [2]uint64
	began time.Time
	ready chan struct{}

	mu       sync.Mutex
	limit    int  // bytes of buffers
	slow     bool // a long batch keeps others waiting
	patience patience
	flows    []flow // nil before the first packet
	young    list   // flows that have just begun
	old      list
	count    int
	bytes    int // of memory that waits
	closed   bool
}

// New returns a queue of at most limit bytes of buffers, but one in any case, which
// come from pool. Packets are mtu bytes long at most; in a Whole buffer one stands
// behind front bytes of something else.
func New(pool *Pool, limit, mtu, front int) *Queue {
	return &Queue{
		pool:     pool,
		most:     limit,
		mtu:      mtu,
		front:    front,
		seed:     [2]uint64{rand.Uint64(), rand.Uint64()},
		began:    time.Now(),
		ready:    make(chan struct{}, 1),
		limit:    limit,
		patience: patienceFor(0),
	}
}

// SetRate says how many bytes the line takes in a second; 0 is more than anybody
// waits for.
func (q *Queue) SetRate(rate int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit, q.patience, q.slow = q.most, patienceFor(0), rate > 0
	if q.slow {
		q.limit = min(q.most, max(leastPackets*q.mtu, int(longest.Seconds()*float64(rate))))
		q.patience = patienceFor(time.Duration(q.mtu) * time.Second / time.Duration(rate))
	}
}

// Push takes a buffer, unless the queue is closed: then it stays the caller's. It
// returns how many packets had to make room, the oldest of those who have most. Who
// pops is not told, see Wake.
func (q *Queue) Push(b *Buffer) (dropped int, ok bool) {
	now := time.Since(q.began)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, false
	}
	if q.flows == nil {
		q.flows = make([]flow, flows)
	}
	b.came = now
	f := q.flow(hash(q.packet(b), q.seed))
	f.push(b)
	q.count++
	q.bytes += len(b.Bytes)
	if !f.listed {
		f.listed, f.credit = true, int32(q.mtu)
		q.young.push(f)
	}
	for q.bytes > q.limit && q.count > 1 {
		dropped += q.relieve()
	}
	return dropped, true
}

// flow returns the place of the conversation with a hash: the one it has, or a free one of
// its set, or one that it shares, as long as its packets may wait there.
func (q *Queue) flow(hash uint64) *flow {
	set := q.flows[hash%sets*ways:][:ways]
	common, free := &set[hash>>32%ways], (*flow)(nil)
	for i := range set {
		switch f := &set[i]; {
		case f.hash == hash:
			return f
		case free == nil && !f.listed:
			free = f
		}
	}
	if free == nil || common.shared {
		common.shared = true
		return common
	}
	*free = flow{hash: hash}
	return free
}

// packet returns the packet in a buffer.
func (q *Queue) packet(b *Buffer) []byte {
	if b.Whole {
		return b.Bytes[min(q.front, b.N):b.N]
	}
	return b.Bytes[:b.N]
}

// relieve drops packets of the flow that has most memory, and returns how many: until
// there is room, and in a large queue a little more, so that not each packet costs a
// look at all flows.
func (q *Queue) relieve() (dropped int) {
	most := &q.flows[0]
	for i := range q.flows {
		if f := &q.flows[i]; f.memory > most.memory {
			most = f
		}
	}
	const large, many = 256, 16
	enough := q.limit
	if q.count > large {
		enough -= q.limit / 64
	}
	for q.bytes > enough && most.head != nil && dropped < many && q.count > 1 {
		q.pool.Put(q.take(most))
		dropped++
	}
	return dropped
}

// take takes the packet at the head of a flow.
func (q *Queue) take(f *flow) *Buffer {
	b := f.take()
	q.count--
	q.bytes -= len(b.Bytes)
	return b
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

// Popped is what Pop took.
type Popped struct {
	N       int  // packets
	Dropped int  // that had waited too long
	Whole   bool // it is what a Whole buffer holds, alone
	More    bool // the flow of the last packet has more
}

// Pop appends waiting packets to dst, one behind the other, and returns dst and what
// they are: as many as stay within most bytes together, but one in any case if there
// is one. Ready receives again when some are left. On a slow line no others stand behind
// those of flows that have just begun: they would arrive when all of the batch has.
func (q *Queue) Pop(dst []byte, most int) (block []byte, got Popped) {
	var taken [64]*Buffer
	got = q.pop(taken[:], most)
	for _, b := range taken[:got.N] {
		dst = append(dst, b.Packet()...)
	}
	q.pool.Put(taken[:got.N]...)
	return dst, got
}

func (q *Queue) pop(taken []*Buffer, most int) (got Popped) {
	now, awaited := time.Since(q.began), false
	q.mu.Lock()
	defer q.mu.Unlock()
	for got.N < len(taken) && !got.Whole {
		f, lost := q.turn(now)
		got.Dropped += lost
		if f == nil {
			break
		}
		b, young := f.head, f == q.young.head
		if q.slow && awaited && !young {
			break
		}
		awaited = awaited || young && urgent(q.packet(b))
		if most -= b.N; got.N > 0 && (most < 0 || b.Whole) {
			break
		}
		f.credit -= int32(b.N)
		taken[got.N] = q.take(f)
		got.N++
		got.Whole, got.More = b.Whole, f.head != nil
	}
	if q.count > 0 {
		q.Wake()
	}
	return got
}

// turn returns the flow whose turn it is, nil if nothing waits. What has waited too
// long at its head is dropped.
func (q *Queue) turn(now time.Duration) (f *flow, dropped int) {
	for q.count > 0 {
		from := &q.young
		if from.head == nil {
			from = &q.old
		}
		f := from.head
		if f.credit <= 0 {
			f.credit += int32(q.mtu)
			q.old.push(from.pop())
			continue
		}
		for f.head != nil && q.late(f, now) {
			q.pool.Put(q.take(f))
			dropped++
		}
		switch {
		case f.head != nil:
			return f, dropped
		case from == &q.young && q.old.head != nil:
			q.old.push(from.pop()) // or it would be new again at once
		default:
			from.pop().rest()
		}
	}
	return nil, dropped
}

// late reports whether the packet at the head of a flow is to be dropped.
func (q *Queue) late(f *flow, now time.Duration) bool {
	waited, alone := now-f.head.came, f.head.next == nil
	if !alone && waited > q.patience.most {
		return true
	}
	return f.codel.drop(now, waited, alone, q.patience) && !mark(q.packet(f.head))
}

// MoveTo gives the packets that wait to another queue, wakes who pops them, and
// returns how many were lost.
func (q *Queue) MoveTo(other *Queue) (lost int) {
	const ever = math.MaxInt64
	q.mu.Lock()
	q.patience = patience{ever, ever, ever} // nobody could take them
	q.mu.Unlock()
	var taken [1]*Buffer
	for {
		got := q.pop(taken[:], math.MaxInt)
		lost += got.Dropped
		if got.N == 0 {
			break
		}
		dropped, ok := other.Push(taken[0])
		if lost += dropped; !ok {
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
func (q *Queue) Close() (lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lost = q.count
	for i := range q.flows {
		for f := &q.flows[i]; f.head != nil; {
			q.pool.Put(q.take(f))
		}
	}
	q.flows, q.young, q.old, q.closed = nil, list{}, list{}, true
	return lost
}
