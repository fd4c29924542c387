// Package frame cuts a byte stream into frames.
//
// On TCP a frame is
//
//	length 2 | ciphertext | tag 16
//
// where length counts the ciphertext, 1 to 65535 bytes, big-endian, in clear.
// It is authenticated as the header of the sealed frame, and checked against
// the largest length that was agreed on before anything is read.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// HeaderSize is the length of a frame's header in bytes.
	HeaderSize = 2
	// MaxText is the most bytes of ciphertext in a frame.
	MaxText = 65535

	tagSize = 16
	// firstBuffer is what a reader begins with: enough for an idle line.
	firstBuffer = 4 << 10
	// maxBuffer bounds it: several frames a read on a busy line.
	maxBuffer = 2 * (HeaderSize + MaxText + tagSize)
)

// ErrLength says that a header announces a frame which may not be.
var ErrLength = errors.New("frame length out of bounds")

// PutHeader writes the header of a frame with n bytes of ciphertext.
func PutHeader(header []byte, n int) { binary.BigEndian.PutUint16(header, uint16(n)) }

// Reader takes frames from a stream. It belongs to one goroutine.
type Reader struct {
	stream  io.Reader
	maxText int
	buf     []byte
	start   int // of what is read and not yet taken
	end     int
}

// NewReader returns a reader of frames with at most maxText bytes of
// ciphertext.
func NewReader(stream io.Reader, maxText int) *Reader {
	return &Reader{stream: stream, maxText: maxText, buf: make([]byte, firstBuffer)}
}

// Allow changes the most bytes of ciphertext of the frames to come.
func (r *Reader) Allow(maxText int) { r.maxText = maxText }

// Next returns the next frame's header, and its ciphertext with the tag. Both
// lie in the reader's buffer, may be changed, and are valid until the next
// call. The error is io.EOF at a frame's border, io.ErrUnexpectedEOF inside
// one, ErrLength for a length that may not be, or the stream's own. After a deadline
// of the stream has passed Next may be called again: nothing is lost.
func (r *Reader) Next() (header, body []byte, err error) {
	if err := r.fill(HeaderSize); err != nil {
		return nil, nil, err
	}
	n := int(binary.BigEndian.Uint16(r.buf[r.start:]))
	if n == 0 || n > r.maxText {
		return nil, nil, fmt.Errorf("%w: %d", ErrLength, n)
	}
	if err := r.fill(HeaderSize + n + tagSize); err != nil {
		return nil, nil, err
	}
	frame := r.buf[r.start : r.start+HeaderSize+n+tagSize]
	r.start += len(frame)
	return frame[:HeaderSize], frame[HeaderSize:], nil
}

// Release gives the memory of a reader back that has grown on a busy line, unless part
// of a frame is in it.
func (r *Reader) Release() {
	if r.start == r.end && len(r.buf) > firstBuffer {
		r.start, r.end, r.buf = 0, 0, make([]byte, firstBuffer)
	}
}

// fill reads until n bytes are waiting.
func (r *Reader) fill(n int) error {
	for r.end-r.start < n {
		r.makeRoom(n)
		k, err := r.stream.Read(r.buf[r.end:])
		r.end += k
		switch {
		case k > 0:
		case err == io.EOF && r.end > r.start:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return nil
}

// makeRoom sees to it that n bytes fit in behind start and that there is room to
// read into. A buffer that the last read filled is doubled: the line is busy.
func (r *Reader) makeRoom(n int) {
	full := r.end == len(r.buf)
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	size := len(r.buf)
	if full {
		size = min(2*size, maxBuffer)
	}
	size = max(size, n)
	switch {
	case size > len(r.buf):
		bigger := make([]byte, size)
		r.end = copy(bigger, r.buf[r.start:r.end])
		r.start, r.buf = 0, bigger
	case r.start+n > len(r.buf):
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
}
