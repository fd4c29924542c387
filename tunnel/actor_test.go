package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"vpnd/compress"
	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// A script is what a peer does that has the keys and uses them as it likes: steps
// of
//
//	kind 1 | length 2 | payload
//
// each a frame, sealed as it should be, or one of those below. A length beyond
// the end of the script means the rest of it. The frames are numbered as the peer
// sends them, and a RATCHET is followed by frames under the new keys.
const (
	stepWait  = 0xf0 // payload[0] seconds pass
	stepWork  = 0xf1 // the sender of the end takes what it is asked to send
	stepRekey = 0xf2 // the peer's message of a rekey, if it is its turn
)

// step returns one step of a script.
func step(kind uint8, payload ...byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(payload)))
	return append(b, payload...)
}

// verdict is what must become of a session at a frame.
type verdict int

const (
	unknown verdict = iota
	goesOn
	ends
)

// actor plays a script. It is the stream that a receiver reads from: each frame
// is made when the one before has been dealt with.
type actor struct {
	net.Conn // nil: only Read is called
	t        *testing.T
	r        *receiver
	device   *scale
	script   []byte
	now      time.Duration
	keys     *crypto.Generation // the peer's
	sealer   *crypto.Sealer
	whole    []byte // the present frame
	sealed   []byte // what is not read yet of it
	frames   int
	kind     uint8
	payload  []byte
	must     verdict // of the present frame
	over     bool    // the stream has ended
	before   uint64  // bytes allocated before the frame

	// What the receiver has to know by now.
	unproven, timed bool
	asked           []byte             // REKEY1 of the end, to be answered
	rekey           *crypto.Rekey      // REKEY1 of the peer, to be answered
	rekeys          int                // the right REKEY1 or REKEY2 was sent
	answered        bool               // it took a REKEY1 or REKEY2, and the change is not over
	next            *crypto.Generation // for the peer to change to
	epochs          int                // RATCHETs to the next one
	lost            bool               // the peer has not got the keys any more
}

// Read gives the receiver the frame, and when that was taken the next.
func (a *actor) Read(b []byte) (int, error) {
	for len(a.sealed) == 0 && !a.over {
		a.judge()
		a.act()
	}
	if a.over {
		return 0, io.EOF
	}
	n := copy(b, a.sealed)
	a.sealed = a.sealed[n:]
	return n, nil
}

// judge looks at what the receiver did with the frame, after which the session
// goes on.
func (a *actor) judge() {
	if a.must == ends {
		a.t.Errorf("frame %d, type %d, %x, is accepted", a.frames, a.kind, a.payload)
	}
	packets := a.kind == frameBatch || a.kind == frameSegments
	if packets && a.must == goesOn {
		if want := forDevice(a.kind, a.payload[1:]); !bytes.Equal(a.device.taken, want) {
			a.t.Errorf("frame %d: written %x, want %x", a.frames, a.device.taken, want)
		}
	} else if !packets && len(a.device.taken) > 0 {
		a.t.Errorf("frame %d, type %d: written %x", a.frames, a.kind, a.device.taken)
	}
	a.device.taken = a.device.taken[:0]
	a.weigh()
}

// maxUsed is what the receiver may allocate for one frame: a decoder, once, what all
// decoders begin with, and
// what the fuzzing around it needs.
const maxUsed = 6 << 20

// weigh looks at the memory that the frame took.
func (a *actor) weigh() {
	now := allocated()
	if used := now - a.before; used > maxUsed {
		a.t.Errorf("frame %d, type %d with %d bytes: %d bytes of memory", a.frames, a.kind, len(a.payload), used)
	}
	a.before = now
}

// forDevice returns what of a block reaches the device.
func forDevice(kind uint8, block []byte) []byte {
	if kind == frameBatch {
		return packetsForDevice(block)
	}
	if len(block) < HeaderSize {
		return nil
	}
	p := block[HeaderSize:]
	o := parseOffload(block, binary.LittleEndian)
	if n, ok := o.headers(p); !ok || o.many(p, n) || isLocal(p) {
		return nil
	}
	return p
}

// packetsForDevice returns the packets that a block begins with, without those
// that are not for a tunnel.
func packetsForDevice(block []byte) (packets []byte) {
	for {
		n, ok := packetLen(block)
		if !ok {
			return packets
		}
		if !isLocal(block[:n]) {
			packets = append(packets, block[:n]...)
		}
		block = block[n:]
	}
}

