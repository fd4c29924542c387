// Package compress shrinks a block of packets, never expands it beyond a limit.
//
// A block is the content of one BATCH frame, at most MaxBlock bytes. On the
// wire it is one header byte and a body:
//
//	  7   6   5   4     3          2      1     0
//	+---------------+----------+-------+-----+-------+
//	|    method     | stateful | reset | raw | spare |  body ...
//	+---------------+----------+-------+-----+-------+
//
// Deflate and model have a history: what they have learned from the blocks before.
// Each direction has one, of one method at a time. These rules keep the histories of
// the two ends equal:
//
//   - A block with the reset bit begins the history of its method, and ends any other.
//     It begins with the dictionary, a file of packets which are part of the protocol.
//   - A stateful block is added to the history; one of another method is an error.
//   - Headers of packets are shortened first, in the dictionary and in each stateful
//     block, in ways that need no more room: see headers. That has a memory as well,
//     which each history begins with empty, after the dictionary.
//   - The raw bit says that the body is the block as it is, because it did not shrink.
//     Both ends add it to the history all the same, with shortened headers.
//   - Any other block leaves the history alone, but for a model without a history: it
//     begins with the dictionary, and ends any history.
//
// These are all legal headers; a receiver refuses any other, and a body longer than
// MaxBlock:
//
//	00                 stored    the block as it is
//	10                 s2        an S2 block with its length in front
//	28, 2c; 2a, 2e     deflate   RFC 1951 blocks that refer to the last 32 KiB, ended by a
//	                             sync flush whose last four bytes 00 00 ff ff are left out
//	30                 zstd      one single-segment frame without its magic number,
//	                             checksum and dictionary, of at most 16 blocks
//	48, 4c; 4a, 4e     model     an arithmetic code for at most 16 KiB, see model
//	40                 model     the same without a history
//
// A history does not exist before the first reset bit, after Release and after
// a body that could not be read.
package compress

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/flate"
)

// MaxBlock is the largest number of plain bytes in a block, and of bytes in
// its body: what a frame of 65535 bytes has room for after the frame type and
// the header byte.
const MaxBlock = 65533

const (
	stateful = 1 << 3
	reset    = 1 << 2
	raw      = 1 << 1

	// scratchSize holds a block in any form: no method adds as much as 64 bytes.
	scratchSize = MaxBlock + 64

	historySize = flate.MaxCustomWindowSize

	syncTail   = "\x00\x00\xff\xff"     // ends every sync flush
	finalBlock = "\x01\x00\x00\xff\xff" // empty, tells the reader to stop

	zstdMagic = "\x28\xb5\x2f\xfd" // begins every frame
	zstdForm  = 0x20               // single segment, nothing optional
	zstdMask  = 0x3f               // all but the width of the content size

	// maxZstdBlocks is far more than a block of packets is cut into: one.
	maxZstdBlocks = 16
)

var (
	// ErrTooLarge says that a block or its body is longer than MaxBlock. No
	// more than a block's worth of it was expanded.
	ErrTooLarge = errors.New("block is too large")
	// ErrHistory says that a stateful block needs a history that is missing.
	// The caller drops the block and asks the peer for a reset.
	ErrHistory = errors.New("history of the block is missing")
	// ErrCorrupt says that a block is not what an Encoder of the peer would
	// send. It wraps the cause.
	ErrCorrupt = errors.New("block is corrupt")
)

// Method is the way in which the body of a block is compressed.
type Method uint8

// The methods, as numbered on the wire.
const (
	Stored Method = iota
	S2
	Deflate
	Zstd
	Model
	methods = iota
)

// String returns the keyword of the method.
func (m Method) String() string {
	switch m {
	case Stored:
		return "stored"
	case S2:
		return "s2"
	case Deflate:
		return "deflate"
	case Zstd:
		return "zstd"
	case Model:
		return "model"
	}
	return fmt.Sprintf("method %d", uint8(m))
}

// MethodOf returns the method of what an Encoder has packed.
func MethodOf(packed []byte) Method { return Method(packed[0] >> 4) }

// Set is a set of methods, with the bit 1<<m for the method m. The methods
// that both ends have are the intersection of their sets.
type Set uint8

// All is the set of the methods that this package has.
const All Set = 1<<Stored | 1<<S2 | 1<<Deflate | 1<<Zstd | 1<<Model

// Has reports whether m is in the set; Stored always is.
func (s Set) Has(m Method) bool {
	return m == Stored || s&All>>m&1 != 0
}

// Accepts returns the methods that an end with the policy lets its peer use.
func Accepts(policy string) (Set, error) {
	if _, err := sends(policy); err != nil {
		return 0, err
	}
	if policy == "off" {
		return 1 << Stored, nil
	}
	return All, nil
}

// sends returns the method that an end with the policy uses where it pays. With auto
// that is the one that every end has; the slower ones are chosen by worth.
func sends(policy string) (Method, error) {
	switch policy {
	case "off", "asym":
		return Stored, nil
	case "auto", "s2":
		return S2, nil
	case "deflate":
		return Deflate, nil
	case "zstd":
		return Zstd, nil
	}
	return 0, fmt.Errorf("compression policy %q is unknown", policy)
}
