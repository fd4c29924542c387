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
	// lineBacklog is how much of the line's time may be waiting below the sender.
	lineBacklog = 50 * time.Millisecond
	// batchTime is how long a frame with several packets may take.
	batchTime = 100 * time.Millisecond
	// lineQueueTime and lineQueuePackets are how much may wait for a line at least.
	lineQueueTime    = 2 * time.Second
	lineQueuePackets = 10
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

func (*lineWire) room() int       { return lineHeader }
func (*lineWire) announces() bool { return false }

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

// pacer writes to a port, never further ahead of the line than lineBacklog. Its
// users take turns.
type pacer struct {
	port  Port
	speed int
	turn  chan struct{} // has room for the one whose turn it is
	free  time.Time     // when the line has sent all that was written
}

func newPacer(port Port, speed int) *pacer {
	return &pacer{port: port, speed: speed, turn: make(chan struct{}, 1)}
}

// write writes b and waits until the line has sent nearly all of it, or ctx ends.
func (p *pacer) write(ctx context.Context, b []byte) error {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if err := p.put(ctx, b); err != nil {
		return err
	}
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(p.time(len(b)))
	for {
		wait := time.Until(p.free)
		if n, err := p.port.Waiting(); err == nil {
			wait = max(wait, p.time(n))
		}
		if wait -= lineBacklog; wait <= 0 || ctx.Err() != nil {
			return nil
		}
		pause(ctx, wait)
	}
}

// put gives b to the driver. After the end of ctx that may take closeTimeout.
func (p *pacer) put(ctx context.Context, b []byte) error {
	p.port.SetWriteDeadline(time.Time{})
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		p.port.SetWriteDeadline(time.Now().Add(closeTimeout))
		close(ended)
	})
	_, err := p.port.Write(b)
	if !stop() {
		<-ended
	}
	return err
}

// time returns how long the line takes for n bytes of 10 bits.
func (p *pacer) time(n int) time.Duration {
	return time.Duration(n) * 10 * time.Second / time.Duration(p.speed)
}

// bytes returns how many bytes the line takes in a time.
func (p *pacer) bytes(t time.Duration) int { return int(t * time.Duration(p.speed) / 10 / time.Second) }

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

func (c *lineConn) Write(b []byte) (int, error)        { return len(b), c.write(c.ctx, b) }
func (c *lineConn) Read([]byte) (int, error)           { return 0, io.EOF }
func (c *lineConn) Close() error                       { return nil }
func (c *lineConn) LocalAddr() net.Addr                { return lineAddr(c.name) }
func (c *lineConn) RemoteAddr() net.Addr               { return lineAddr(c.name) }
func (c *lineConn) SetDeadline(t time.Time) error      { return os.ErrNoDeadline }
func (c *lineConn) SetReadDeadline(t time.Time) error  { return nil }
func (c *lineConn) SetWriteDeadline(t time.Time) error { return nil } // see put

// lineAddr is the name of a line as an address.
type lineAddr string

// Network returns "serial".
func (lineAddr) Network() string { return "serial" }

// String returns the device.
func (a lineAddr) String() string { return string(a) }

// errForeign says that a frame was damaged, or is not of this session.
var errForeign = errors.New("frame of no session")
