package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// Frames of a serial line are those of package frame, with
//
//	control 1 | rest
//
// inside. The control byte of a frame of the data channel is
//
//	0 | generation 2 bits | epoch 5 bits
//
// and the rest is number 3 | ciphertext | tag 16; control and number are the header
// of the sealed frame. Otherwise the control byte is one of these, and the rest
// ends with a frame check sequence, because noise must not cost a handshake.
const (
	lineHail = 0x81
	lineF1   = 0x82
	lineF2   = 0x83

	handshakeBit   = 0x80
	generationMask = 3
	lineHeader     = 4
	// shortest is a sealed frame with a type and nothing else.
	shortest = lineHeader + 1 + crypto.TagSize
)

// Port is an open serial line. Close hangs up.
type Port interface {
	io.ReadWriteCloser
	SetWriteDeadline(t time.Time) error
	// Waiting returns how many written bytes the driver has not sent.
	Waiting() (int, error)
}

// Line is the serial line that a tunnel runs over, instead of TCP.
type Line struct {
	// Open opens the line and makes it ready, which includes to dial.
	Open func(ctx context.Context) (Port, error)
	// Name is what people call it: the device.
	Name   string
	Speed  int // bit/s
	Filter frame.Filter
	// Answers makes this end the server.
	Answers bool
	// Modem says that Open dials, or waits for a call: when a link has ended, or does
	// not come up, that is done again.
	Modem bool
	// HalfDuplex says that what both ends send at a time is lost.
	HalfDuplex bool
	// Demand has the line opened when the first packet waits.
	Demand bool
	// Idle is after how long without a packet the line is closed, until one waits; 0
	// is never.
	Idle time.Duration
}

// modemText is what a modem says when it hung up. A link is not ended by it, since
// anybody can say it; but the peer is asked at once.
const modemText = "NO CARRIER"

const (
	// lineQueueTime is how much may wait for a line, if that is more than what waited
	// before it was open.
	lineQueueTime = 2 * time.Second
	// hailEvery is how often a server without a session hails at most: firstHails times
	// by itself, and then when it hears something.
	hailEvery  = 5 * time.Second
	firstHails = 6
	// firstWait is added to the time that both flights take on the line.
	firstWait = time.Second
	// mostRepeats is how often a first flight is sent before another one is made: some
	// lines never pass certain bytes.
	mostRepeats = 3
	// mostWait bounds the wait for an answer, which doubles each time.
	mostWait = 30 * time.Second
)

// lineWire is the wire of a serial line.
type lineWire struct {
	frames  *frame.LineWriter
	escaped []byte
}

func (*lineWire) room() int                 { return lineHeader }
func (*lineWire) due(s *crypto.Sealer) bool { return s.LineDue() }
func (*lineWire) announces() bool           { return false }

func (w *lineWire) seal(out []byte, start int, s *crypto.Sealer, generation uint8) ([]byte, error) {
	f := out[start:]
	binary.BigEndian.PutUint32(f, s.Number()) // the first byte of it is zero
	f[0] = generation&generationMask<<crypto.EpochBits | uint8(s.Epoch())&(1<<crypto.EpochBits-1)
	sealed, err := s.Seal(f, lineHeader)
	if err != nil {
		return out[:start], err
	}
	w.escaped = w.frames.Append(w.escaped[:0], sealed)
	return append(out[:start], w.escaped...), nil
}

// answerTime is after how long a question in the channel is asked again.
func (p *pacer) answerTime() time.Duration { return firstWait + 2*p.time(2*rekeyFrame) }

// rekeyFrame is about what a REKEY takes on the line.
const rekeyFrame = lineHeader + 1 + crypto.RekeySize + crypto.TagSize + 4

// lineConn is a line as a session sees it. Closing it leaves the line open, for the
// next session.
type lineConn struct {
	*pacer
	ctx  context.Context // of the session
	name string
}

// Write returns nil when the driver has all of b.
func (c *lineConn) Write(b []byte) (int, error) {
	if err := c.write(c.ctx, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *lineConn) Read([]byte) (int, error)           { return 0, io.EOF }
func (c *lineConn) Close() error                       { return nil }
func (c *lineConn) LocalAddr() net.Addr                { return lineAddr(c.name) }
func (c *lineConn) RemoteAddr() net.Addr               { return lineAddr(c.name) }
func (c *lineConn) SetDeadline(t time.Time) error      { return os.ErrNoDeadline }
func (c *lineConn) SetReadDeadline(t time.Time) error  { return nil }
func (c *lineConn) SetWriteDeadline(t time.Time) error { c.limit(c.ctx, t); return nil }

// lineAddr is the name of a line as an address.
type lineAddr string

// Network returns "serial".
func (lineAddr) Network() string { return "serial" }

// String returns the device.
func (a lineAddr) String() string { return string(a) }

// errForeign says that a frame was damaged, or is not of this session.
var errForeign = errors.New("frame of no session")
