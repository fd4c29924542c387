package compress

import (
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// flateLevel is the fastest level that keeps its window across flushes of less
// than 128 bytes: the lower ones forget everything at each small packet.
const flateLevel = 7

// Encoder compresses the blocks of one direction. It belongs to one goroutine.
//
// Its memory is taken at the first block and given back by Release: 72 KiB with
// s2, 520 KiB with zstd, 1070 KiB with deflate. An Encoder that only stores
// takes none.
type Encoder struct {
	method  Method  // Stored: nothing is ever compressed
	probe   backoff // when data does not compress
	worth   *worth  // of policy auto; nil: whatever shrinks is sent shrunk
	scratch sink    // the body before it is known to pay
	zstd    *zstd.Encoder
	flate   *flate.Writer // its window is the history
	fresh   bool          // the next stateful block starts a history
}

// NewEncoder returns an Encoder that sends what the policy says: auto, off,
// asym, s2, deflate or zstd. A method that is not in common is not sent.
func NewEncoder(policy string, common Set) (*Encoder, error) {
	m, err := sends(policy)
	if err != nil {
		return nil, err
	}
	if !common.Has(m) {
		m = Stored
	}
	e := &Encoder{method: m, fresh: true}
	if policy == "auto" && m != Stored {
		e.worth = newWorth()
	}
	return e, nil
}

// Carried tells how long it took to get n bytes of frames away, from the first
// Pack for them on, while more was waiting. With policy auto blocks are
// compressed when that makes them arrive sooner.
func (e *Encoder) Carried(n int, took time.Duration) {
	if e.worth != nil {
		e.worth.carried(n, took)
	}
}

// Pack compresses the block b[1:], which must not be longer than MaxBlock, in place
// if that pays, and writes its header byte to b[0]. It returns what is to be sent:
// b, or a shorter part of it.
func (e *Encoder) Pack(b []byte) []byte {
	block := b[1:]
	b[0] = byte(Stored) << 4
	if e.method == Stored || len(block) == 0 || !e.probe.due(len(block)) || e.worth != nil && !e.worth.due(len(block)) {
		return b
	}
	body, flags := e.measured(block)
	pays := len(body) < len(block)
	e.probe.note(len(block), pays)
	if !pays {
		b[0] |= flags
		return b
	}
	b[0] = byte(e.method)<<4 | flags
	return b[:1+copy(block, body)]
}

// Reset says that the peer has lost the history: the next stateful block
// starts a new one.
func (e *Encoder) Reset() {
	e.fresh = true
}

// Release gives the memory of an idle Encoder back. The next block starts
// afresh.
func (e *Encoder) Release() {
	*e = Encoder{method: e.method, worth: e.worth, fresh: true}
}

// measured is compress under the eyes of e.worth.
func (e *Encoder) measured(block []byte) (body []byte, flags byte) {
	if e.worth == nil {
		return e.compress(block)
	}
	began := e.worth.now()
	body, flags = e.compress(block)
	e.worth.compressed(len(block), len(body), e.worth.now()-began)
	return body, flags
}

// compress returns the block compressed by e.method, in e.scratch, and the
// flags for its header.
func (e *Encoder) compress(block []byte) (body []byte, flags byte) {
	if e.scratch == nil {
		e.scratch = make(sink, 0, scratchSize)
	}
	switch e.method {
	case S2:
		return s2.Encode(e.scratch, block), 0
	case Zstd:
		return e.encodeZstd(block), 0
	default:
		return e.deflate(block)
	}
}

func (e *Encoder) encodeZstd(block []byte) []byte {
	if e.zstd == nil {
		// There is an error only for options that do not exist.
		e.zstd, _ = zstd.NewWriter(nil,
			zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithWindowSize(64<<10),
			zstd.WithSingleSegment(true),
			zstd.WithEncoderCRC(false),
			zstd.WithEncoderConcurrency(1),
			zstd.WithLowerEncoderMem(true))
	}
	return e.zstd.EncodeAll(block, e.scratch[:0])[len(zstdMagic):]
}

func (e *Encoder) deflate(block []byte) (body []byte, flags byte) {
	if e.flate == nil {
		// There is an error only for levels that do not exist.
		e.flate, _ = flate.NewWriter(&e.scratch, flateLevel)
	}
	flags = stateful
	if e.fresh {
		e.flate.Reset(&e.scratch)
		e.fresh = false
		flags |= reset
	}
	e.scratch = e.scratch[:0]
	// The only errors are those of the sink, which has none.
	_, _ = e.flate.Write(block)
	_ = e.flate.Flush()
	return e.scratch[:len(e.scratch)-len(syncTail)], flags
}

// sink collects what is written to it.
type sink []byte

// Write appends p.
func (s *sink) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}

// The limits of a backoff.
const (
	patience  = 4       // failures before blocks are left out
	maxDouble = 6       // then one in 2, 4 ... 64 blocks is tried
	small     = 1 << 10 // blocks below cost little to try and say little
)

// backoff decides which blocks are worth a try: after some failures in a row
// fewer and fewer, after a success all of them. Small blocks are always tried
// and never counted, so that a stream of acknowledgements does not keep the
// data between them from being compressed.
type backoff struct {
	failures uint8 // in a row, at most patience+maxDouble
	skip     uint8 // blocks to leave out before the next try
}

// due reports whether a block of n bytes is to be tried.
func (b *backoff) due(n int) bool {
	if n < small || b.skip == 0 {
		return true
	}
	b.skip--
	return false
}

// note says whether the try of a block of n bytes paid.
func (b *backoff) note(n int, pays bool) {
	switch {
	case n < small:
	case pays:
		*b = backoff{}
	default:
		b.failures = min(b.failures+1, patience+maxDouble)
		if b.failures > patience {
			b.skip = 1<<(b.failures-patience) - 1
		}
	}
}
