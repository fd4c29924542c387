package tunnel

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

// streamAttacks put the frames of a whole session, with a ratchet and a rekey, in
// another order, at each place of it.
var streamAttacks = attacks{
	{"stream to a server, blowfish", 14 + 12 + 14 + 13 + 14, streams(bf, false)},
	{"stream to a server, aes-256-gcm", 14 + 12 + 14 + 13 + 14, streams(aes, false)},
	{"stream to a server, chacha20-poly1305", 14 + 12 + 14 + 13 + 14, streams(chacha, false)},
	{"stream to a client, blowfish", 12 + 11 + 12 + 12 + 12, streams(bf, true)},
	{"stream to a client, aes-256-gcm", 12 + 11 + 12 + 12 + 12, streams(aes, true)},
	{"stream to a client, chacha20-poly1305", 12 + 11 + 12 + 12 + 12, streams(chacha, true)},
}

// turn is one frame of a session.
type turn struct {
	name string
	seal func(p *puppet) []byte
	last bool // the next frame cannot be made before this one is answered
}

func plain(name string, kind uint8, payload ...byte) turn {
	return turn{name: name, seal: func(p *puppet) []byte { return p.seal(kind, payload...) }}
}

// ratchet is the one that leads to the next epoch.
var ratchet = turn{name: "RATCHET to the next epoch", seal: func(p *puppet) []byte {
	f := p.seal(frameRatchet, nextEpoch)
	if err := p.sealer.Ratchet(); err != nil {
		p.t.Fatal(err)
	}
	return f
}}

// clientTurns returns what an honest client sends, with all types of frames.
func clientTurns() []turn {
	var rekey *crypto.Rekey
	return []turn{
		plain("CONFIRM", frameConfirm),
		plain("PING", framePing, stamped(1)...),
		plain("TIME", frameTime, stamped(1)...),
		plain("BATCH", frameBatch, stored(udp(60, 1))...),
		plain("SEGMENTS", frameSegments, together(6)...),
		ratchet,
		plain("BATCH of the next epoch", frameBatch, stored(udp(60, 2))...),
		{"REKEY1", func(p *puppet) (f []byte) {
			var m1 []byte
			var err error
			if rekey, m1, err = p.keys.Rekey(rand.Reader); err != nil {
				p.t.Fatal(err)
			}
			return p.seal(frameRekey1, m1...)
		}, true},
		{"RATCHET to the next generation", func(p *puppet) []byte {
			next, err := rekey.Finish(p.expect(frameRekey2))
			if err != nil {
				p.t.Fatal(err)
			}
			f := p.seal(frameRatchet, nextGeneration)
			p.renew(next)
			return f
		}, false},
		plain("CONFIRM of the next generation", frameConfirm),
		plain("BATCH of the next generation", frameBatch, stored(udp(60, 3))...),
		plain("PONG", framePong, stamped(1, 1)...),
		plain("RESET", frameReset, 0, 0, 0, 1),
		plain("CLOSE", frameClose, byte(closeShutdown)),
	}
}

// serverTurns returns what an honest server sends.
func serverTurns() []turn {
	var next *crypto.Generation
	return []turn{
		plain("PING", framePing, stamped(1)...),
		plain("TIME", frameTime, stamped(1)...),
		plain("BATCH", frameBatch, stored(udp(60, 1))...),
		plain("SEGMENTS", frameSegments, together(6)...),
		ratchet,
		plain("BATCH of the next epoch", frameBatch, stored(udp(60, 2))...),
		{"REKEY2", func(p *puppet) (f []byte) {
			m2, g, err := p.keys.AnswerRekey(rand.Reader, p.expect(frameRekey1))
			if err != nil {
				p.t.Fatal(err)
			}
			next = g
			return p.seal(frameRekey2, m2...)
		}, false},
		{"RATCHET to the next generation", func(p *puppet) []byte {
			f := p.seal(frameRatchet, nextGeneration)
			p.renew(next)
			return f
		}, false},
		plain("BATCH of the next generation", frameBatch, stored(udp(60, 3))...),
		plain("PONG", framePong, stamped(1, 1)...),
		plain("RESET", frameReset, 0, 0, 0, 1),
		plain("CLOSE", frameClose, byte(closeShutdown)),
	}
}

// stage is an end whose peer is a puppet, again and again.
type stage struct {
	*attack
	config Config
	turns  func() []turn
	end    *end
	road   *road
	client bool
}

