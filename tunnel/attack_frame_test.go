package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// What a session says of frames.
const (
	notAuthentic = "protocol error: frame: not authentic"
	noLength     = "protocol error: frame length out of bounds: 0"
)

// specimenSize is the bytes of all specimens of a side.
const specimenSize = 332

// frameAttacks bring single frames that are not right, or not whole, to sessions
// that are up. It ends them.
var frameAttacks = attacks{
	{"frames to a server, every bit, blowfish", 8 * specimenSize, frameBits(bf, false)},
	{"frames to a server, every bit, aes-256-gcm", 8 * specimenSize, frameBits(aes, false)},
	{"frames to a server, every bit, chacha20-poly1305", 8 * specimenSize, frameBits(chacha, false)},
	{"frames to a client, every bit, blowfish", 8 * specimenSize, frameBits(bf, true)},
	{"frames to a client, every bit, aes-256-gcm", 8 * specimenSize, frameBits(aes, true)},
	{"frames to a client, every bit, chacha20-poly1305", 8 * specimenSize, frameBits(chacha, true)},
	{"frames to a server, every length", 2 * specimenSize, frameLengths(false)},
	{"frames to a client, every length", 2 * specimenSize, frameLengths(true)},
	{"lengths of frames to a server", 2 * 6, announcements(false)},
	{"lengths of frames to a client", 2 * 6, announcements(true)},
}

func frameBits(cipher crypto.Cipher, client bool) func(a *attack) {
	return func(a *attack) {
		c := newCast(a, cipher, client)
		for _, sp := range c.specimens {
			for bit := range 8 * len(sp.sealed) {
				f, want := flipped(sp.sealed, bit), notAuthentic
				switch {
				case bit >= 8*frame.HeaderSize:
				case bytes.Equal(f[:frame.HeaderSize], []byte{0, 0}):
					want = noLength
				default: // the frame may be longer now: let all of it come
					f = append(f, make([]byte, frame.MaxText)...)
				}
				a.try(fmt.Sprintf("%s, bit %d", sp.name, bit), func() error { return cause(c.meet(sp, f, false), want) })
			}
		}
	}
}

func frameLengths(client bool) func(a *attack) {
	return func(a *attack) {
		c := newCast(a, chacha, client)
		for _, sp := range c.specimens {
			for n := range sp.sealed {
				ended := "connection lost: unexpected EOF"
				if n == 0 {
					ended = "connection lost: closed by the other end or on the way"
				}
				a.try(fmt.Sprintf("%s, %d bytes, ended", sp.name, n), func() error {
					return cause(c.meet(sp, sp.sealed[:n], true), ended)
				})
				a.try(fmt.Sprintf("%s, %d bytes, held", sp.name, n), func() error {
					return cause(c.meet(sp, sp.sealed[:n], false), "no answer from the peer for 2s")
				})
			}
		}
	}
}

// announcements are headers with all that they promise, but no seal or not the
// right one.
func announcements(client bool) func(a *attack) {
	return func(a *attack) {
		c := newCast(a, chacha, client)
		sp := c.specimens[0]
		for _, test := range []struct {
			name string
			n    int
			want string
		}{
			{"0", 0, noLength},
			{"1", 1, notAuthentic},
			{"2", 2, notAuthentic},
			{"one less than all", frame.MaxText - 1, notAuthentic},
			{"all", frame.MaxText, notAuthentic},
			{"one more than all", frame.MaxText + 1, noLength},
		} {
			f := make([]byte, frame.HeaderSize+test.n+crypto.TagSize)
			frame.PutHeader(f, test.n)
			a.try(test.name+", zeros", func() error { return cause(c.meet(sp, f, false), test.want) })
			rand.Read(f[frame.HeaderSize:])
			a.try(test.name+", noise", func() error { return cause(c.meet(sp, f, false), test.want) })
		}
	}
}

// cast makes sessions of one end that are all at the same point: another one is
// there as soon as the one before has ended. They have the keys of one handshake.
type cast struct {
	ctx       context.Context
	tunnel    *Tunnel
	client    bool
	keys      *crypto.Generation // of this end, not in use
	specimens []specimen
}

// specimen is a good frame for this end.
type specimen struct {
	name    string
	sealed  []byte
	opener  crypto.Opener // as it is when this frame is the next
	pending *crypto.Rekey // of a client that waits for an answer
}

