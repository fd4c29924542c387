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
// s2, 520 KiB with zstd, 1150 KiB with deflate, 1760 KiB with a model. With auto it may become
// 2790 KiB, that of all but zstd. An Encoder that only stores takes none.
type Encoder struct {
	common  Set
	method  Method  // of the policy. Stored: nothing is ever compressed
	probe   backoff // when data does not compress
	worth   *worth  // of policy auto, which chooses a method for each block
	scratch sink    // the body before it is known to pay
	zstd    *zstd.Encoder
	history Method  // that the peer has the history of; Stored: of none
	headers headers // what of the history is in headers
	plain   []byte  // the block without that
	flate   *flate.Writer
	model   *model
	lossy   lossy
	shrinks float64 // what blocks shrink to, as a part; 0: not known
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
	e := &Encoder{common: common, method: m}
	if policy == "auto" && m != Stored {
		e.worth = newWorth()
	}
	return e, nil
}

// Carried tells how long it took to get n bytes of frames away, from the first
// Pack for them on, while more was waiting. With policy auto blocks are
// compressed when that makes them arrive sooner, by the method that does most for it.
func (e *Encoder) Carried(n int, took time.Duration) {
	if e.worth != nil {
		e.worth.carried(n, took)
	}
}

// Takes is Carried for a line of which is known how long it takes for n bytes, whatever
// else is done meanwhile.
func (e *Encoder) Takes(n int, took time.Duration) {
	if e.worth != nil {
		e.worth.carried(n, e.worth.spent+took)
	}
}

// Strained tells that the other end does not keep up with what it gets. With policy auto
// a faster method is used for a while.
func (e *Encoder) Strained() {
	if e.worth != nil {
		e.worth.strained()
	}
}

// Room returns how many bytes a block may have that is to become about n: as many more
// as the last ones have shrunk, but not more than four times n.
func (e *Encoder) Room(n int) int {
	if e.shrinks == 0 {
		return n
	}
	return max(n, min(int(float64(n)/max(e.shrinks, 0.25)), maxModel))
}

// packed notes what a block became. One that did not shrink counts at once: more like
// it would take the line for long.
func (e *Encoder) packed(n, became int) {
	now := min(1, float64(became)/float64(n))
	if e.shrinks == 0 || now > e.shrinks {
		e.shrinks = now
	}
	average(&e.shrinks, now)
}

// Pack compresses the block b[1:], which must not be longer than MaxBlock, in place
// if that pays, and writes its header byte to b[0]. It returns what is to be sent:
// b, or a shorter part of it.
func (e *Encoder) Pack(b []byte) []byte {
	if len(b) == 1 {
		b[0] = byte(Stored) << 4
		return b
	}
	out := e.pack(b)
	e.packed(len(b), len(out))
	return out
}

func (e *Encoder) pack(b []byte) []byte {
	block := b[1:]
	b[0] = byte(Stored) << 4
	m := e.choose(len(block))
	if m == Stored {
		return b
	}
	body, flags := e.measured(m, block)
	pays := len(body) < len(block)
	e.probe.note(len(block), pays)
	switch {
	case pays:
		b[0] = byte(m)<<4 | flags
		return b[:1+copy(block, body)]
	case flags&stateful != 0:
		b[0] = byte(m)<<4 | flags | raw
	}
	return b
}

// choose returns the method to try with a block of n bytes.
func (e *Encoder) choose(n int) Method {
	m := e.method
	if m == Stored {
		return Stored
	}
	e.lossy.sent()
	if e.worth != nil {
		m = e.worth.method(e.common)
		if m == Model && n > maxModel {
			m = S2
		}
	}
	switch {
	case m == Model:
		return m // it has the time, and headers shrink whatever follows them
	case !e.probe.due(n), m == S2 && e.worth != nil && !e.worth.due(n):
		return Stored
	}
	return m
}

// Reset says that the peer has lost the history: the next stateful block
// starts a new one.
func (e *Encoder) Reset() {
	if e.history != Stored {
		e.history = Stored
		e.lossy.lost()
	}
}

// Release gives the memory of an idle Encoder back. The next block starts
// afresh.
func (e *Encoder) Release() {
	*e = Encoder{common: e.common, method: e.method, worth: e.worth, lossy: e.lossy}
}

// measured is compress under the eyes of e.worth.
func (e *Encoder) measured(m Method, block []byte) (body []byte, flags byte) {
	if e.worth == nil {
		return e.compress(m, block)
	}
	began := e.worth.now()
	body, flags = e.compress(m, block)
	e.worth.compressed(m, len(block), len(body), e.worth.now()-began)
	return body, flags
}

// compress returns the block compressed by m, in e.scratch, and the flags for its
// header.
func (e *Encoder) compress(m Method, block []byte) (body []byte, flags byte) {
	if e.scratch == nil {
		e.scratch = make(sink, 0, scratchSize)
	}
	switch m {
	case S2:
		return s2.Encode(e.scratch, block), 0
	case Zstd:
		return e.encodeZstd(block), 0
	}
	flags = e.begin(m)
	e.plain = append(e.plain[:0], block...)
	e.headers.take(e.plain)
	if m == Model {
		return e.model.encode(e.scratch, e.plain), flags
	}
	return e.deflate(e.plain), flags
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

// begin makes m ready for a stateful block, and returns its flags. Where many blocks
// get lost each begins with a history of its own, which the next one does not need.
func (e *Encoder) begin(m Method) (flags byte) {
	if e.history == m && (m == Model || !e.lossy.is()) {
		return stateful
	}
	if e.plain == nil {
		e.plain = make([]byte, 0, MaxBlock)
	}
	e.headers.forget()
	switch {
	case m == Deflate && e.flate == nil:
		// There is an error only for levels that do not exist.
		e.flate, _ = flate.NewWriterDict(&e.scratch, flateLevel, dictionary())
	case m == Deflate:
		e.flate.ResetDict(&e.scratch, dictionary())
	case e.model == nil:
		e.model = new(model)
		fallthrough
	default:
		e.model.begin()
	}
	if m == Model && e.lossy.is() {
		e.history = Stored
		return 0
	}
	e.history = m
	return stateful | reset
}

func (e *Encoder) deflate(block []byte) []byte {
	e.scratch = e.scratch[:0]
	// The only errors are those of the sink, which has none.
	_, _ = e.flate.Write(block)
	_ = e.flate.Flush()
	return e.scratch[:len(e.scratch)-len(syncTail)]
}

// sink collects what is written to it.
type sink []byte

// Write appends p.
func (s *sink) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}
