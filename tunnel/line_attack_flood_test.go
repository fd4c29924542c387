package tunnel

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"vpnd/compress"
	"vpnd/crypto"
	"vpnd/serial/serialtest"
)

// lineReplayAttacks play whole recorded sessions again, beside a link.
var lineReplayAttacks = attacks{
	{"line: a session, played to the server it was recorded from", 5, func(a *attack) {
		s := besiegeLine(a)
		up, _ := s.recorded()
		s.restart(&s.client, s.config[1], s.server)
		s.plays(s.toServer, up, 0)
	}},
	{"line: a session, played to a server after its restart", 5, func(a *attack) {
		s := besiegeLine(a)
		up, _ := s.recorded()
		s.restart(&s.server, s.config[0], s.client)
		s.plays(s.toServer, up, mostRepeats)
	}},
	{"line: a session, played to its client", 10, func(a *attack) {
		s := besiegeLine(a)
		up, down := s.recorded()
		s.restart(&s.client, s.config[1], s.server)
		s.plays(s.toClient, down, 0)
		s.plays(s.toClient, up, 0)
	}},
}

// recorded returns the frames of a session with rekeys and packets both ways.
func (s *lineSiege) recorded() (up, down [][]byte) {
	s.t.Helper()
	up, down = lineFrames(s.saidByClient), lineFrames(s.saidByServer)
	s.toClient.heard()
	s.toServer.heard()
	for range 20 {
		passes(s.t, s.server, s.client)
		settled(time.Second)
	}
	return append(up, s.toClient.heard()...), append(down, s.toServer.heard()...)
}

// restart ends one end and starts it again, which makes the next link.
func (s *lineSiege) restart(one **end, config Config, other *end) {
	s.t.Helper()
	(*one).stop(s.t)
	await(s.t, other.down, "end of the link")
	*one = start(s.t, config)
	await(s.t, s.client.up, "link of the client")
	await(s.t, s.server.up, "link of the server")
	settled(10 * time.Second)
	for len(s.server.down)+len(s.client.down)+len(s.server.up)+len(s.client.up) > 0 {
		s.t.Fatal("more than one link ended")
	}
	s.watch()
	s.after = func() error { // the ends have come up more or less often
		passes(s.t, s.server, s.client)
		if n := len(s.server.up) + len(s.server.down) + len(s.client.up) + len(s.client.down); n != 0 {
			return fmt.Errorf("the link was disturbed %d times", n)
		}
		return nil
	}
}

// plays brings a recording to an end in several ways. It draws so many flights at
// most, first or second.
func (s *lineSiege) plays(to *tap, frames [][]byte, most int) {
	s.t.Helper()
	reversed := slices.Clone(frames)
	slices.Reverse(reversed)
	var twice [][]byte
	for _, f := range frames {
		twice = append(twice, f, f)
	}
	for name, frames := range map[string][][]byte{
		"all": frames, "all, again": frames, "backwards": reversed, "each twice": twice, "frames of data": only(frames, 0),
	} {
		s.try(name, func() error {
			to.heard()
			to.play(frames...)
			settled(20 * time.Second)
			said := to.heard()
			if n := len(only(said, lineF1)) + len(only(said, lineF2)); n > most {
				return fmt.Errorf("%d flights, want %d at most", n, most)
			}
			return nil
		})
	}
}

