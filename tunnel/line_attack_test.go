package tunnel

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"vpnd/crypto"
)

// TestLineAttacks tries what somebody can do to the bytes of a serial line, and what
// somebody with the key can do beside. Run with -v it gives the figures.
func TestLineAttacks(t *testing.T) {
	slices.Concat(lineFrameAttacks, lineOrderAttacks, lineFlightAttacks, lineReplayAttacks, lineFloodAttacks).run(t)
}

// The specimens of a side, and their bytes in all.
const (
	lineSpecimens    = 10
	lineSpecimenSize = 332
)

// lineFrameAttacks bring frames that are not right to a session. It drops them and
// goes on as if nothing had been.
var lineFrameAttacks = attacks{
	{"line: frames to a server, every bit, blowfish", 8 * lineSpecimenSize, lineBits(bf, false)},
	{"line: frames to a server, every bit, aes-256-gcm", 8 * lineSpecimenSize, lineBits(aes, false)},
	{"line: frames to a server, every bit, chacha20-poly1305", 8 * lineSpecimenSize, lineBits(chacha, false)},
	{"line: frames to a client, every bit, blowfish", 8 * lineSpecimenSize, lineBits(bf, true)},
	{"line: frames to a client, every bit, aes-256-gcm", 8 * lineSpecimenSize, lineBits(aes, true)},
	{"line: frames to a client, every bit, chacha20-poly1305", 8 * lineSpecimenSize, lineBits(chacha, true)},
	{"line: frames to a server, every length", lineSpecimenSize + 3*lineSpecimens, lineLengths(false)},
	{"line: frames to a client, every length", lineSpecimenSize + 3*lineSpecimens, lineLengths(true)},
	{"line: frames to a server, as another one", 128 * 3 * lineSpecimens, lineRelabelled(false)},
	{"line: frames to a client, as another one", 128 * 3 * lineSpecimens, lineRelabelled(true)},
	{"line: frames of a server, thrown back", lineSpecimens, lineReflected(false)},
	{"line: frames of a client, thrown back", lineSpecimens, lineReflected(true)},
	{"line: frames of another session to a server", 2 * lineSpecimens, lineSpliced(false)},
	{"line: frames of another session to a client", 2 * lineSpecimens, lineSpliced(true)},
}

// lineCast is the receiving end of a line, and its peer.
type lineCast struct {
	*attack
	client  bool
	device  *fakeDevice
	driver  *lineDriver
	session *session
	peer    *crypto.Generation
	rekey   *crypto.Rekey  // of the peer, under way
	sealer  *crypto.Sealer // of the peer
	next    *crypto.Sealer // of the next generation
	changes uint8          // of the peer's generation
}

func newLineCast(a *attack, cipher crypto.Cipher, client bool) *lineCast {
	a.t.Helper()
	c := &lineCast{attack: a, client: client, device: newFakeDevice()}
	c.driver, c.peer = newLineEnd(a.t, c.device, cipher, client)
	c.session = c.driver.current
	var err error
	if c.sealer, _, err = c.peer.Keys(c.session.suite); err != nil {
		a.t.Fatal(err)
	}
	a.devices = []*fakeDevice{c.device}
	return c
}

// seal seals a frame with a sealer of the peer, or of the end itself.
func (c *lineCast) seal(s *crypto.Sealer, generation, kind uint8, payload ...byte) []byte {
	c.t.Helper()
	f := binary.BigEndian.AppendUint32(nil, s.Number())
	f[0] = generation<<crypto.EpochBits | uint8(s.Epoch())&(1<<crypto.EpochBits-1)
	sealed, err := s.Seal(append(append(f, kind), payload...), lineHeader)
	if err != nil {
		c.t.Fatal(err)
	}
	return sealed
}

// send is a frame of the peer.
func (c *lineCast) send(kind uint8, payload ...byte) []byte {
	return c.seal(c.sealer, c.changes&generationMask, kind, payload...)
}

// take gives the end a frame that is right.
func (c *lineCast) take(f []byte) {
	c.t.Helper()
	err := c.session.receive.fromLine(bytes.Clone(f))
	if c.mark(); err != nil && !errors.As(err, new(*closeError)) {
		c.t.Errorf("a good frame: %v", err)
	}
}

// state is what no bad frame may change.
func (c *lineCast) state() string {
	s, r := c.session, &c.session.receive
	return fmt.Sprint(r.opener.Epoch(), *field[uint64](r.opener, "number"), *field[uint64](r.opener, "blocks"),
		r.changes, r.place, s.heard.Load(), s.moved.Load(), s.answered.Load(), s.rekeys.Load(), s.bytesIn.Load(), len(s.control), r.delay, s.ctx.Err())
}

// drops gives the end a frame that it must not take, beside which nothing changes.
func (c *lineCast) drops(name string, f []byte) {
	c.t.Helper()
	c.try(name, func() error {
		before := c.state()
		if err := c.session.receive.fromLine(bytes.Clone(f)); !errors.Is(err, errForeign) {
			return fmt.Errorf("accepted: %v", err)
		}
		if after := c.state(); after != before {
			return fmt.Errorf("the session was %s, is %s", before, after)
		}
		return nil
	})
}

// lineSpecimen makes a good frame, when it is its turn.
type lineSpecimen struct {
	name string
	make func() []byte
}

