package crypto

import (
	"errors"
	"math"
)

// TagSize is the length of the tag at the end of each sealed frame.
const TagSize = 16

// ErrExhausted says that an epoch's numbers or the bytes it may carry are used
// up. A sender that asks Due never sees it.
var ErrExhausted = errors.New("key is used up")

// frameCipher seals and opens the frames of one epoch. A body is text and the
// TagSize bytes of its tag; it is changed in place.
type frameCipher interface {
	// seal encrypts the text and writes the tag.
	seal(number uint32, header, body []byte)
	// open decrypts the text if the tag is right. Otherwise it reports false and
	// the body is of no use.
	open(number uint32, header, body []byte) bool
}

// half is one direction of a generation.
type half struct {
	suite  Suite
	cipher frameCipher
	chain  *subkey
	epoch  uint64
	number uint64 // of the next frame
	blocks uint64 // under this epoch's key
}

// newHalf takes a suite that was checked.
func newHalf(suite Suite, chain *subkey) half {
	h := half{suite: suite, chain: chain}
	h.load()
	return h
}

// load makes the keys of the current epoch.
func (h *half) load() {
	e := expand(h.chain, h.suite, h.epoch)
	h.chain = e.next
	h.number, h.blocks = 0, 0
	if h.suite.Cipher == Blowfish {
		h.cipher = newBlowfish(e.key, e.mac, h.epoch)
	} else {
		h.cipher = newAEAD(h.suite.Cipher, e.key)
	}
	clear(e.key)
	clear(e.mac)
}

// Epoch returns the number of the current epoch.
func (h *half) Epoch() uint64 { return h.epoch }

// Ratchet moves to the next epoch. Nothing leads back to the keys of this one.
func (h *half) Ratchet() error {
	if h.epoch == maxEpoch {
		return ErrExhausted
	}
	h.epoch++
	h.load()
	return nil
}

// Sealer turns plaintext into sealed frames. It belongs to one goroutine.
type Sealer struct{ half }

// Seal encrypts frame[header:] in place, appends the tag, and returns the sealed
// frame; room for TagSize bytes behind the frame saves a copy. The first header
// bytes travel in clear and are authenticated; their number must be the same for
// all frames of a generation.
func (s *Sealer) Seal(frame []byte, header int) ([]byte, error) {
	if !s.count(len(frame)-header, 1) {
		return nil, ErrExhausted
	}
	var room [TagSize]byte
	frame = append(frame, room[:]...)
	s.cipher.seal(uint32(s.number), frame[:header], frame[header:])
	s.number++
	return frame, nil
}

// Due reports whether the epoch has carried what it should: a sender tells the
// other end, and calls Ratchet.
func (h *half) Due() bool { return h.blocks >= h.suite.limit() }

// Opener turns sealed frames back into plaintext. It belongs to one goroutine.
type Opener struct {
	half
	err error // of Open
	// ahead are the epochs after this one, as far as OpenAt was asked for them. They
	// are kept, so that noise costs no derivation of keys each time.
	ahead []half
}

// Open checks and decrypts one frame in place: body is ciphertext and tag. The
// text that it returns lies in body. Its errors are ErrAuth and ErrExhausted.
func (o *Opener) Open(header, body []byte) ([]byte, error) {
	if o.err != nil {
		return nil, o.err
	}
	end := len(body) - TagSize
	if end < 0 {
		return nil, o.fail(ErrAuth)
	}
	if !o.count(end, receiveFactor) {
		return nil, o.fail(ErrExhausted)
	}
	if !o.cipher.open(uint32(o.number), header, body) {
		return nil, o.fail(ErrAuth)
	}
	o.number++
	return body[:end], nil
}

func (o *Opener) fail(err error) error {
	o.err = err
	return err
}

// receiveFactor is how much more than a sender's limit a receiver takes: the
// sender alone decides when to ratchet, this is the wall behind it.
const receiveFactor = 8

// Blocks that a sender puts under one key: 1 MiB in blocks of 8 bytes, 1 GiB in
// blocks of 16.
const (
	blowfishBlocks = 1 << 17
	aeadBlocks     = 1 << 26
)

// limit returns the blocks after which a sender ratchets.
func (s Suite) limit() uint64 {
	if s.Cipher == Blowfish {
		return blowfishBlocks
	}
	return aeadBlocks
}

// slack is room for one frame of the largest size and a few short ones: a sender
// asks Due between frames, and the frame that announces the next epoch still
// belongs to the old one.
const slack = 1 << 14

// count books a frame of n bytes and reports whether the epoch has room for it.
// A frame counts as one block at least, so that numbers cannot run out before
// the blocks do.
func (h *half) count(n int, factor uint64) bool {
	size := 16
	if h.suite.Cipher == Blowfish {
		size = 8
	}
	blocks := uint64(max(1, (n+size-1)/size))
	if h.blocks+blocks > factor*h.suite.limit()+slack || h.number > math.MaxUint32 {
		return false
	}
	h.blocks += blocks
	return true
}
