package tunnel

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"vpnd/crypto"
	"vpnd/serial/serialtest"
)

// TestStrongAttacks is TestAttacks and TestLineAttacks for what strong keys change:
// the flights.
func TestStrongAttacks(t *testing.T) {
	slices.Concat(strongFlightAttacks, strongReplayAttacks, strongAnswerAttacks, strongLineAttacks).run(t)
}

// besiegeStrong makes a server with strong keys and a link.
func besiegeStrong(a *attack) (*siege, *strongLink) {
	a.t.Helper()
	l := newStrongLink(a.t)
	c := l.config()
	server, r := simServer(a.t, c)
	return link(a, c, server, r), l
}

// strongDoor makes the door of a flight, which every client of a server can.
func (l *strongLink) strongDoor(flight []byte) []byte {
	l.t.Helper()
	public := l.server.Identity().Public()
	key := must(hkdf.Key(sha256.New, public[:], nil, "vpnd 2 strong door", 32))
	m := hmac.New(sha256.New, key)
	m.Write(flight)
	return m.Sum(nil)[:16]
}

// redoored is a changed flight with a door that fits.
func (l *strongLink) redoored(flight []byte) []byte {
	return append(bytes.Clone(flight[:doorAt]), l.strongDoor(flight[:doorAt])...)
}

// now is a number that was not used, if some time has passed.
func now() uint64 { return uint64(time.Now().UnixMilli()) }

// strongFlightAttacks bring first flights that are not right to a server, also in the
// name of another client of it, who knows the server's public key.
var strongFlightAttacks = attacks{
	{"strong: first flight, every bit", 8 * crypto.F1Size, func(a *attack) {
		s, l := besiegeStrong(a)
		f1 := l.flight(now()+1, 0)
		for bit := range 8 * len(f1) {
			a.try(fmt.Sprint("bit ", bit), func() error { return s.stranger(flipped(f1, bit), refusedDoor) })
		}
		s.answered(f1)
	}},
	{"strong: first flight, every bit, by a fellow client", 8 * doorAt, func(a *attack) {
		s, l := besiegeStrong(a)
		f1 := l.flight(now()+1, 0)
		if !bytes.Equal(l.redoored(f1), f1) {
			a.t.Fatal("this is not how a door is made")
		}
		for bit := range 8 * doorAt {
			a.try(fmt.Sprint("bit ", bit), func() error { return s.stranger(l.redoored(flipped(f1, bit)), refusedDoor) })
		}
		s.answered(f1)
	}},
	{"strong: first flight, every length", 2 * crypto.F1Size, func(a *attack) {
		s, l := besiegeStrong(a)
		f1 := l.flight(now()+1, 0)
		for n := range f1 {
			a.try(fmt.Sprint(n, " bytes, held"), func() error { return s.stranger(f1[:n], refusedSilent) })
			a.try(fmt.Sprint(n, " bytes, ended"), func() error {
				return s.call(refusedSilent, 0, func(conn *pipeEnd) {
					conn.Write(f1[:n])
					conn.CloseWrite()
				})
			})
		}
		s.answered(f1)
	}},
	{"strong: first flight, put together from two", 2 * (crypto.F1Size - 1), func(a *attack) {
		s, l := besiegeStrong(a)
		one := l.flight(now()+1, 0)
		other := unlike(one, 0, func(same) []byte { return l.flight(now()+2, 0) })
		for n := 1; n < len(one); n++ {
			spliced := slices.Concat(one[:n], other[n:])
			a.try(fmt.Sprint("from byte ", n), func() error { return s.stranger(spliced, refusedDoor) })
			if n >= doorAt { // its door would be right
				spliced[0] ^= 1
			}
			a.try(fmt.Sprint("from byte ", n, ", by a fellow client"), func() error { return s.stranger(l.redoored(spliced), refusedDoor) })
		}
		s.answered(one)
		s.answered(other)
	}},
	{"strong: flights of others", 7, func(a *attack) {
		s, l := besiegeStrong(a)
		f1 := l.flight(now()+1, 0)
		f2 := s.answered(f1)
		stranger := must2(crypto.NewStrongPair(rand.Reader))
		_, own, err := crypto.InitiateStrong(stranger, rand.Reader, now()+2, 0, nil)
		if err != nil {
			a.t.Fatal(err)
		}
		_, shared := flight(a.t, testConfig(a.t))
		for name, b := range map[string][]byte{
			"of another link":                             own,
			"of another link, by a fellow client":         l.redoored(own),
			"of a shared key":                             shared,
			"of a shared key, by a fellow client":         l.redoored(shared),
			"zeros, by a fellow client":                   l.redoored(make([]byte, crypto.F1Size)),
			"second flight, padded, by a fellow client":   l.redoored(append(bytes.Clone(f2), make([]byte, crypto.F1Size)...)),
			"second flight's e in it, by a fellow client": l.redoored(slices.Concat(f2[:hintAt], f1[hintAt:])),
		} {
			a.try(name, func() error { return s.stranger(b, refusedDoor) })
		}
	}},
	{"strong: e of no secret, by a fellow client", 2 * len(lowOrder), func(a *attack) {
		s, l := besiegeStrong(a)
		f1 := l.flight(now()+1, 0)
		for i, point := range lowOrder {
			changed := slices.Concat(point, f1[hintAt:])
			a.try(fmt.Sprint("point ", i), func() error { return s.stranger(changed, refusedDoor) })
			a.try(fmt.Sprint("point ", i, ", by a fellow client"), func() error { return s.stranger(l.redoored(changed), refusedDoor) })
		}
		s.answered(f1)
	}},
}