// specimens are frames of each type, one after the other: in the first epoch, in the
// next one and in the next generation.
func (c *lineCast) specimens() []lineSpecimen {
	send := func(kind uint8, payload ...byte) func() []byte {
		return func() []byte { return c.send(kind, payload...) }
	}
	return []lineSpecimen{
		{"BATCH", send(frameBatch, stored(udp(20, 1))...)},
		{"PING", send(framePing, stamped(1)...)},
		{"PONG", send(framePong, stamped(1, 1)...)},
		{"TIME", send(frameTime, stamped(1)...)},
		{"RESET", send(frameReset, 0, 0, 0, 1)},
		{"CONFIRM", send(frameConfirm)},
		{"next epoch", func() []byte {
			c.ratchet(1)
			return c.send(framePing, stamped(1)...)
		}},
		{"REKEY", c.startRekey},
		{"next generation", func() []byte {
			c.change()
			return c.send(framePing, stamped(1)...)
		}},
		{"CLOSE", send(frameClose, byte(closeShutdown))},
	}
}

func (c *lineCast) ratchet(n int) {
	for range n {
		if err := c.sealer.Ratchet(); err != nil {
			c.t.Fatal(err)
		}
	}
}

// startRekey is the peer's message of a rekey.
func (c *lineCast) startRekey() []byte {
	c.t.Helper()
	var m []byte
	var err error
	if c.client {
		c.asked(frameRekey1) // what came before
		if err := c.session.keys.check(c.session.keys.since + time.Hour); err != nil {
			c.t.Fatal(err)
		}
		var next *crypto.Generation
		if m, next, err = c.peer.AnswerRekey(rand.Reader, c.asked(frameRekey1)); err != nil {
			c.t.Fatal(err)
		}
		c.renew(next)
		return c.send(frameRekey2, m...)
	}
	if c.rekey, m, err = c.peer.Rekey(rand.Reader); err != nil {
		c.t.Fatal(err)
	}
	return c.send(frameRekey1, m...)
}

// change has the peer seal with the keys of the next generation.
func (c *lineCast) change() {
	c.t.Helper()
	if !c.client {
		next, err := c.rekey.Finish(c.asked(frameRekey2))
		if err != nil {
			c.t.Fatal(err)
		}
		c.renew(next)
	}
	c.sealer = c.next
	c.changes++
}

func (c *lineCast) renew(next *crypto.Generation) {
	c.t.Helper()
	var err error
	if c.next, _, err = next.Keys(c.session.suite); err != nil {
		c.t.Fatal(err)
	}
	c.peer = next
}

// asked returns the payload of the last message of a kind that the end wants to send.
func (c *lineCast) asked(kind uint8) (payload []byte) {
	for len(c.session.control) > 0 {
		if m := <-c.session.control; m.kind == kind {
			payload = m.payload
		}
	}
	return payload
}

func lineBits(cipher crypto.Cipher, client bool) func(a *attack) {
	return func(a *attack) {
		c := newLineCast(a, cipher, client)
		for _, sp := range c.specimens() {
			f := sp.make()
			for bit := range 8 * len(f) {
				c.drops(fmt.Sprintf("%s, bit %d", sp.name, bit), flipped(f, bit))
			}
			c.take(f)
		}
	}
}

func lineLengths(client bool) func(a *attack) {
	return func(a *attack) {
		c := newLineCast(a, chacha, client)
		for _, sp := range c.specimens() {
			f := sp.make()
			for n := range f {
				c.drops(fmt.Sprintf("%s, %d bytes", sp.name, n), f[:n])
			}
			for n := range 3 {
				c.drops(fmt.Sprintf("%s, %d bytes more", sp.name, n+1), append(bytes.Clone(f), make([]byte, n+1)...))
			}
			c.take(f)
		}
	}
}

// lineRelabelled says another epoch, generation and number of each frame, before the
// end has taken it and afterwards.
func lineRelabelled(client bool) func(a *attack) {
	return func(a *attack) {
		c := newLineCast(a, aes, client)
		for _, sp := range c.specimens() {
			f := sp.make()
			number := binary.BigEndian.Uint32(f) & (1<<crypto.NumberBits - 1)
			own := f[0]
			c.take(f)
			for control := range uint8(128) {
				for i, n := range []uint32{number, number + 1, 1<<crypto.NumberBits - 1} {
					other := bytes.Clone(f)
					binary.BigEndian.PutUint32(other, n)
					other[0] = control
					c.drops(fmt.Sprintf("%s of %02x as number %d of %02x (%d)", sp.name, own, n, control, i), other)
				}
			}
		}
	}
}

func lineReflected(client bool) func(a *attack) {
	return func(a *attack) {
		c := newLineCast(a, aes, client)
		for n, sp := range c.specimens() {
			c.take(sp.make())
			c.drops(sp.name, c.seal(c.session.send.sealer, c.changes&generationMask, uint8(n+1), stamped(1)...))
		}
	}
}

// lineSpliced has another session of the same ends, and one of ends with another key,
// at the same point.
func lineSpliced(client bool) func(a *attack) {
	return func(a *attack) {
		c, other := newLineCast(a, chacha, client), newLineCast(a, chacha, client)
		a.devices = []*fakeDevice{c.device, other.device}
		mine, others := c.specimens(), other.specimens()
		for i := range mine {
			f, g := mine[i].make(), others[i].make()
			c.drops(mine[i].name, g)
			c.drops(mine[i].name+", with the header of this one", slices.Concat(f[:lineHeader], g[lineHeader:]))
			c.take(f)
			other.take(g)
		}
	}
}
