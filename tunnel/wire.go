package tunnel

import (
	"slices"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// wire turns the plaintext of frames into what travels. It belongs to the sender.
type wire interface {
	// room is how many bytes stand in front of a frame's type.
	room() int
	// seal seals the frame out[start:], which begins with room bytes, and returns out
	// with what travels in its place. The generation counts the rekeys of the
	// session.
	seal(out []byte, start int, s *crypto.Sealer, generation uint8) ([]byte, error)
	// due reports whether the keys have sealed what they should.
	due(s *crypto.Sealer) bool
	// announces reports whether a frame tells the peer of a change of keys. Otherwise
	// each frame says which keys it has.
	announces() bool
}

// maxHeader is the room that any wire wants at most.
const maxHeader = 4

// stream is a wire that loses nothing: the peer counts frames and knows the keys.
type stream struct{}

func (stream) room() int                 { return frame.HeaderSize }
func (stream) due(s *crypto.Sealer) bool { return s.Due() }
func (stream) announces() bool           { return true }

func (stream) seal(out []byte, start int, s *crypto.Sealer, _ uint8) ([]byte, error) {
	out = slices.Grow(out, crypto.TagSize)
	f := out[start:]
	frame.PutHeader(f, len(f)-frame.HeaderSize)
	sealed, err := s.Seal(f, frame.HeaderSize)
	return out[:start+len(sealed)], err
}