// must2 returns the client's of two keys.
func must2(_, client *crypto.StrongKey, err error) *crypto.StrongKey {
	if err != nil {
		panic(err)
	}
	return client
}

// strongReplayAttacks play what was right once.
var strongReplayAttacks = attacks{
	{"strong: first flight, played again, or older", 6, func(a *attack) {
		s, l := besiegeStrong(a)
		number := now() + 2
		older, f1, same := l.flight(number-1, 0), l.flight(number, 0), l.flight(number, 0)
		f2 := s.answered(f1)
		for name, b := range map[string][]byte{
			"again":                         f1,
			"again, with more":              append(bytes.Clone(f1), make([]byte, 1000)...),
			"again, with its second flight": slices.Concat(f1, f2),
			"older, never answered":         older,
			"the same number":               same,
			"number 1":                      l.flight(1, 0),
		} {
			a.try(name, func() error { return s.stranger(b, refusedReplay) })
		}
	}},
	{"strong: CONFIRM held back until a newer link is up", 1, func(a *attack) {
		s, _ := besiegeStrong(a)
		old := puppetCaller(a.t, s.road.caller(a.t), s.config)
		s.relink()
		a.try("alone", func() error {
			old.send(frameConfirm)
			if got := old.closing(); got != closeDisplaced {
				return fmt.Errorf("closed with reason %v", got)
			}
			return nil
		})
	}},
	{"strong: sessions, played to a server after its restart", 5, func(a *attack) {
		server, r, l, recorded := recordStrong(a)
		if err := server.stop(a.t); err != nil {
			a.t.Fatal(err)
		}
		l.journal.Close()
		l.openServer()
		c := l.config()
		server, r = simServer(a.t, c)
		s := link(a, c, server, r)
		for i, rec := range recorded {
			a.try(fmt.Sprint("all of ", i), func() error { return s.stranger(rec.up, refusedReplay) })
			a.try(fmt.Sprint("first flight of ", i), func() error { return s.stranger(rec.up[:crypto.F1Size], refusedReplay) })
		}
		a.try("the server's bytes", func() error { return s.stranger(recorded[0].down, refusedDoor) })
	}},
	{"strong: sessions, played while the client may be told", 3, func(a *attack) {
		server, r, l, recorded := recordStrong(a)
		s := link(a, l.config(), server, r)
		if _, err := l.door.Resync("office"); err != nil {
			a.t.Fatal(err)
		}
		for i, rec := range recorded { // they draw an answer, which says nothing to anybody
			a.try(fmt.Sprint("all of ", i), func() error {
				return s.call(refusedReplay, crypto.F2Size, func(conn *pipeEnd) { conn.Write(rec.up) })
			})
		}
		s.relink()
		a.try("after the next call", func() error { return s.stranger(recorded[0].up, refusedReplay) })
	}},
}

// recordStrong makes a server, and records two sessions with it.
func recordStrong(a *attack) (*end, *road, *strongLink, []recording) {
	a.t.Helper()
	l := newStrongLink(a.t)
	c := l.config()
	c.KeyTTL = 10 * time.Second
	server, r := simServer(a.t, c)
	return server, r, l, record(a, 2, c, server, r)
}

// strongAnswerAttacks bring second flights that are not right to a client.
var strongAnswerAttacks = attacks{
	{"strong: second flight, every bit", 8 * crypto.F2Size, func(a *attack) {
		v := newStrongVisitor(a)
		for bit := range 8 * len(v.f2) {
			a.try(fmt.Sprint("bit ", bit), func() error { return v.refuses(flipped(v.f2, bit), notAnAnswer) })
		}
		v.accepts(v.f2)
	}},
	{"strong: second flight, every length", crypto.F2Size, func(a *attack) {
		v := newStrongVisitor(a)
		for n := range v.f2 {
			a.try(fmt.Sprint(n, " bytes"), func() error { return v.refuses(v.f2[:n], noAnswer) })
		}
		v.accepts(v.f2)
	}},
	{"strong: second flight, put together, or of another call", crypto.F2Size + 2, func(a *attack) {
		v := newStrongVisitor(a)
		f2 := unlike(v.f2, answerAt, func(random same) []byte {
			_, another, err := v.key.initiate(random)
			must(a.t, err)
			return v.reply(another, nil)
		})
		for n := 1; n < len(f2); n++ {
			a.try(fmt.Sprint("from byte ", n), func() error { return v.refuses(slices.Concat(v.f2[:n], f2[n:]), notAnAnswer) })
		}
		for name, b := range map[string][]byte{
			"of another call": f2,
			"first flight":    v.f1,
			"zeros":           make([]byte, crypto.F2Size),
		} {
			a.try(name, func() error { return v.refuses(b, notAnAnswer) })
		}
		v.accepts(v.f2)
	}},
	{"strong: a number that is told", 3, func(a *attack) {
		v := newStrongVisitor(a)
		for _, number := range []uint64{0, 1, 1 << 63} {
			f2 := v.reply(v.f1, func(a *answer) { a.reason, a.number = reasonNumber, number })
			a.try(fmt.Sprint("number ", number), func() error {
				err := v.refuses(f2, errTold.Error())
				if v.key.raised != number {
					return fmt.Errorf("the client was told %d", v.key.raised)
				}
				return err
			})
		}
		v.accepts(v.f2)
	}},
}

