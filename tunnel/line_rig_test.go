package tunnel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// rig is the receiving end of a line, and the keys of its peer.
type rig struct {
	t       *testing.T
	device  *scale
	session *session
	wire    *lineWire
	sealer  *crypto.Sealer
	changes uint8
	scratch []byte
}

func newRig(t *testing.T, cipher crypto.Cipher) *rig {
	t.Helper()
	g := &rig{t: t, device: &scale{t: t}, wire: &lineWire{frames: frame.NewLineWriter(frame.Filter{})}}
	c := testConfig(t)
	c.Log = slog.New(slog.DiscardHandler)
	c.Device, c.Line = g.device, &Line{Speed: 9600, Answers: true}
	tunnel, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	client, server := generations(t)
	suite := crypto.Suite{Cipher: cipher, KeyBits: c.KeyBits}
	if g.sealer, _, err = client.Keys(suite); err != nil {
		t.Fatal(err)
	}
	pace := newPacer(nil, c.Line, c.MTU)
	g.session, err = tunnel.newSession(context.Background(), greeting{
		conn: &lineConn{pacer: pace, name: "line"}, line: pace, wire: g.wire,
		answer: answer{cipher: cipher, terms: terms{keyBits: c.KeyBits, keyTTL: time.Hour}},
		peer:   terms{maxFrame: frame.MaxText, mtu: 1500},
		keys:   server,
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// seal returns a frame as it travels, and moves to the next epoch when it is time.
func (g *rig) seal(out []byte, kind uint8, payload ...byte) []byte {
	f := append(append(append(g.scratch[:0], 0, 0, 0, 0), kind), payload...)
	sealed, err := g.wire.seal(f, 0, g.sealer, g.changes)
	if err != nil {
		g.t.Fatal(err)
	}
	g.scratch = sealed
	if g.wire.due(g.sealer) {
		if err := g.sealer.Ratchet(); err != nil {
			g.t.Fatal(err)
		}
	}
	return append(out, sealed...)
}

// play gives all bytes of a stream to the receiver, and what it says of each frame
// to judge.
func (g *rig) play(stream io.Reader, judge func(error)) {
	in := frame.NewLineReader(stream, frame.Filter{}, largestFrame, modemText, func() {})
	for {
		f, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			g.t.Fatal(err)
		}
		if f[0]&handshakeBit == 0 {
			judge(g.session.receive.fromLine(f))
		}
	}
}
