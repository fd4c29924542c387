package frame

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// On a serial line a frame stands between two flags. Inside, bytes that would be
// taken for something else are sent as an escape and the byte with bit 5 turned
// round (RFC 1662). A flag may end one frame and begin the next. Whatever happens
// to a frame, the next flag ends it.
const (
	flag   = 0x7e
	escape = 0x7d
	turned = 0x20

	xon, xoff   = 0x11, 0x13
	parity      = 0x80 // a line of 7 bits may set it
	telnetIAC   = 0xff
	carriageRet = 0x0d // a telnet server adds a byte to one
)

// Filter is the set of bytes that a serial line cannot carry. The zero Filter
// has none but flag and escape.
type Filter struct {
	// XON escapes what the line takes for flow control, and takes out what the line
	// put in.
	XON bool
	// Telnet escapes what a telnet server in the line takes for commands.
	Telnet bool
}

func (f Filter) table() (t [256]bool) {
	t[flag], t[escape] = true, true
	for _, b := range f.flow() {
		t[b] = true
	}
	if f.Telnet {
		t[telnetIAC], t[carriageRet] = true, true
	}
	return t
}

// flow are the bytes that the line may put in.
func (f Filter) flow() []byte {
	if !f.XON {
		return nil
	}
	return []byte{xon, xoff, xon | parity, xoff | parity}
}

// LineWriter makes frames for a serial line. It belongs to one goroutine.
type LineWriter struct{ special [256]bool }

// NewLineWriter returns a writer that keeps to the filter.
func NewLineWriter(f Filter) *LineWriter { return &LineWriter{f.table()} }

// Append appends a frame to dst, between two flags. If dst ends with a frame,
// they have one flag in common.
func (w *LineWriter) Append(dst, frame []byte) []byte {
	if n := len(dst); n == 0 || dst[n-1] != flag {
		dst = append(dst, flag)
	}
	for _, b := range frame {
		if w.special[b] {
			dst = append(dst, escape, b^turned)
		} else {
			dst = append(dst, b)
		}
	}
	return append(dst, flag)
}

// LineReader takes frames from a serial line. It belongs to one goroutine.
type LineReader struct {
	stream  io.Reader
	foreign [256]bool // put in by the line
	text    string    // that the caller is told of
	heard   func()
	match   int // how much of text was read last

	buf        [4 << 10]byte
	start, end int // of what is read and not looked at
	frame      []byte
	state      lineState
}

// lineState is what the next byte is part of.
type lineState uint8

const (
	inFrame  lineState = iota
	inEscape           // the second byte of a pair
	inRubble           // something that is no frame, up to the next flag
)

// NewLineReader returns a reader of frames of at most size bytes. heard is called
// when the line says text, wherever that is: modems speak to the computer at any
// time.
func NewLineReader(stream io.Reader, f Filter, size int, text string, heard func()) *LineReader {
	r := &LineReader{stream: stream, text: text, heard: heard, frame: make([]byte, 0, size)}
	for _, b := range f.flow() {
		r.foreign[b] = true
	}
	return r
}

// Next returns what stood between two flags: a frame, or noise that looks like
// one. It lies in the reader's buffer, may be changed, and is valid until the next
// call. What is too long or breaks off is passed over. The error is the stream's.
func (r *LineReader) Next() ([]byte, error) {
	r.frame = r.frame[:0]
	for {
		for r.start < r.end {
			b := r.buf[r.start]
			r.start++
			if r.take(b) {
				return r.frame, nil
			}
		}
		n, err := r.stream.Read(r.buf[:])
		r.start, r.end = 0, n
		if n == 0 && err != nil {
			return nil, err
		}
	}
}

// take looks at one byte and reports whether it ends a frame.
func (r *LineReader) take(b byte) bool {
	r.listen(b)
	switch {
	case b == flag:
		whole := r.state == inFrame && len(r.frame) > 0
		if r.state = inFrame; !whole {
			r.frame = r.frame[:0]
		}
		return whole
	case r.foreign[b]:
	case r.state == inFrame && b == escape:
		r.state = inEscape
	case len(r.frame) == cap(r.frame):
		r.state = inRubble
	case r.state == inEscape:
		r.state = inFrame
		r.frame = append(r.frame, b^turned)
	default:
		r.frame = append(r.frame, b)
	}
	return false
}

// listen looks for the text. Its first byte stands nowhere else in it, so that a
// mismatch can only be a new beginning.
func (r *LineReader) listen(b byte) {
	if b &^= parity; b != r.text[r.match] {
		r.match = 0
	}
	if b != r.text[r.match] {
		return
	}
	if r.match++; r.match == len(r.text) {
		r.match = 0
		r.heard()
	}
}

// FCSSize is the length of a frame check sequence in bytes.
const FCSSize = 4

// ErrFCS says that a frame was damaged on the way.
var ErrFCS = errors.New("frame check sequence is wrong")

// AppendFCS appends the frame check sequence of b (FCS-32, RFC 1662).
func AppendFCS(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// CutFCS returns b, at least a byte, without its frame check sequence, or ErrFCS.
func CutFCS(b []byte) ([]byte, error) {
	n := len(b) - FCSSize
	if n <= 0 || binary.LittleEndian.Uint32(b[n:]) != crc32.ChecksumIEEE(b[:n]) {
		return nil, ErrFCS
	}
	return b[:n], nil
}
