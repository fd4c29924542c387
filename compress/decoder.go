package compress

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Decoder expands the blocks of one direction. It belongs to one goroutine.
//
// Its memory is taken at the first block that needs it and given back by
// Release: 72 KiB with s2, 270 KiB with zstd, 220 KiB with deflate, 1690 KiB with a
// model, and about 2140 KiB with all of them.
type Decoder struct {
	common  Set
	block   []byte // the last block
	input   []byte // a body with what the wire leaves out
	history Method // whose history there is; Stored: none
	headers headers
	window  []byte // history of Deflate
	model   *model
	source  bytes.Reader
	flate   io.Reader // reads source
	zstd    *zstd.Decoder
}

// NewDecoder returns a Decoder that takes the methods in common.
func NewDecoder(common Set) *Decoder {
	return &Decoder{common: common}
}

// Decode expands src, a header byte and a body. The block is part of src or of
// the Decoder and valid until either changes. The errors wrap ErrTooLarge,
// ErrHistory or ErrCorrupt.
func (d *Decoder) Decode(src []byte) (block []byte, err error) {
	m, flags, err := d.header(src)
	if err != nil {
		return nil, err
	}
	if flags&stateful != 0 && flags&reset == 0 && d.history != m {
		return nil, ErrHistory
	}
	block, err = d.expand(m, flags, src[1:])
	if err != nil {
		return nil, fmt.Errorf("expand %s: %w", m, err)
	}
	return block, nil
}

// Lost says that a block may be missing: what has a history before it cannot be
// expanded until the encoder starts a new one.
func (d *Decoder) Lost() { d.history = Stored }

// Release gives the memory of an idle Decoder back, and forgets the history.
func (d *Decoder) Release() {
	*d = Decoder{common: d.common}
}

// header checks all that can be known before a byte is expanded.
func (d *Decoder) header(src []byte) (m Method, flags byte, err error) {
	if len(src) == 0 {
		return 0, 0, fmt.Errorf("%w: no header", ErrCorrupt)
	}
	if len(src) > 1+MaxBlock {
		return 0, 0, ErrTooLarge
	}
	m, flags = Method(src[0]>>4), src[0]&0xf
	if !d.common.Has(m) {
		return 0, 0, fmt.Errorf("%w: %s is not agreed on", ErrCorrupt, m)
	}
	if !legal(m, flags) {
		return 0, 0, fmt.Errorf("%w: header %02x", ErrCorrupt, src[0])
	}
	return m, flags, nil
}

// legal reports whether the flags may stand beside the method.
func legal(m Method, flags byte) bool {
	switch flags {
	case 0:
		return m != Deflate
	case stateful, stateful | reset, stateful | raw, stateful | reset | raw:
		return m == Deflate || m == Model
	}
	return false
}

func (d *Decoder) expand(m Method, flags byte, body []byte) ([]byte, error) {
	if m == Stored {
		return body, nil
	}
	if d.block == nil {
		d.block = make([]byte, scratchSize)
	}
	switch m {
	case S2:
		return d.decodeS2(body)
	case Zstd:
		return d.decodeZstd(body)
	}
	return d.decodeHistory(m, flags, body)
}

// decodeHistory expands a body by what came before, or without that from the
// dictionary. If it fails there is no history left: that of the peer has the block.
func (d *Decoder) decodeHistory(m Method, flags byte, body []byte) (block []byte, err error) {
	if flags&stateful == 0 || flags&reset != 0 {
		d.begin(m)
	}
	d.history = Stored
	if flags&raw != 0 {
		if err := d.learn(m, body); err != nil {
			return nil, err
		}
		d.history = m
		return body, nil
	}
	if m == Model {
		block, err = d.model.decode(d.block, body)
	} else {
		block, err = d.inflate(body)
	}
	if err != nil {
		return nil, err
	}
	d.headers.put(block)
	if flags&stateful != 0 {
		d.history = m
	}
	return block, nil
}

// begin begins the history of m.
func (d *Decoder) begin(m Method) {
	d.headers.forget()
	if m == Deflate {
		if d.window == nil {
			d.window = make([]byte, 0, historySize)
		}
		d.window = d.window[:0]
		d.remember(dictionary())
		return
	}
	if d.model == nil {
		d.model = new(model)
	}
	d.model.begin()
}

