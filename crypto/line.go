package crypto

import "errors"

const (
	// EpochBits is how much of an epoch's number travels with each frame on a line
	// that loses frames.
	EpochBits = 5
	// NumberBits is how much of a frame's number does.
	NumberBits = 24

	epochMask = 1<<EpochBits - 1
	// maxAhead is how many epochs may get lost altogether.
	maxAhead = 15
	// dueNumber is where a sender ratchets at the latest: the number has to fit.
	dueNumber = 1 << (NumberBits - 1)
)

// ErrOld says that a frame comes after a later one: it was held back, or is played
// again.
var ErrOld = errors.New("older than another frame")

// LineOpener is an Opener for a line that loses and damages frames. What fails to
// open changes nothing, and later frames open all the same. Frames open only in
// the order of their numbers. It belongs to one goroutine.
type LineOpener struct {
	now half
	// ahead are the epochs after now, as far as frames asked for them. They are kept,
	// so that noise costs no derivation of keys each time.
	ahead []half
}

// LineKeys is Keys for a line that loses frames.
func (g *Generation) LineKeys(suite Suite) (*Sealer, *LineOpener, error) {
	s, o, err := g.Keys(suite)
	if err != nil {
		return nil, nil, err
	}
	return s, &LineOpener{now: o.half}, nil
}

// Open checks and decrypts one frame in place, whose epoch ends with the given
// bits. The text that it returns lies in body; after an error body is of no use.
// Its errors are ErrAuth, ErrOld and ErrExhausted.
func (o *LineOpener) Open(epoch uint8, number uint32, header, body []byte) ([]byte, error) {
	end := len(body) - TagSize
	if end < 0 {
		return nil, ErrAuth
	}
	steps := int(epoch-uint8(o.now.epoch)) & epochMask
	if steps > maxAhead {
		return nil, ErrOld
	}
	h, err := o.at(steps)
	if err != nil {
		return nil, err
	}
	if uint64(number) < h.number {
		return nil, ErrOld
	}
	blocks := h.blocks
	if !h.count(end, receiveFactor) {
		return nil, ErrExhausted
	}
	if !h.cipher.open(number, header, body) {
		h.blocks = blocks
		return nil, ErrAuth
	}
	h.number = uint64(number) + 1
	o.advance(steps)
	return body[:end], nil
}

// Epoch returns the number of the current epoch.
func (o *LineOpener) Epoch() uint64 { return o.now.epoch }

// at returns the keys of an epoch that is steps ahead.
func (o *LineOpener) at(steps int) (*half, error) {
	for len(o.ahead) < steps {
		last := &o.now
		if n := len(o.ahead); n > 0 {
			last = &o.ahead[n-1]
		}
		next, err := last.next()
		if err != nil {
			return nil, err
		}
		o.ahead = append(o.ahead, next)
	}
	if steps == 0 {
		return &o.now, nil
	}
	return &o.ahead[steps-1], nil
}

// next returns the following epoch, and leaves this one as it is.
func (h *half) next() (half, error) {
	if h.epoch == maxEpoch {
		return half{}, ErrExhausted
	}
	chain := *h.chain
	next := half{suite: h.suite, chain: &chain, epoch: h.epoch + 1}
	err := next.load()
	return next, err
}

// advance makes the epoch that is steps ahead the current one, and forgets those
// before it.
func (o *LineOpener) advance(steps int) {
	if steps == 0 {
		return
	}
	clear(o.now.chain[:])
	for i := range o.ahead[:steps-1] {
		clear(o.ahead[i].chain[:])
	}
	o.now = o.ahead[steps-1]
	o.ahead = append([]half(nil), o.ahead[steps:]...)
}
