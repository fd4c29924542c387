package tunnel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"vpnd/compress"
	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// newLineEnd returns an end of a line with a link and without goroutines, and the
// keys of its peer.
func newLineEnd(t *testing.T, device Device, cipher crypto.Cipher, client bool) (d *lineDriver, peer *crypto.Generation) {
	t.Helper()
	c := testConfig(t)
	c.Device, c.Log = device, slog.New(slog.DiscardHandler)
	c.Line = &Line{Speed: 9600, Answers: !client, Name: "line"}
	tunnel, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	peer, own := generations(t)
	if client {
		peer, own = own, peer
	}
	d = newLineDriver(tunnel, nil)
	d.current = lineSession(t, d, cipher, own)
	return d, peer
}

// lineSession returns a session that nobody runs.
func lineSession(t *testing.T, d *lineDriver, cipher crypto.Cipher, keys *crypto.Generation) *session {
	t.Helper()
	s, err := d.session(context.Background(), greeting{
		answer: answer{cipher: cipher, compression: compress.All, terms: terms{keyBits: d.config.KeyBits, keyTTL: time.Hour}},
		peer:   terms{maxFrame: frame.MaxText, mtu: 1500},
		keys:   keys,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

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
	d, peer := newLineEnd(t, g.device, cipher, false)
	g.session = d.current
	var err error
	if g.sealer, _, err = peer.Keys(g.session.suite); err != nil {
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
