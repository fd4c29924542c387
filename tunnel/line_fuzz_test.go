package tunnel

import (
	"bytes"
	"crypto/rand"
	"errors"
	"log/slog"
	"testing"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// lineStage is where FuzzLine plays: a tunnel of each side, with the keys of a link.
type lineStage struct {
	tunnel *Tunnel
	device *scale
	keys   *crypto.Generation
	call   *crypto.Initiator
}

func newLineStage(t testing.TB, client bool) *lineStage {
	t.Helper()
	s := &lineStage{device: &scale{closed: true}}
	c := testConfig(t)
	c.Ciphers, c.Log = []crypto.Cipher{aes}, slog.New(slog.DiscardHandler)
	c.Device, c.Line = s.device, &Line{Speed: 9600, Answers: !client, Name: "line"}
	var err error
	if s.tunnel, err = New(c); err != nil {
		t.Fatal(err)
	}
	call, f1, err := crypto.Initiate(c.Keys[0], c.Random, s.tunnel.hello().append(nil))
	if err != nil {
		t.Fatal(err)
	}
	answered, err := crypto.NewDoor(c.Random, c.Keys...).Open(f1)
	if err != nil {
		t.Fatal(err)
	}
	f2, server, err := answered.Answer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.keys = server; client {
		if _, s.keys, err = call.Finish(f2); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// driver returns a driver without goroutines, with a link or without.
func (s *lineStage) driver(t *testing.T, linked bool) *lineDriver {
	t.Helper()
	c := &s.tunnel.config
	s.tunnel.door = newSharedDoor(c.Random, c.Keys...) // that has seen nobody
	d := newLineDriver(s.tunnel, nil)
	d.begin()
	if linked {
		d.current = lineSession(t, d, aes, again(s.keys))
	}
	return d
}

// maxLineUsed is what bytes of a line may cost: the reader's buffer, the keys of a
// few epochs ahead, and a session for each first flight that is right.
const maxLineUsed = 4 << 20

// FuzzLine plays any bytes to an end of a line. Nothing of them reaches the device.
func FuzzLine(f *testing.F) {
	server, client := newLineStage(f, false), newLineStage(f, true)
	key := testKey(f, 1)
	_, f1, err := crypto.Initiate(key, rand.Reader, client.tunnel.hello().append(nil))
	if err != nil {
		f.Fatal(err)
	}
	hail, err := key.Hail(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	line := func(frames ...[]byte) (b []byte) {
		for _, one := range frames {
			b = frame.NewLineWriter(frame.Filter{}).Append(b, one)
		}
		return b
	}
	data := append([]byte{0, 0, 0, 1, frameBatch}, make([]byte, 40)...)
	for _, seed := range [][]byte{
		nil, []byte("~~~~"), []byte("}~}}~"), []byte("\r\nNO CARRIER\r\nlogin: "),
		line(handshakeFrame(lineF1, f1)), line(handshakeFrame(lineF1, f1), handshakeFrame(lineF1, f1), data),
		line(handshakeFrame(lineHail, hail), handshakeFrame(lineHail, hail)),
		line(handshakeFrame(lineF2, make([]byte, crypto.F2Size))), line(data), line(flipped(data, 3)), line(flipped(data, 1), flipped(data, 2)),
		line(make([]byte, shortest-1), make([]byte, shortest)), bytes.Repeat([]byte{0x55}, 70000),
	} {
		for i := range 8 {
			f.Add(i&1 != 0, i&2 != 0, i&4 != 0, seed)
		}
	}
	f.Fuzz(func(t *testing.T, toClient, linked, filtered bool, stream []byte) {
		s := server
		if toClient {
			s = client
		}
		s.device.t = t
		d := s.driver(t, linked)
		defer d.timer.Stop()
		before := allocated()
		spoke := 0
		in := frame.NewLineReader(bytes.NewReader(stream), frame.Filter{XON: filtered}, largestFrame, modemText, func() { spoke++ })
		for {
			fr, err := in.Next()
			if err != nil {
				break
			}
			if len(fr) == 0 || len(fr) > largestFrame {
				t.Fatalf("frame of %d bytes", len(fr))
			}
			d.frame(t.Context(), fr)
		}
		for range spoke {
			d.ask()
		}
		if used := allocated() - before; used > maxLineUsed {
			t.Errorf("%d bytes take %d bytes of memory", len(stream), used)
		}
		if s.tunnel.point.link.Load() != nil || linked == (d.current == nil) || linked && d.current.ctx.Err() != nil {
			t.Errorf("the link changed: %v", d.current)
		}
	})
}

// What a peer does in FuzzLineFrames beside sending a frame of the type that the step
// has, which the end gets.
const (
	lineLost    = 0xf0 // the next frame is lost
	lineEpoch   = 0xf1 // so many epochs are left out
	linePlayed  = 0xf2 // an earlier frame, by its number, comes again
	lineDamaged = 0xf3 // the last frame comes again, with a bit flipped
	lineRekey   = 0xf4 // the peer's message of a rekey, and the change of keys
)

// FuzzLineFrames plays scripts of good frames, of which some get lost, come again or
// are damaged, see step.
func FuzzLineFrames(f *testing.F) {
	batch := step(frameBatch, stored(udp(30, 1))...)
	for _, script := range [][][]byte{
		{batch, step(framePing, stamped(1)...), step(linePlayed, 0), step(lineDamaged, 9)},
		{batch, step(lineEpoch, 1), batch, step(linePlayed, 0), step(lineLost), batch, step(lineEpoch, 15), batch, step(lineEpoch, 16), batch},
		{packed("s2"), step(lineLost), packed("zstd"), packed("deflate"), packed("off")},
		{step(lineRekey), batch, step(lineRekey), step(lineLost), batch, batch, step(linePlayed, 1)},
		{step(frameRekey1, make([]byte, crypto.RekeySize)...)},
		{step(frameRekey2, make([]byte, crypto.RekeySize)...)},
		{step(frameReset, 0, 0, 0, 1), step(frameConfirm), step(frameConfirm), step(frameTime, stamped(9)...), step(framePong, stamped(9, 9)...)},
		{step(frameRatchet, 0)}, {step(frameClose, 1)}, {step(frameBatch)}, {step(99)},
	} {
		f.Add(false, bytes.Join(script, nil))
		f.Add(true, bytes.Join(script, nil))
	}
	f.Fuzz(func(t *testing.T, toClient bool, script []byte) {
		c := newLineCast(&attack{t: t}, aes, toClient)
		p := &linePlayer{lineCast: c}
		for len(script) >= 3 && !p.over {
			kind, n := script[0], int(script[1])<<8|int(script[2])
			payload := script[3:][:min(n, len(script)-3)]
			script = script[3+len(payload):]
			p.act(kind, payload)
		}
	})
}

// linePlayer plays a script.
type linePlayer struct {
	*lineCast
	sent   [][]byte
	lost   bool // the next frame
	far    int  // epochs left out since a frame came
	rekeys int
	over   bool
}

func (p *linePlayer) act(kind uint8, payload []byte) {
	first := func() int {
		if len(payload) == 0 {
			return 0
		}
		return int(payload[0])
	}
	switch kind {
	case lineLost:
		p.lost = true
	case lineEpoch:
		n := first() % 20
		p.ratchet(n)
		p.far += n
	case linePlayed:
		if len(p.sent) > 0 {
			p.refused(p.sent[first()%len(p.sent)])
		}
	case lineDamaged:
		if n := len(p.sent); n > 0 {
			p.refused(flipped(p.sent[n-1], first()%(8*len(p.sent[n-1]))))
		}
	case lineRekey:
		if p.rekeys++; p.rekeys > 3 || p.far > 15 || p.client && p.session.keys.pending != nil || len(p.session.control) > controlRoom/2 {
			return
		}
		p.lost = false
		p.good(p.startRekey())
		p.change()
		p.good(p.send(framePing, stamped(1)...))
		p.far = 0
	default:
		p.frame(p.send(kind, payload[:min(len(payload), frame.MaxText-1)]...))
	}
}

// refused plays a frame that is old or damaged.
func (p *linePlayer) refused(f []byte) {
	if err := p.session.receive.fromLine(bytes.Clone(f)); !errors.Is(err, errForeign) || len(p.device.out) > 0 {
		p.t.Fatalf("%x is accepted: %v", f, err)
	}
}

func (p *linePlayer) good(f []byte) {
	p.sent = append(p.sent, bytes.Clone(f))
	if err := p.session.receive.fromLine(f); err != nil {
		p.t.Fatalf("a good frame is refused: %v", err)
	}
}

// frame plays a frame whose content is anything.
func (p *linePlayer) frame(f []byte) {
	if p.lost {
		p.lost = false
		return
	}
	p.sent = append(p.sent, bytes.Clone(f))
	before := allocated()
	err := p.session.receive.fromLine(f)
	switch {
	case errors.Is(err, errForeign) != (p.far > 15):
		p.t.Fatalf("%d epochs ahead: %v", p.far, err)
	case err == nil:
		p.far = 0
	case !errors.Is(err, errForeign):
		p.over = true
		if !errors.As(err, new(*closeError)) {
			p.t.Fatal(err)
		}
	}
	if used := allocated() - before; used > maxUsed {
		p.t.Errorf("a frame of %d bytes takes %d bytes of memory", len(f), used)
	}
	for len(p.device.out) > 0 {
		<-p.device.out
	}
	if len(p.session.control) > controlRoom {
		p.t.Error("too much waits")
	}
}