// act takes the next step of the script.
func (a *actor) act() {
	a.kind, a.must = 0, unknown
	if len(a.script) < 3 {
		a.over = true
		return
	}
	kind, n := a.script[0], int(binary.BigEndian.Uint16(a.script[1:]))
	rest := a.script[3:]
	payload := rest[:min(n, len(rest))]
	a.script = rest[len(payload):]
	switch kind {
	case stepWait:
		if len(payload) > 0 {
			a.now += time.Duration(payload[0]) * time.Second
		}
		a.over = a.r.keys.check(a.now) != nil
	case stepWork:
		for len(a.r.control) > 0 {
			a.read(<-a.r.control)
		}
	case stepRekey:
		a.rekeying()
	default:
		a.send(kind, payload[:min(len(payload), frame.MaxText-1)])
	}
}

// read takes a message that the end sends.
func (a *actor) read(m message) {
	var err error
	switch m.kind {
	case frameRekey1:
		a.asked = m.payload
	case frameRekey2:
		if a.next, err = a.rekey.Finish(m.payload); err != nil {
			a.t.Error("answer to a rekey:", err)
		}
		a.rekey = nil
	case framePong, frameReset, askReset, askGeneration, askPonged:
	default:
		a.t.Errorf("the end sends a frame of type %d", m.kind)
	}
}

// maxRekeys bounds the time that a script takes.
const maxRekeys = 3