// fixedKey is a strong key that calls with the same flight each time.
type fixedKey struct {
	Key
	key    *crypto.StrongKey
	hello  []byte
	raised uint64
}

func (k *fixedKey) Initiate(hello []byte) (*crypto.Initiator, []byte, error) {
	k.hello = hello
	i, f1, err := k.initiate(same(1))
	return i, f1, err
}

func (k *fixedKey) initiate(random same) (*crypto.Initiator, []byte, error) {
	return crypto.InitiateStrong(k.key, random, 7, 6, k.hello)
}

func (k *fixedKey) Raise(last uint64) error { k.raised = last; return nil }

// openDoor opens all flights of one client, as often as they come.
type openDoor struct {
	Door
	door *crypto.StrongDoor
}

func (l *strongLink) openDoor() Door {
	return openDoor{l.door, crypto.NewStrongDoor(same(2), l.server.Identity(), func(crypto.KeyID) *crypto.Peer { return l.server.Peer() })}
}

func (d openDoor) Open(f1 []byte) (*Call, error) {
	c, err := d.door.Open(f1)
	if err != nil {
		return nil, err
	}
	return &Call{Hello: c.Hello, Answer: c.Answer}, nil
}

// strongVisitor is a visitor with a strong key.
type strongVisitor struct {
	*visitor
	key *fixedKey
}

func newStrongVisitor(a *attack) strongVisitor {
	a.t.Helper()
	l, c := newStrongLink(a.t), choosy(a.t)
	key := &fixedKey{Key: l.config().Key, key: l.client}
	c.Keys, c.Key = nil, key
	return strongVisitor{newVisitorWith(a, c, l.openDoor), key}
}

// strongLineAttacks bring flights and hails that are not right, or not new, to the
// ends of a line.
var strongLineAttacks = attacks{
	{"strong line: first flight, every bit", 8 * (5 + crypto.F1Size) * 2, func(a *attack) {
		s, l := besiegeStrongLine(a)
		f1 := l.flight(now()+1, 0)
		s.bits(s.toServer, lineF1, f1)
		s.answers("the whole flight", f1, 1)
	}},
	{"strong line: first flight, every length", crypto.F1Size + 8, func(a *attack) {
		s, l := besiegeStrongLine(a)
		f1 := l.flight(now()+1, 0)
		s.lengths(s.toServer, lineF1, f1)
		s.answers("the whole flight", f1, 1)
	}},
	{"strong line: flights to a server that are none, or old", 5, func(a *attack) {
		s, l := besiegeStrongLine(a)
		recorded := only(lineFrames(s.saidByClient), lineF1)[0]
		older, f1 := l.flight(now()+1, 0), l.flight(now()+2, 0)
		s.answers("the whole flight", f1, 1)
		_, shared := flight(a.t, testConfig(a.t))
		server := lineFrames(s.saidByServer)
		for name, f := range map[string][]byte{
			"the flight of the link":     recorded,
			"an older one":               handshakeFrame(lineF1, older),
			"of a shared key":            handshakeFrame(lineF1, shared),
			"the server's second flight": only(server, lineF2)[0],
			"the server's hail":          only(server, lineHail)[0],
		} {
			s.silent(s.toServer, name, f)
		}
	}},
	{"strong line: hail, every bit", 8 * (5 + crypto.HailSize) * 2, func(a *attack) {
		s, _ := besiegeStrongLine(a)
		settled(time.Minute)
		s.toClient.heard()
		s.bits(s.toClient, lineHail, s.hail[1:1+crypto.HailSize])
		s.doubts()
	}},
	{"strong line: second flight, every bit", 8 * (5 + crypto.F2Size) * 2, func(a *attack) {
		l := newStrongLink(a.t)
		c := newLineCallerOf(a, func(c *Config) { l.use(c); c.Door = l.openDoor() })
		c.bits(c.toClient, lineF2, c.f2)
		c.accepts()
	}},
}

func besiegeStrongLine(a *attack) (*lineSiege, *strongLink) {
	a.t.Helper()
	l := newStrongLink(a.t)
	line := tapLine(a.t, serialtest.Wire{}, func(c *Config) {
		c.KeyTTL, c.Tuning.Keepalive = 24*time.Hour, 24*time.Hour
		l.use(c)
	})
	return siegeOf(a, line), l
}