// learn adds a raw block to the history.
func (d *Decoder) learn(m Method, block []byte) error {
	if m == Model && len(block) > maxModel {
		return ErrTooLarge
	}
	plain := d.block[:copy(d.block, block)]
	d.headers.take(plain)
	if m == Model {
		d.model.learn(plain)
	} else {
		d.remember(plain)
	}
	return nil
}

func (d *Decoder) decodeS2(body []byte) ([]byte, error) {
	// A length that cannot be read is 0 here and an error of Decode.
	if n, _ := s2.DecodedLen(body); n > MaxBlock {
		return nil, ErrTooLarge
	}
	block, err := s2.Decode(d.block, body)
	if err != nil {
		return nil, corrupt(err)
	}
	return block, nil
}

func (d *Decoder) decodeZstd(body []byte) ([]byte, error) {
	if err := checkZstd(body); err != nil {
		return nil, corrupt(err)
	}
	if d.zstd == nil {
		// There is an error only for options that do not exist. MaxMemory
		// limits what the frame makes, and its window.
		d.zstd, _ = zstd.NewReader(nil,
			zstd.WithDecoderMaxMemory(MaxBlock),
			zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true))
	}
	block, err := d.zstd.DecodeAll(d.complete(zstdMagic, body, ""), d.block[:0])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return nil, ErrTooLarge
	case err != nil:
		return nil, corrupt(err)
	}
	return block, nil
}

// checkZstd checks that the body is one frame of the agreed form. More frames and
// more blocks than a sender has use for cost much time and bring nothing.
func checkZstd(body []byte) error {
	if len(body) == 0 || body[0]&zstdMask != zstdForm {
		return errors.New("not a frame of the agreed form")
	}
	const header = 3
	rest := body[min(len(body), 1+1<<(body[0]>>6)):] // the content size has 1, 2, 4 or 8 bytes
	for range maxZstdBlocks {
		if len(rest) < header {
			return io.ErrUnexpectedEOF
		}
		h := int(rest[0]) | int(rest[1])<<8 | int(rest[2])<<16
		size := h >> 3
		if h>>1&3 == 1 {
			size = 1 // a run of one byte
		}
		if len(rest) < header+size {
			return io.ErrUnexpectedEOF
		}
		rest = rest[header+size:]
		if h&1 == 1 { // the last one
			if len(rest) > 0 {
				return errors.New("more than one frame")
			}
			return nil
		}
	}
	return fmt.Errorf("more than %d blocks", maxZstdBlocks)
}

func (d *Decoder) inflate(body []byte) ([]byte, error) {
	n, err := d.readFlate(d.complete("", body, syncTail+finalBlock))
	if err != nil {
		return nil, err
	}
	d.remember(d.block[:n])
	return d.block[:n], nil
}

// readFlate expands a complete deflate stream into d.block. A stream per block,
// with the window as its dictionary, ends at a known place; one stream for all
// blocks would end each in the error of a missing byte.
func (d *Decoder) readFlate(stream []byte) (n int, err error) {
	d.source.Reset(stream)
	if d.flate == nil {
		d.flate = flate.NewReader(&d.source)
	}
	if err := d.flate.(flate.Resetter).Reset(&d.source, d.window); err != nil {
		return 0, corrupt(err)
	}
	for err == nil && n <= MaxBlock {
		var m int
		m, err = d.flate.Read(d.block[n:])
		n += m
	}
	switch {
	case n > MaxBlock:
		return 0, ErrTooLarge
	case err != io.EOF:
		return 0, corrupt(err)
	case d.source.Len() > 0:
		return 0, corrupt(errors.New("stream ends within the body"))
	}
	return n, nil
}

// complete returns the body with what the wire leaves out, in d.input.
func (d *Decoder) complete(front string, body []byte, back string) []byte {
	if d.input == nil {
		d.input = make([]byte, 0, scratchSize)
	}
	d.input = append(append(append(d.input[:0], front...), body...), back...)
	return d.input
}

// remember appends the block to the window, which keeps its last bytes.
func (d *Decoder) remember(block []byte) {
	block = block[max(0, len(block)-historySize):]
	if over := len(d.window) + len(block) - historySize; over > 0 {
		d.window = append(d.window[:0], d.window[over:]...)
	}
	d.window = append(d.window, block...)
}

func corrupt(cause error) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, cause)
}
