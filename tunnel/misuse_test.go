package tunnel

import (
	"bytes"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/s2"

	"vpnd/compress"
	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// offence is something that an honest peer never sends.
type offence struct {
	name string
	send func(p *puppet)
	want string // of the cause
	// blind says that the CLOSE may be sealed with either generation.
	blind bool
}

// offences end a session in any state.
var offences = []offence{
	{"unknown type 0", func(p *puppet) { p.send(0) }, "frame of unknown type 0", false},
	{"unknown type 12", func(p *puppet) { p.send(12, 1, 2, 3) }, "frame of unknown type 12", false},
	{"unknown type 255", func(p *puppet) { p.send(255) }, "frame of unknown type 255", false},
	{"asks for release", func(p *puppet) { p.send(askRelease) }, "frame of unknown type 128", false},
	{"asks for reset", func(p *puppet) { p.send(askReset) }, "frame of unknown type 129", false},
	{"asks for a generation", func(p *puppet) { p.send(askGeneration) }, "frame of unknown type 130", false},
	{"batch, empty", func(p *puppet) { p.send(frameBatch) }, "empty batch", false},
	{"batch, unknown method", func(p *puppet) { p.send(frameBatch, 0x50, 1, 2, 3) }, "batch: block is corrupt", false},
	{"batch, spare bit", func(p *puppet) { p.send(frameBatch, append([]byte{1}, udp(40, 1)...)...) }, "batch: block is corrupt: header 01", false},
	{"batch, s2 of one byte too much", func(p *puppet) {
		p.send(frameBatch, append([]byte{0x10}, s2.Encode(nil, make([]byte, compress.MaxBlock+1))...)...)
	}, "batch: expand s2: block is too large", false},
	{"batch, damaged s2", func(p *puppet) { p.send(frameBatch, 0x10, 200, 1, 2) }, "batch: expand s2", false},
	{"batch, damaged deflate", func(p *puppet) { p.send(frameBatch, 0x2c, 7, 7, 7) }, "batch: expand deflate", false},
	{"batch, damaged zstd", func(p *puppet) { p.send(frameBatch, 0x30, 7, 7, 7) }, "batch: expand zstd", false},
	{"s2 bomb", func(p *puppet) { p.send(frameBatch, 0x10, 0xff, 0xff, 0xff, 0xff, 0x0f) }, "batch: expand s2", false},
	{"ping, short", func(p *puppet) { p.send(framePing, make([]byte, 7)...) }, "frame of type 2 with 7 bytes", false},
	{"ping, long", func(p *puppet) { p.send(framePing, make([]byte, 9)...) }, "frame of type 2 with 9 bytes", false},
	{"pong, empty", func(p *puppet) { p.send(framePong) }, "frame of type 3 with 0 bytes", false},
	{"pong, without the clock", func(p *puppet) { p.send(framePong, stamped(0)...) }, "frame of type 3 with 8 bytes", false},
	{"time, long", func(p *puppet) { p.send(frameTime, make([]byte, 9)...) }, "frame of type 4 with 9 bytes", false},
	{"ratchet, empty", func(p *puppet) { p.send(frameRatchet) }, "frame of type 5 with 0 bytes", false},
	{"ratchet, long", func(p *puppet) { p.send(frameRatchet, 0, 0) }, "frame of type 5 with 2 bytes", false},
	{"ratchet to 2", func(p *puppet) { p.send(frameRatchet, 2) }, "ratchet to 2", false},
	{"generation without a rekey", func(p *puppet) { p.send(frameRatchet, nextGeneration) }, "new generation without a rekey", false},
	{"ratchets without end", func(p *puppet) {
		for range maxEarly + 1 {
			p.send(frameRatchet, nextEpoch)
			if err := p.sealer.Ratchet(); err != nil {
				p.t.Fatal(err)
			}
		}
	}, "keys changed too often", false},
	{"old keys after a ratchet", func(p *puppet) {
		p.send(frameRatchet, nextEpoch)
		p.send(framePing, stamped(0)...)
	}, "frame: not authentic", false},
	{"rekey 1, short", func(p *puppet) { p.send(frameRekey1, make([]byte, crypto.RekeySize-1)...) }, "frame of type 6 with 47 bytes", false},
	{"rekey 2, long", func(p *puppet) { p.send(frameRekey2, make([]byte, crypto.RekeySize+1)...) }, "frame of type 7 with 49 bytes", false},
	{"rekey 2 without rekey 1", func(p *puppet) { p.send(frameRekey2, make([]byte, crypto.RekeySize)...) }, "answer to no rekey", false},
	{"confirm, long", func(p *puppet) { p.send(frameConfirm, 0) }, "frame of type 8 with 1 bytes", false},
	{"confirm, twice", func(p *puppet) { p.send(frameConfirm) }, "confirmation of keys that are in use", false},
	{"reset, short", func(p *puppet) { p.send(frameReset, 0, 0, 1) }, "frame of type 9 with 3 bytes", false},
	{"close, empty", func(p *puppet) { p.send(frameClose) }, "frame of type 10 with 0 bytes", false},
	{"close, long", func(p *puppet) { p.send(frameClose, 1, 1) }, "frame of type 10 with 2 bytes", false},
	{"damaged frame", func(p *puppet) { p.sendRaw(flipped(p.seal(frameBatch, stored(udp(40, 1))...), 20)) }, "frame: not authentic", false},
	{"damaged length", func(p *puppet) { p.sendRaw(append(flipped(p.seal(framePong, stamped(0, 0)...), 8*2-1), 0)) }, "frame: not authentic", false},
	{"twice the same frame", func(p *puppet) {
		f := p.seal(framePong, stamped(0, 0)...)
		p.sendRaw(append(f, f...))
	}, "frame: not authentic", false},
	{"frame left out", func(p *puppet) {
		p.seal(framePong, stamped(0, 0)...)
		p.send(frameBatch, stored(udp(40, 1))...)
	}, "frame: not authentic", false},
	{"no length", func(p *puppet) { p.sendRaw([]byte{0, 0}) }, "frame length out of bounds: 0", false},
	{"reflected", sendBack, "frame: not authentic", false},
}

// serverOffences are those of a client.
var serverOffences = []offence{
	{"rekey 1, not a point", func(p *puppet) { p.send(frameRekey1, make([]byte, crypto.RekeySize)...) }, "rekey: not authentic", false},
	{"rekey 1 of the rekey before", func(p *puppet) {
		rekey, m1, err := p.keys.Rekey(rand.Reader)
		if err != nil {
			p.t.Fatal(err)
		}
		p.send(frameRekey1, m1...)
		next, err := rekey.Finish(p.expect(frameRekey2))
		if err != nil {
			p.t.Fatal(err)
		}
		p.send(frameRatchet, nextGeneration)
		p.renew(next)
		p.send(frameConfirm)
		p.send(frameRekey1, m1...)
	}, "rekey: not authentic", true},
	{"rekey 1 twice", func(p *puppet) {
		p.rekey(rand.Reader)
		_, m1, _ := p.keys.Rekey(rand.Reader)
		p.send(frameRekey1, m1...)
	}, "rekey out of turn", false},
	{"the same rekey 1 twice", func(p *puppet) {
		_, m1, _ := p.keys.Rekey(rand.Reader)
		p.send(frameRekey1, m1...)
		p.send(frameRekey1, m1...)
	}, "rekey out of turn", false},
	{"batch before the new keys are confirmed", func(p *puppet) {
		next := p.rekey(rand.Reader)
		p.send(frameRatchet, nextGeneration)
		old := p.opener
		p.renew(next)
		p.opener = old
		p.send(frameBatch, stored(udp(40, 1))...)
	}, "frame of type 1 before the new keys are confirmed", false},
	{"generation twice", func(p *puppet) {
		next := p.rekey(rand.Reader)
		p.send(frameRatchet, nextGeneration)
		old := p.opener
		p.renew(next)
		p.opener = old
		p.send(frameRatchet, nextGeneration)
	}, "frame of type 5 before the new keys are confirmed", false},
	{"generation twice, confirmed", func(p *puppet) {
		next := p.rekey(rand.Reader)
		p.send(frameRatchet, nextGeneration)
		p.renew(next)
		p.send(frameConfirm)
		p.send(frameRatchet, nextGeneration)
	}, "new generation without a rekey", true},
	{"old keys after the change", func(p *puppet) {
		p.rekey(rand.Reader)
		p.send(frameRatchet, nextGeneration)
		p.send(frameConfirm)
	}, "frame: not authentic", false},
}

// clientOffences are those of a server.
var clientOffences = []offence{
	{"rekey 1 from a server", func(p *puppet) {
		_, m1, _ := p.keys.Rekey(rand.Reader)
		p.send(frameRekey1, m1...)
	}, "rekey out of turn", false},
	{"rekey 2, damaged", func(p *puppet) {
		m2, _, err := p.keys.AnswerRekey(rand.Reader, p.expect(frameRekey1))
		if err != nil {
			p.t.Fatal(err)
		}
		p.send(frameRekey2, flipped(m2, 300)...)
	}, "rekey: not authentic", false},
	{"rekey 2 of the rekey before", func(p *puppet) {
		m2, next, err := p.keys.AnswerRekey(rand.Reader, p.expect(frameRekey1))
		if err != nil {
			p.t.Fatal(err)
		}
		p.send(frameRekey2, m2...)
		p.send(frameRatchet, nextGeneration)
		p.expect(frameRatchet)
		p.renew(next)
		p.expect(frameRekey1)
		p.send(frameRekey2, m2...)
	}, "rekey: not authentic", false},
	{"generation twice", func(p *puppet) {
		m2, next, err := p.keys.AnswerRekey(rand.Reader, p.expect(frameRekey1))
		if err != nil {
			p.t.Fatal(err)
		}
		p.send(frameRekey2, m2...)
		p.send(frameRatchet, nextGeneration)
		p.renew(next)
		p.send(frameRatchet, nextGeneration)
	}, "new generation without a rekey", true},
	{"rekey 2 twice", func(p *puppet) {
		m2, _, err := p.keys.AnswerRekey(rand.Reader, p.expect(frameRekey1))
		if err != nil {
			p.t.Fatal(err)
		}
		f := p.seal(frameRekey2, m2...)
		p.sendRaw(append(f, p.seal(frameRekey2, m2...)...))
	}, "answer to no rekey", true},
}

// flipped returns a copy of b with one bit changed.
func flipped(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 0x80 >> (bit % 8)
	return b
}

// TestOffences sends each to both ends: it ends the session, with a CLOSE that
// says so where the peer can still read it, and not a byte reaches the device.
func TestOffences(t *testing.T) {
	for side, silent := range silences {
		own := map[string][]offence{"client": clientOffences, "server": serverOffences}[side]
		for _, o := range append(own, offences...) {
			sim(t, side+": "+o.name, func(t *testing.T) {
				c := testConfig(t)
				c.KeyTTL = time.Minute
				e, p := silent(t, c)
				o.send(p)
				if o.blind {
					p.drain()
				} else if r := p.closing(); r != closeProtocol {
					t.Errorf("closed with reason %v", r)
				}
				err := await(t, e.down, "end of the link")
				if !strings.Contains(err.Error(), "protocol error: "+o.want) {
					t.Errorf("cause is %q, want %q", err, o.want)
				}
				synctest.Wait()
				if n := len(e.device.out); n != 0 {
					t.Errorf("%d packets were written", n)
				}
			})
		}
	}
}

// sendBack sends the peer's first frame back to it.
func sendBack(p *puppet) {
	header, body, err := p.frames.Next()
	if err != nil {
		p.t.Fatal(err)
	}
	f := append(bytes.Clone(header), body...)
	if _, err := p.opener.Open(header, body); err != nil {
		p.t.Fatal(err)
	}
	p.sendRaw(f)
}

// TestInnerPackets sends batches that hold what is no packet: what stands before
// it is delivered, the rest is lost and counted, and the session goes on.
func TestInnerPackets(t *testing.T) {
	whole := udp(60, 1)
	short := udp(60, 1)[:59]
	longest := udp(compress.MaxBlock, 1)
	tooLong := udp(compress.MaxBlock, 1)
	tooLong[3]++
	for _, test := range []struct {
		name            string
		block           [][]byte
		good, malformed uint64
	}{
		{"good", [][]byte{whole, udp(20, 0), whole}, 3, 0},
		{"nothing", nil, 0, 0},
		{"garbage", [][]byte{{1, 2, 3}}, 0, 1},
		{"version 5", [][]byte{append([]byte{0x55}, whole[1:]...)}, 0, 1},
		{"garbage behind", [][]byte{whole, {0}}, 1, 1},
		{"garbage between", [][]byte{whole, {0}, whole}, 1, 1},
		{"cut off", [][]byte{whole, whole, short}, 2, 1},
		{"length 0", [][]byte{{0x45, 19: 0}}, 0, 1},
		{"length 1", [][]byte{{0x45, 3: 1, 19: 0}}, 0, 1},
		{"length 65535", [][]byte{{0x45, 2: 255, 3: 255, 59: 0}}, 0, 1},
		{"one byte", [][]byte{{0x45}}, 0, 1},
		{"as long as a batch", [][]byte{longest}, 1, 0},
		{"one byte longer than a batch", [][]byte{tooLong}, 0, 1},
		{"nothing but headers", slices.Repeat([][]byte{udp(20, 0)}, compress.MaxBlock/20), compress.MaxBlock / 20, 0},
	} {
		sim(t, test.name, func(t *testing.T) {
			e, p := silences["server"](t, testConfig(t))
			p.send(frameBatch, stored(test.block...)...)
			synctest.Wait()
			s := e.Stats()
			if s.Inside.PacketsOut != test.good || s.DropsIn["malformed"] != test.malformed {
				t.Errorf("%d delivered, %d malformed", s.Inside.PacketsOut, s.DropsIn["malformed"])
			}
			for range test.good {
				e.device.take(t)
			}
			p.send(frameBatch, stored(whole)...)
			if got := e.device.take(t); !bytes.Equal(got, whole) {
				t.Errorf("packet is %x", got)
			}
			conserved(t, e)
			p.drain()
		})
	}
}

// TestLostHistory makes the receiver miss the history of a stateful batch, and
// the sender hear of it.
func TestLostHistory(t *testing.T) {
	deflating := func(t *testing.T) (*end, *puppet) {
		c := testConfig(t)
		c.Tuning.Compress, c.Tuning.NoAnswer = "deflate", 1000
		return silences["server"](t, c)
	}
	sim(t, "receiver", func(t *testing.T) {
		e, p := deflating(t)
		const deflateRaw, reset = 0x2a, 1 << 2
		p.send(frameBatch, append([]byte{deflateRaw}, udp(40, 1)...)...)
		if id := p.expect(frameReset); !bytes.Equal(id, []byte{0, 0, 0, 1}) {
			t.Errorf("reset %x", id)
		}
		p.send(frameBatch, append([]byte{deflateRaw}, udp(40, 1)...)...)
		if id := p.expect(frameReset); !bytes.Equal(id, []byte{0, 0, 0, 2}) {
			t.Errorf("reset %x", id)
		}
		p.send(frameBatch, append([]byte{deflateRaw | reset}, udp(41, 1)...)...)
		if got := e.device.take(t); len(got) != 41 {
			t.Errorf("packet is %x", got)
		}
		p.drain()
	})
	sim(t, "sender", func(t *testing.T) {
		e, p := deflating(t)
		packet := udp(500, 1)
		decoder := compress.NewDecoder(compress.All)
		for i, want := range []byte{0x2c, 0x28, 0x28, 0x2c, 0x28} {
			if i == 3 {
				p.send(frameReset, 0, 0, 0, 1)
				synctest.Wait()
				decoder.Release()
			}
			e.device.in <- packet
			got := p.expect(frameBatch)
			if got[0] != want {
				t.Errorf("batch %d has header %02x, want %02x", i, got[0], want)
			}
			if block, err := decoder.Decode(got); err != nil || !bytes.Equal(block, packet) {
				t.Errorf("batch %d: %v", i, err)
			}
		}
		p.drain()
	})
	sim(t, "idle sender", func(t *testing.T) {
		e, p := deflating(t)
		for i, want := range []byte{0x2c, 0x28, 0x2c} {
			if i == 2 {
				time.Sleep(idleRelease + 2*time.Second)
			}
			e.device.in <- udp(500, 1)
			if got := p.expect(frameBatch); got[0] != want {
				t.Errorf("batch %d has header %02x, want %02x", i, got[0], want)
			}
		}
		p.drain()
	})
}

// TestAskingWithoutReading floods an end with questions whose answers it cannot
// get rid of: its memory stays bounded and the session goes on.
func TestAskingWithoutReading(t *testing.T) {
	sim(t, "pings", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress = "off"
		e, p := silences["server"](t, c)
		// Fill the way back.
		p.conn.(*pipeEnd).hold(true)
		for range 400 {
			e.device.in <- udp(1400, 1)
		}
		synctest.Wait()
		for range 10 * controlRoom {
			p.send(framePing, stamped(0)...)
		}
		p.send(frameBatch, stored(udp(40, 1))...)
		e.device.take(t)
		if n := len(e.point.link.Load().control); n != controlRoom {
			t.Errorf("%d messages wait", n)
		}
		p.conn.(*pipeEnd).hold(false)
		go p.collect()
		synctest.Wait()
		if s := e.Stats(); s.State != "up" {
			t.Errorf("state is %+v", s)
		}
	})
}

// TestLargestFrame sends frames of exactly the largest length.
func TestLargestFrame(t *testing.T) {
	sim(t, "65535", func(t *testing.T) {
		e, p := silences["server"](t, testConfig(t))
		var block []byte
		for len(block) < compress.MaxBlock {
			block = append(block, udp(min(1400, compress.MaxBlock-len(block)), 1)...)
			if left := compress.MaxBlock - len(block); left < 1400 && left > 0 {
				block = append(block, udp(left, 2)...)
			}
		}
		f := p.seal(frameBatch, stored(block)...)
		if len(f) != frame.HeaderSize+frame.MaxText+crypto.TagSize {
			t.Fatalf("frame of %d bytes", len(f))
		}
		p.sendRaw(f)
		synctest.Wait()
		if s := e.Stats(); s.State != "up" || s.Inside.BytesOut != uint64(len(block)) {
			t.Errorf("%d bytes delivered, want %d", s.Inside.BytesOut, len(block))
		}
		p.drain()
	})
}