func newStage(a *attack, cipher crypto.Cipher, client bool) *stage {
	s := &stage{attack: a, config: testConfig(a.t), client: client}
	s.config.Ciphers, s.config.KeyTTL, s.config.Tuning.Compress = []crypto.Cipher{cipher}, time.Minute, "off"
	if client {
		s.turns, s.road = serverTurns, newRoad()
		c := s.config
		c.Servers = []Dial{s.road.dial}
		s.end = start(a.t, c)
	} else {
		s.turns = clientTurns
		s.end, s.road = simServer(a.t, s.config)
	}
	a.devices = []*fakeDevice{s.end.device}
	return s
}

// enter shakes hands with the end.
func (s *stage) enter() *puppet {
	s.t.Helper()
	if s.client {
		s.road.become(roadOpen)
		p := puppetServer(s.t, s.road, s.config, nil)
		s.road.become(roadDead)
		await(s.t, s.end.up, "link")
		return p
	}
	return puppetCaller(s.t, s.road.caller(s.t), s.config)
}

// play goes through the first n turns as it should be. It returns what was sent
// and the turns that are left.
func (s *stage) play(p *puppet, n int) (sent [][]byte, left []turn) {
	left = s.turns()
	for ; n > 0; n-- {
		f := left[0].seal(p)
		p.sendRaw(f)
		synctest.Wait()
		sent, left = append(sent, f), left[1:]
	}
	return sent, left
}

// fate waits until the end has closed the connection, and compares the cause.
func (s *stage) fate(p *puppet, want string) error {
	conn := p.conn.(*pipeEnd)
	defer conn.Close()
	p.drain()
	var got string
	select {
	case err := <-s.end.down:
		got = err.Error()
	case <-time.After(lobbyTimeout):
		got = s.end.Stats().Reason // there never was a link
	}
	time.Sleep(time.Second)
	synctest.Wait()
	if closed, _ := conn.peer.isClosed(); !closed {
		return errors.New("still connected")
	}
	if !strings.HasSuffix(got, want) {
		return fmt.Errorf("cause is %q, want %q", got, want)
	}
	return nil
}

// streams plays a session up to each place and goes on wrong. Each case begins
// with a link that is good: nothing is left of the one before.
func streams(cipher crypto.Cipher, client bool) func(a *attack) {
	return func(a *attack) {
		s := newStage(a, cipher, client)
		p := s.enter()
		recorded, _ := s.play(p, len(s.turns()))
		if err := s.fate(p, "peer closed the link: shutdown"); err != nil {
			a.t.Fatal("the session as it is:", err)
		}
		if n := len(s.end.device.out); n != 5 { // two of them segments of one
			a.t.Fatalf("the session as it is: %d packets were written", n)
		}
		for i, st := range s.turns() {
			first := !client && i == 0
			s.wrong(i, st.name+" twice", twice, false)
			if i+1 < len(s.turns()) && !st.last {
				s.wrong(i, st.name+" after the next frame", swapped, first)
			}
			s.wrong(i, st.name+" left out", leftOut, first)
			if !first {
				s.wrong(i, st.name+" replaced by one of the other direction", reflected, false)
			}
			s.wrong(i, st.name+" replaced by that of another session", func(_ *stage, p *puppet, turns []turn) {
				p.sendRaw(bytes.Join(recorded[i:], nil))
			}, false)
		}
	}
}

// wrong goes wrong at turn n. A first frame that is no CONFIRM is too long before
// it is anything else.
func (s *stage) wrong(n int, name string, do func(s *stage, p *puppet, turns []turn), long bool) {
	s.try(name, func() error {
		p := s.enter()
		_, left := s.play(p, n)
		s.mark()
		do(s, p, left)
		want := "protocol error: frame: not authentic"
		switch {
		case long:
			want = "protocol error: frame length out of bounds: 9"
		case name == "CLOSE twice":
			want = "peer closed the link: shutdown"
		}
		return s.fate(p, want)
	})
}

func twice(s *stage, p *puppet, turns []turn) {
	f := turns[0].seal(p)
	p.sendRaw(f)
	synctest.Wait()
	s.mark()
	p.sendRaw(f)
}

func swapped(_ *stage, p *puppet, turns []turn) {
	f := turns[0].seal(p)
	p.sendRaw(append(turns[1].seal(p), f...))
}

func leftOut(_ *stage, p *puppet, turns []turn) {
	turns[0].seal(p)
	p.send(framePing, stamped(1)...)
}

// reflected sends the frame back that has the number of the one that is due, as
// long as there was no ratchet.
func reflected(s *stage, p *puppet, turns []turn) {
	n := len(s.turns()) - len(turns)
	var f []byte
	for range n + 1 {
		s.end.device.in <- udp(60, 9)
		header, body, err := p.frames.Next()
		if err != nil {
			p.t.Fatal(err)
		}
		f = append(bytes.Clone(header), body...)
	}
	p.sendRaw(f)
}