// rekeying sends a right REKEY1, or REKEY2 when the end has asked. A REKEY1 is out
// of turn for a client, and for a server that has taken one.
func (a *actor) rekeying() {
	if a.lost || a.unproven || a.rekeys == maxRekeys {
		return
	}
	a.rekeys++
	var text []byte
	var err error
	kind, must := uint8(frameRekey1), goesOn
	if a.r.client && a.asked != nil {
		kind = frameRekey2
		text, a.next, err = a.keys.AnswerRekey(rand.Reader, a.asked)
		a.asked = nil
	} else {
		a.rekey, text, err = a.keys.Rekey(rand.Reader)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	if a.r.client != (kind == frameRekey2) || a.answered || len(a.r.control) == controlRoom {
		must = ends
	}
	a.send(kind, text)
	a.answered, a.must = true, must
}

// send makes a frame, and says what must come of it.
func (a *actor) send(kind uint8, payload []byte) {
	a.frames++
	a.kind, a.payload = kind, payload
	f := append(make([]byte, frame.HeaderSize, frame.HeaderSize+1+len(payload)+crypto.TagSize), kind)
	f = append(f, payload...)
	frame.PutHeader(f, 1+len(payload))
	var err error
	if a.whole, err = a.sealer.Seal(f, frame.HeaderSize); err != nil {
		a.t.Fatal(err)
	}
	a.sealed = a.whole
	if a.must = a.expect(kind, payload); a.lost {
		a.must = ends
	}
	a.device.closed = a.must == ends || a.unproven
	if a.must != goesOn {
		return
	}
	switch kind {
	case frameTime:
		a.timed = true
	case frameConfirm:
		a.unproven, a.answered = false, false
	case frameRatchet:
		a.change(payload[0])
	}
}

// expect says what must become of the session at a frame. It leaves out the
// right REKEY1 and REKEY2.
func (a *actor) expect(kind uint8, payload []byte) verdict {
	size, fixed := map[uint8]int{
		framePing: 8, framePong: 16, frameTime: 8, frameRatchet: 1, frameConfirm: 0, frameReset: 4,
	}[kind]
	switch {
	case a.unproven != (kind == frameConfirm):
		return ends // the first frame of each generation, and no other
	case kind == frameBatch, kind == frameSegments:
		return a.expectBatch(payload)
	case !fixed || size != len(payload):
		return ends // unknown types, CLOSE, rekeys that cannot be authentic
	case kind == frameTime && a.r.delay.limit > 0:
		a.timed = true
		return unknown
	case kind == frameRatchet && payload[0] == nextGeneration:
		if !a.answered {
			return ends
		}
	case kind == frameRatchet && (payload[0] != nextEpoch || a.epochs == maxEarly):
		return ends // none of the epochs has carried what it may
	case kind == frameConfirm && a.answered && len(a.r.control) == controlRoom:
		return ends
	}
	return goesOn
}

func (a *actor) expectBatch(payload []byte) verdict {
	switch late := a.r.delay.limit > 0; {
	case len(payload) == 0, late && !a.timed, payload[0]&1 != 0, payload[0]>>4 > 4:
		return ends
	case payload[0] == 0 && !late:
		return goesOn
	}
	return unknown
}

// change follows a RATCHET.
func (a *actor) change(to byte) {
	if to == nextEpoch {
		a.epochs++
		if err := a.sealer.Ratchet(); err != nil {
			a.t.Fatal(err)
		}
		return
	}
	a.answered, a.unproven = !a.r.client, !a.r.client
	if a.next == nil {
		a.lost = true
		return
	}
	var err error
	if a.sealer, _, err = a.next.Keys(a.r.suite); err != nil {
		a.t.Fatal(err)
	}
	a.keys, a.next = a.next, nil
}

// studio plays scripts, one after the other.
type studio struct {
	client bool // what the receiver is
	slots  [][]byte

	// The keys of the first generation; nil when they are gone.
	own, peers *crypto.Generation
	opener     *crypto.Opener
	sealer     *crypto.Sealer
}

var fastSuite = crypto.Suite{Cipher: crypto.AES256GCM}

// shakeHands makes keys, unless those of the last script are as good as new.
func (s *studio) shakeHands(t *testing.T) {
	if s.own != nil {
		return
	}
	key := testKey(t, 1)
	i, f1, err := crypto.Initiate(key, rand.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	call, err := crypto.NewDoor(rand.Reader, key).Open(f1)
	if err != nil {
		t.Fatal(err)
	}
	f2, server, err := call.Answer(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, client, err := i.Finish(f2)
	if err != nil {
		t.Fatal(err)
	}
	if s.own, s.peers = server, client; s.client {
		s.own, s.peers = client, server
	}
	if _, s.opener, err = s.own.Keys(fastSuite); err != nil {
		t.Fatal(err)
	}
	if s.sealer, _, err = s.peers.Keys(fastSuite); err != nil {
		t.Fatal(err)
	}
}

// play gives a script to a receiver and checks what must hold of any script. It
// returns the actor and the error that ended the session.
func (s *studio) play(t *testing.T, script []byte, maxDelay time.Duration) (*actor, error) {
	s.shakeHands(t)
	a := &actor{t: t, script: script, now: time.Hour, keys: s.peers, sealer: s.sealer, unproven: !s.client}
	a.device = &scale{t: t}
	tunnel := &Tunnel{config: Config{
		MaxDelay: maxDelay, Random: rand.Reader, Now: func() time.Duration { return a.now },
	}}
	inside := &deliverer{device: a.device, count: &tunnel.count, tray: &tray{slots: s.slots}}
	e := &session{t: tunnel, owner: &peer{}, count: &tunnel.count, inside: inside, ctx: context.Background(), conn: a, client: s.client, suite: fastSuite, keyTTL: time.Minute, control: make(chan message, controlRoom)}
	e.keys.init(e, s.own)
	a.r = &e.receive
	a.r.init(e, s.opener, compress.All)

	a.before = allocated()
	err := a.r.run()
	a.checkEnd(err)
	st := tunnel.count.snapshot()
	if in := st.Inside.PacketsOut + st.DropsIn["malformed"] + st.DropsIn["discovery"] + st.DropsIn["too_old"]; st.Wire.PacketsIn != in || int(st.Inside.PacketsOut) != a.device.packets {
		t.Errorf("%d packets written, counted %+v", a.device.packets, st)
	}
	if errors.Is(err, frame.ErrLength) { // the receiver has not opened it
		s.opener.Open(a.whole[:frame.HeaderSize], a.whole[frame.HeaderSize:])
	}
	s.tidy(a)
	return a, err
}

// checkEnd looks at how a session ended.
func (a *actor) checkEnd(err error) {
	a.weigh()
	var c *closeError
	switch {
	case a.over != errors.Is(err, errLine):
		a.t.Errorf("ended with %v, end of the stream %v", err, a.over)
	case a.over:
	case !errors.As(err, &c) || c.peer != (a.kind == frameClose && len(a.payload) == 1 && !a.unproven && !a.lost):
		a.t.Errorf("frame %d, type %d, %x: %v", a.frames, a.kind, a.payload, err)
	case a.must == goesOn:
		a.t.Errorf("frame %d, type %d, %x, is refused: %v", a.frames, a.kind, a.payload, err)
	case a.must == ends && len(a.device.taken) > 0:
		a.t.Errorf("frame %d, type %d: written %x", a.frames, a.kind, a.device.taken)
	}
}

// tidy keeps the keys that the two ends have now for the next script, if they are
// the same and nothing is under way.
func (s *studio) tidy(a *actor) {
	k := &a.r.keys
	s.own, s.peers, s.opener, s.sealer = k.current, a.keys, a.r.opener, a.sealer
	if a.lost || a.answered || s.opener.Epoch() != s.sealer.Epoch() || s.sealer.Due() {
		s.own = nil
	}
}

func newStudio(client bool) *studio {
	s := &studio{client: client, slots: make([][]byte, (*scale)(nil).BatchSize())}
	for i := range s.slots {
		s.slots[i] = make([]byte, slotSize)
	}
	return s
}
