package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/serial/serialtest"
	"vpnd/tunnel/frame"
)

// tap is what somebody on the line hears of one end, and does to it.
type tap struct {
	end  *serialtest.End
	mu   sync.Mutex
	said []byte // by this end
	mute bool   // nothing of that arrives
	lose int    // as little of so many writes
	size int    // of all that it said
}

// tapped is the port of an end with a tap.
type tapped struct {
	Port
	tap *tap
}

func (p tapped) Write(b []byte) (int, error) {
	p.tap.mu.Lock()
	p.tap.said = append(p.tap.said, b...)
	p.tap.size += len(b)
	mute := p.tap.mute || p.tap.lose > 0
	p.tap.lose--
	p.tap.mu.Unlock()
	if mute {
		return len(b), nil
	}
	return p.Port.Write(b)
}

// open is Line.Open.
func (t *tap) open(context.Context) (Port, error) { return tapped{t.end.Open(), t}, nil }

// silence says whether what this end says arrives.
func (t *tap) silence(mute bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mute = mute
}

// heard returns the frames that this end has sent since it was asked last.
func (t *tap) heard() [][]byte {
	synctest.Wait()
	t.mu.Lock()
	said := t.said
	t.said = nil
	t.mu.Unlock()
	return lineFrames(said)
}

// spoken is how many bytes this end has sent.
func (t *tap) spoken() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.size
}

// play makes this end hear frames.
func (t *tap) play(frames ...[]byte) {
	var b []byte
	for _, f := range frames {
		b = frame.NewLineWriter(frame.Filter{}).Append(b, f)
	}
	t.end.Inject(string(b))
}

// lineFrames are the frames in a stream.
func lineFrames(b []byte) (frames [][]byte) {
	in := frame.NewLineReader(bytes.NewReader(b), frame.Filter{}, largestFrame, modemText, func() {})
	for {
		f, err := in.Next()
		if errors.Is(err, io.EOF) {
			return frames
		}
		frames = append(frames, bytes.Clone(f))
	}
}

// only are the frames with a control byte; 0 stands for those of the data channel.
func only(frames [][]byte, control byte) (some [][]byte) {
	for _, f := range frames {
		if f[0] == control || control == 0 && f[0]&handshakeBit == 0 {
			some = append(some, f)
		}
	}
	return some
}

// handshakeFrame makes a frame of a handshake message, which anybody can.
func handshakeFrame(control byte, message []byte) []byte {
	return frame.AppendFCS(append([]byte{control}, message...))
}

// tappedLine is a line with two ends and somebody between them.
type tappedLine struct {
	*serialtest.Line
	wire               serialtest.Wire
	config             [2]Config // of the server and of the client
	toServer, toClient *tap      // what they say, and hear
	server, client     *end
}

// tapLine starts both ends, and waits for the link.
func tapLine(t *testing.T, wire serialtest.Wire, change func(*Config)) *tappedLine {
	t.Helper()
	l := newTappedLine(t, wire, change)
	l.server, l.client = start(t, l.config[0]), start(t, l.config[1])
	await(t, l.server.up, "link of the server")
	await(t, l.client.up, "link of the client")
	return l
}

// newTappedLine starts neither.
func newTappedLine(t *testing.T, wire serialtest.Wire, change func(*Config)) *tappedLine {
	t.Helper()
	l := &tappedLine{Line: serialtest.New(wire, 1), wire: wire}
	l.toServer, l.toClient = &tap{end: l.A}, &tap{end: l.B}
	for i, tap := range []*tap{l.toServer, l.toClient} {
		l.config[i] = lineConfig(t, tap.end, wire, i == 0, change)
		l.config[i].Line.Open = tap.open
	}
	t.Cleanup(func() {
		for _, e := range []*end{l.server, l.client} {
			if e != nil {
				e.stop(t)
			}
		}
		l.Close()
	})
	return l
}

// disturbed says what happened to the link since it had that number.
func (l *tappedLine) disturbed(t *testing.T, links uint64) error {
	passes(t, l.server, l.client)
	for _, e := range []*end{l.server, l.client} {
		if s := e.Stats(); s.State != "up" || s.Links != links || len(e.up)+len(e.down) != 0 {
			return fmt.Errorf("the link was disturbed: %+v", s)
		}
	}
	return nil
}

// settled waits until nothing is under way.
func settled(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