// lineFloodAttacks are floods: what they cost has a bound.
var lineFloodAttacks = attacks{
	{"line: 1000 old hails to a client with a link", 1000, func(a *attack) {
		s := besiegeLine(a)
		s.toClient.heard()
		before := s.toClient.spoken()
		for n := range 1000 {
			a.try(fmt.Sprint("hail ", n), func() error {
				s.toClient.play(s.hail)
				settled(moment)
				return nil
			})
		}
		if f := only(s.toClient.heard(), lineF1); len(f) != 0 {
			a.t.Errorf("%d first flights", len(f))
		}
		a.t.Logf("%d bytes said", s.toClient.spoken()-before)
	}},
	{"line: 1000 old hails to a client that calls", 1, func(a *attack) {
		c := newLineCaller(a)
		hail, err := c.config[0].Keys[0].Hail(rand.Reader)
		if err != nil {
			a.t.Fatal(err)
		}
		a.try("as fast as can be", func() error {
			for range 1000 {
				c.toClient.play(handshakeFrame(lineHail, hail))
				settled(moment)
			}
			flights, same := only(c.toClient.heard(), lineF1), map[string]int{}
			for _, f := range flights {
				if same[string(f)]++; same[string(f)] > mostRepeats {
					return errors.New("a first flight was sent too often")
				}
			}
			if n := len(flights); n > 50 {
				return fmt.Errorf("%d first flights in 50 s", n)
			}
			return nil
		})
	}},
	{"line: garbage to a server without a link", 1, func(a *attack) {
		l := newTappedLine(a.t, serialtest.Wire{}, nil)
		l.server = start(a.t, l.config[0])
		a.try("2000 frames in 100 s", func() error {
			for range 2000 {
				l.toServer.play(make([]byte, 40))
				settled(moment)
			}
			if n := len(only(l.toServer.heard(), lineHail)); n == 0 || n > 22 {
				return fmt.Errorf("%d hails in 100 s", n)
			}
			return nil
		})
	}},
	{"line: garbage at full speed", 2 * 100, func(a *attack) {
		s := besiegeLine(a)
		before := living()
		for n := range 100 {
			for i, end := range []*tap{s.toServer, s.toClient} {
				b := make([]byte, 64<<10)
				rand.Read(b)
				s.try(fmt.Sprint("64 KiB to end ", i, ", ", n), func() error {
					end.end.Inject(string(b) + "~")
					settled(moment)
					return nil
				})
			}
		}
		if grown := living() - before; grown > 4<<20 { // that is what a compressor takes
			a.t.Errorf("the memory grows by %d bytes", grown)
		}
	}},
	{"line: 500 flights of before a restart", 500, func(a *attack) {
		s := besiegeLine(a, aes) // it spoils what it does not open: each session needs its own copy
		s.toServer.heard()
		before, began := living(), s.toServer.spoken()
		for n := range 500 {
			_, f1 := flight(a.t, s.config[1])
			a.try(fmt.Sprint("flight ", n), func() error {
				for range 5 {
					s.toServer.play(handshakeFrame(lineF1, f1))
					settled(moment)
				}
				if n := len(only(s.toServer.heard(), lineF2)); n == 0 || n > mostRepeats {
					return fmt.Errorf("%d answers", n)
				}
				return nil
			})
		}
		a.t.Logf("%d bytes said, memory grows by %d KiB", s.toServer.spoken()-began, (living()-before)>>10)
		if grown := living() - before; grown > 4<<20 { // that is what a compressor takes
			a.t.Errorf("the memory grows by %d bytes", grown)
		}
	}},
	{"line: a client kept out with recorded flights", 1, keptOut},
	{"line: questions of a peer that reads nothing", 2 * 6 * 1000, func(a *attack) {
		for _, client := range []bool{false, true} {
			c := newLineCast(a, aes, client)
			for _, sp := range c.specimens()[1:6] {
				c.flood(sp.name, sp.make)
			}
			rekey := c.startRekey()
			c.flood("REKEY", func() []byte { return c.send(rekeyKind(client), rekey[lineHeader+1:lineHeader+1+crypto.RekeySize]...) })
		}
	}},
	{"line: answers to no question, packets without their history", 2 * 2 * 100, func(a *attack) {
		for _, client := range []bool{false, true} {
			c := newLineCast(a, aes, client)
			c.asked(0)
			for n := range 100 {
				a.try(fmt.Sprint("PONG ", n), func() error {
					time.Sleep(time.Second)
					err := c.session.receive.fromLine(c.send(framePong, stamped(time.Duration(n), time.Duration(n))...))
					if s := &c.session.line.speed; err != nil || s.set != s.nominal || s.last.at != 0 {
						return fmt.Errorf("the speed is %d, %v", s.set, err)
					}
					return nil
				})
				a.try(fmt.Sprint("BATCH ", n), func() error {
					if err := c.session.receive.fromLine(c.send(frameBatch, append([]byte{0x2a}, udp(40, 1)...)...)); err != nil {
						return err
					}
					if most := 1 + n/2; len(c.session.control) > most {
						return fmt.Errorf("asked %d times within %d s", len(c.session.control), n)
					}
					return nil
				})
			}
		}
	}},
	{"line: batches that grow", 2 * 4, func(a *attack) {
		const largest = compress.MaxBlock
		for _, client := range []bool{false, true} {
			for name, b := range map[string][]byte{
				"deflate of one byte more": inflated(a.t, largest+1),
				"deflate of 16 MiB":        inflated(a.t, 16<<20),
				"s2 of 4 GiB":              []byte("\x10\xff\xff\xff\xff\x0f\x00\x00"),
				"zstd of 4 GiB":            {0x30, 0xa0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0},
			} {
				c := newLineCast(a, aes, client)
				a.try(name, func() error {
					before := living()
					err := c.session.receive.fromLine(c.send(frameBatch, b...))
					if grown := living() - before; grown > 1<<20 {
						return fmt.Errorf("the memory grows by %d bytes", grown)
					}
					if !errors.As(err, new(*closeError)) {
						return fmt.Errorf("goes on: %v", err)
					}
					return nil
				})
			}
		}
	}},
}

func rekeyKind(client bool) uint8 {
	if client {
		return frameRekey2
	}
	return frameRekey1
}

// flood brings a thousand frames of a kind to an end that sends nothing. A REKEY is
// the same message each time, and not authentic: it ends the session at once.
func (c *lineCast) flood(name string, make func() []byte) {
	c.t.Helper()
	for n := range 1000 {
		c.try(fmt.Sprint(name, " ", n), func() error {
			err := c.session.receive.fromLine(make())
			ends := name == "REKEY" && !c.client // a client may get an answer twice
			if ends != errors.As(err, new(*closeError)) || !ends && err != nil {
				return fmt.Errorf("it says %v", err)
			}
			if len(c.session.control) > controlRoom {
				return errors.New("too much waits")
			}
			return nil
		})
	}
}

// keptOut answers each first flight of an honest client with one of before the
// server's restart, so that the server forgets the client before it has confirmed.
// Each of them works once.
func keptOut(a *attack) {
	l := newTappedLine(a.t, serialtest.Wire{Rate: 9600}, nil)
	const recordings = 20
	var old [][]byte
	for range recordings {
		_, f1 := flight(a.t, l.config[1])
		old = append(old, handshakeFrame(lineF1, f1))
	}
	a.devices = nil
	a.try("20 recordings", func() error {
		began, used := time.Now(), 0
		l.server, l.client = start(a.t, l.config[0]), start(a.t, l.config[1])
		for len(l.server.up) == 0 && time.Since(began) < time.Hour {
			settled(time.Millisecond)
			if used < recordings && len(only(l.toServer.heard(), lineF2)) > 0 {
				l.toServer.play(old[used])
				used++
				settled(400 * time.Millisecond) // the answer to that one
				l.toServer.heard()
			}
		}
		a.t.Logf("link after %v, %d recordings used", time.Since(began), used)
		if len(l.server.up) == 0 {
			return errors.New("no link within an hour")
		}
		await(a.t, l.server.up, "link of the server")
		return nil
	})
}