// newCast returns one with a frame of each type that the end takes. CONFIRM has
// its own attacks, for with it comes the link.
func newCast(a *attack, cipher crypto.Cipher, client bool) *cast {
	a.t.Helper()
	config := testConfig(a.t)
	device := newFakeDevice()
	config.Device, config.Log = device, slog.New(slog.DiscardHandler)
	config.Tuning.Keepalive, config.Tuning.NoAnswer = time.Second, 1
	config.Listener = newRoad()
	if client {
		config.Listener, config.Servers = nil, []Dial{nil}
	}
	tunnel, err := New(config)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &cast{ctx: a.t.Context(), tunnel: tunnel, client: client}
	a.devices = []*fakeDevice{device}
	a.after = func() error {
		if s := tunnel.Stats(); s.State != "down" {
			return fmt.Errorf("state is %+v", s)
		}
		return nil
	}
	c.seal(a, crypto.Suite{Cipher: cipher, KeyBits: config.KeyBits})
	for _, sp := range c.specimens {
		c.taken(a, sp)
	}
	return c
}

// seal makes the specimens.
func (c *cast) seal(a *attack, suite crypto.Suite) {
	a.t.Helper()
	caller, server := generations(a.t)
	from, to := caller, server
	if c.client {
		from, to = server, caller
	}
	c.keys = again(to)
	p := &puppet{t: a.t, suite: suite}
	p.renew(from)
	_, opener, err := to.Keys(suite)
	if err != nil {
		a.t.Fatal(err)
	}
	add := func(name string, kind uint8, pending *crypto.Rekey, payload ...byte) {
		sp := specimen{name, p.seal(kind, payload...), *opener, pending}
		c.specimens = append(c.specimens, sp)
		f := bytes.Clone(sp.sealed)
		if _, err := opener.Open(f[:frame.HeaderSize], f[frame.HeaderSize:]); err != nil {
			a.t.Fatalf("%s: %v", name, err)
		}
	}
	rekey, m1, err := caller.Rekey(rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	add("BATCH", frameBatch, nil, stored(udp(20, 1))...)
	add("SEGMENTS", frameSegments, nil, together(4)...)
	add("PING", framePing, nil, stamped(1)...)
	add("PONG", framePong, nil, stamped(1, 1)...)
	add("TIME", frameTime, nil, stamped(1)...)
	add("RESET", frameReset, nil, 0, 0, 0, 1)
	if c.client {
		m2, _, err := server.AnswerRekey(rand.Reader, m1)
		if err != nil {
			a.t.Fatal(err)
		}
		add("REKEY2", frameRekey2, rekey, m2...)
	} else {
		add("REKEY1", frameRekey1, nil, m1...)
	}
	add("RATCHET", frameRatchet, nil, nextEpoch)
	add("CLOSE", frameClose, nil, byte(closeShutdown))
}

// resume returns the session whose next frame is the specimen, and the peer's end
// of its connection.
func (c *cast) resume(sp specimen) (*session, *pipeEnd) {
	p := newPipe(&net.TCPAddr{}, &net.TCPAddr{})
	near, far := p.server, p.client
	if c.client {
		near, far = far, near
	}
	s, err := c.tunnel.newSession(c.ctx, greeting{
		conn: near, wire: stream{},
		// Another cipher until the opener is replaced: Blowfish is slow to begin.
		answer: answer{cipher: chacha, terms: terms{keyTTL: time.Hour}},
		peer:   terms{maxFrame: frame.MaxText, mtu: 1500},
		keys:   again(c.keys),
	}, c.client)
	if err != nil {
		panic(err)
	}
	s.receive.opener, s.receive.unproven = &sp.opener, false
	s.receive.frames.Allow(frame.MaxText)
	s.keys.pending = sp.pending
	return s, far
}

// meet lets a session that waits for the specimen meet some bytes, and returns
// why it ended.
func (c *cast) meet(sp specimen, b []byte, ended bool) error {
	s, far := c.resume(sp)
	defer far.Close()
	c.tunnel.attach(s)
	far.Write(b)
	if ended {
		far.CloseWrite()
	}
	return s.run()
}

// taken sees that the session takes the specimen as it is.
func (c *cast) taken(a *attack, sp specimen) {
	a.t.Helper()
	before := a.bytes()
	err := c.meet(sp, sp.sealed, true)
	want := "connection lost: closed by the other end or on the way"
	if sp.name == "CLOSE" {
		want = "peer closed the link: shutdown"
	}
	if err := cause(err, want); err != nil {
		a.t.Errorf("%s as it is: %v", sp.name, err)
	}
	if wrote := a.bytes() > before; wrote != (sp.name == "BATCH" || sp.name == "SEGMENTS") {
		a.t.Errorf("%s as it is: %d bytes to the TUN device", sp.name, a.bytes()-before)
	}
}
