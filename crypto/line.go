package crypto

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

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

// Number returns the number of the next frame.
func (s *Sealer) Number() uint32 { return uint32(s.number) }

// LineDue is Due where a frame's number has to fit into NumberBits.
func (s *Sealer) LineDue() bool { return s.Due() || s.number >= dueNumber }

// OpenAt is Open for a line that loses and damages frames: the frame says its epoch,
// the last EpochBits of it, and its number. Frames open only in the order of their
// numbers. What fails changes nothing, and later frames open all the same. The
// errors are ErrAuth, ErrOld and ErrExhausted.
func (o *Opener) OpenAt(epoch uint8, number uint32, header, body []byte) ([]byte, error) {
	end := len(body) - TagSize
	if end < 0 {
		return nil, ErrAuth
	}
	steps := int(epoch-uint8(o.epoch)) & epochMask
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

// at returns the keys of an epoch that is steps ahead.
func (o *Opener) at(steps int) (*half, error) {
	for len(o.ahead) < steps {
		last := &o.half
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
		return &o.half, nil
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
	next.load()
	return next, nil
}

// advance makes the epoch that is steps ahead the current one, and forgets those
// before it.
func (o *Opener) advance(steps int) {
	if steps == 0 {
		return
	}
	clear(o.chain[:])
	for i := range o.ahead[:steps-1] {
		clear(o.ahead[i].chain[:])
	}
	o.half = o.ahead[steps-1]
	o.ahead = append([]half(nil), o.ahead[steps:]...)
}

// HailSize is the length of a hail in bytes.
const HailSize = 2 * hailPart

const hailPart = 16

// Hail returns what a server on a serial line says when it has no session: a client
// that hears it calls.
func (k *Key) Hail(random io.Reader) ([]byte, error) {
	hail := make([]byte, hailPart, HailSize)
	if _, err := io.ReadFull(random, hail); err != nil {
		return nil, fmt.Errorf("make hail: %w", err)
	}
	return append(hail, k.hailTag(hail)...), nil
}

// Hails reports whether a hail comes from somebody who has the key, now or at some
// time before.
func (k *Key) Hails(hail []byte) bool {
	return len(hail) == HailSize && hmac.Equal(hail[hailPart:], k.hailTag(hail[:hailPart]))
}

// Hail returns what Key.Hail does, in the name of a server with a strong key.
func (d *StrongDoor) Hail() ([]byte, error) { return d.door.Hail(d.random) }

// Hails reports whether a hail comes from somebody who has the server's public key,
// now or at some time before.
func (k *StrongKey) Hails(hail []byte) bool {
	link := &Key{door: k.peer.doorKey()}
	return link.Hails(hail)
}

func (k *Key) hailTag(nonce []byte) []byte {
	m := hmac.New(sha256.New, k.door[:])
	m.Write([]byte("hail"))
	m.Write(nonce)
	return m.Sum(nil)[:hailPart]
}
