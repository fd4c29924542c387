package lab

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

const (
	stampSeq    = 8            // bytes of the sequence number
	stampHeader = stampSeq + 4 // and of the track's id
	// sizeStride has no divisor in common with a number of sizes, so that all
	// sizes follow each other out of order.
	sizeStride = 619
	// guesses bounds the search for the number of a datagram that is too short to
	// tell it, in times through all sizes: the first byte comes again after as many.
	guesses = 256
	// window is how far back a datagram is known to have come or not, a power of 2.
	window = 1 << 12
)

// stamp makes the datagrams of one track. Size and content of each follow from
// the track and its number, so that whoever knows these can check every bit:
//
//	number, little-endian 8 | id 4 | content
//
// cut to the size, which takes all values from 0 to largest in turn.
type stamp struct {
	id      uint32
	largest int
	run     uint64 // datagrams in a row that have one size
	text    bool   // content that compresses
}

func (s stamp) sizes() uint64 { return uint64(s.largest) + 1 }

// size returns the length of a datagram.
func (s stamp) size(seq uint64) int {
	return int(seq / s.run % s.sizes() * sizeStride % s.sizes())
}

// write makes a datagram in buf, which has room for the largest and a stamp.
func (s stamp) write(buf []byte, seq uint64) []byte {
	n := s.size(seq)
	s.header(buf, seq)
	if n > stampHeader {
		s.content(buf[stampHeader:n], seq)
	}
	return buf[:n]
}

func (s stamp) header(buf []byte, seq uint64) {
	binary.LittleEndian.PutUint64(buf, seq)
	binary.LittleEndian.PutUint32(buf[stampSeq:], s.id)
}

// content fills b with bytes that no other datagram has.
func (s stamp) content(b []byte, seq uint64) {
	source := rand.NewPCG(uint64(s.id), seq)
	mask := ^uint64(0)
	if s.text {
		mask = 0x0303030303030303
	}
	var word [8]byte
	for len(b) > 0 {
		binary.LittleEndian.PutUint64(word[:], source.Uint64()&mask)
		b = b[copy(b, word[:]):]
	}
}

// search returns the first number from low up to high that a short datagram can
// have.
func (s stamp) search(b []byte, low, high uint64) (uint64, bool) {
	var buf [stampHeader]byte
	for seq := low; seq < high; {
		if s.size(seq) != len(b) {
			seq = (seq/s.run + 1) * s.run
			continue
		}
		if s.header(buf[:], seq); bytes.HasPrefix(buf[:], b) {
			return seq, true
		}
		seq++
	}
	return 0, false
}

// verdict is what a datagram turns out to be.
type verdict int

const (
	arrived   verdict = iota // the first time, and in order
	altered                  // not what was sent
	duplicate                // for the second time
	reordered                // behind a later one
)

// checker tells what became of the datagrams of one track. Its memory does not
// grow.
type checker struct {
	stamp
	next uint64           // after the highest number that came
	seen [window]bool     // of the numbers below next
	came map[int]struct{} // sizes
	want []byte
}

func newChecker(s stamp) *checker {
	return &checker{stamp: s, came: make(map[int]struct{}), want: make([]byte, s.largest+stampHeader)}
}

// take judges a datagram.
func (c *checker) take(b []byte) verdict {
	switch {
	case len(b) == 0: // tells nothing; the counts show whether there are too many
		c.came[0] = struct{}{}
		return arrived
	case len(b) < stampSeq:
		return c.takeShort(b)
	}
	return c.place(binary.LittleEndian.Uint64(b), b)
}

// takeShort judges a datagram that does not hold its number: it has the one that
// fits among the recent ones, or the first that fits among those to come. When
// that is far off, after a long loss, it is too uncertain to go on from.
func (c *checker) takeShort(b []byte) verdict {
	once := c.stamp.sizes() * c.run
	if seq, ok := c.search(b, c.next-min(c.next, window), c.next+once); ok {
		return c.place(seq, b)
	}
	if _, ok := c.search(b, c.next+once, c.next+guesses*once); !ok {
		return altered
	}
	return arrived
}

// place judges a datagram that claims to have a number.
func (c *checker) place(seq uint64, b []byte) verdict {
	if c.size(seq) != len(b) || !bytes.Equal(b, c.write(c.want, seq)) {
		return altered
	}
	switch {
	case seq >= c.next:
		c.advance(seq)
		c.came[len(b)] = struct{}{}
		return arrived
	case c.seen[seq%window]: // beyond the window it may be that of another: wrong in any case
		return duplicate
	}
	c.seen[seq%window] = true
	return reordered
}

// advance moves the window until seq is the last in it.
func (c *checker) advance(seq uint64) {
	if seq-c.next >= window {
		clear(c.seen[:])
	}
	for n := c.next; n < seq && seq-c.next < window; n++ {
		c.seen[n%window] = false
	}
	c.seen[seq%window] = true
	c.next = seq + 1
}
