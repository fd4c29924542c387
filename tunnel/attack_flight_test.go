package tunnel

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

// Where the parts of the flights stand.
const (
	hintAt   = 32
	helloAt  = 40
	doorAt   = crypto.F1Size - 16
	answerAt = 32
)

// flightAttacks bring first flights that are not right to a server. They get not
// a byte, and nobody can tell from the time why.
var flightAttacks = attacks{
	{"first flight, every bit", 8 * crypto.F1Size, func(a *attack) {
		s := besiege(a, bf)
		_, f1 := flight(a.t, s.config)
		for bit := range 8 * len(f1) {
			a.try(fmt.Sprint("bit ", bit), func() error { return s.stranger(flipped(f1, bit), refusedDoor) })
		}
		s.answered(f1)
	}},
	{"first flight, every length", 2 * crypto.F1Size, func(a *attack) {
		s := besiege(a, bf)
		_, f1 := flight(a.t, s.config)
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
	{"first flight, behind zeros", 256, func(a *attack) {
		s := besiege(a, bf)
		_, f1 := flight(a.t, s.config)
		for n := range 256 {
			a.try(fmt.Sprint(n+1, " zeros in front"), func() error {
				return s.stranger(append(make([]byte, n+1), f1...), refusedDoor)
			})
		}
		s.answered(f1)
	}},
	{"first flight, lists changed on the way", 2 * 44, func(a *attack) {
		s := besiege(a, chacha, aes, bf)
		_, f1 := flight(a.t, s.config)
		was := speaker(s.config).hello()
		for _, is := range otherHellos(was) {
			// Who guesses the payload can change it as he likes.
			changed := bytes.Clone(f1)
			subtle.XORBytes(changed[helloAt:], changed[helloAt:], was.append(nil))
			subtle.XORBytes(changed[helloAt:], changed[helloAt:], is.append(nil))
			name := fmt.Sprintf("versions %d to %d, ciphers %03b, compression %04b, %d bits",
				is.minVersion, is.maxVersion, is.ciphers, is.compression, is.terms.keyBits)
			a.try(name, func() error { return s.stranger(changed, refusedDoor) })
			// Even if he could make the door as well.
			changed = append(changed[:doorAt], door(s.config.Keys[0], changed[:doorAt])...)
			a.try(name+", door made anew", func() error { return s.stranger(changed, refusedDoor) })
		}
		s.answered(f1)
	}},
	{"first flight, put together from two", crypto.F1Size - 1, func(a *attack) {
		s := besiege(a, bf)
		one := sameFlight(a.t, s.config, 1)
		other := unlike(one, 0, func(random same) []byte { return sameFlight(a.t, s.config, random) })
		for n := 1; n < len(one); n++ {
			a.try(fmt.Sprint("from byte ", n), func() error {
				return s.stranger(slices.Concat(one[:n], other[n:]), refusedDoor)
			})
		}
		s.answered(one)
		s.answered(other)
	}},
	{"first flight, played again or thrown back", 7, func(a *attack) {
		s := besiege(a, bf)
		_, f1 := flight(a.t, s.config)
		f2 := s.answered(f1)
		for name, b := range map[string][]byte{
			"again":                         f1,
			"again, with more":              append(bytes.Clone(f1), make([]byte, 1000)...),
			"again, with its second flight": slices.Concat(f1, f2),
		} {
			a.try(name, func() error { return s.stranger(b, refusedReplay) })
		}
		for name, b := range map[string][]byte{
			"second flight, padded":    append(bytes.Clone(f2), make([]byte, crypto.F1Size)...),
			"second flight twice":      slices.Concat(f2, f2),
			"second flight's e":        slices.Concat(f2[:hintAt], f1[hintAt:]),
			"second flight's e, twice": slices.Concat(f2[:hintAt], f1[hintAt:], f1),
		} {
			a.try(name, func() error { return s.stranger(b, refusedDoor) })
		}
	}},
}

// door makes the door of a flight, which nobody without the key can.
func door(key *crypto.Key, flight []byte) []byte {
	m := hmac.New(sha256.New, (*field[*[32]byte](key, "door"))[:])
	m.Write(flight)
	return m.Sum(nil)[:16]
}

// otherHellos are hellos that offer less than h, more, or something else.
func otherHellos(h hello) (others []hello) {
	with := func(change func(h *hello)) {
		other := h
		change(&other)
		others = append(others, other)
	}
	for _, v := range [][2]uint8{{0, version}, {1, version}, {1, version - 1}, {version, 255}, {version + 1, version + 1}} {
		with(func(h *hello) { h.minVersion, h.maxVersion = v[0], v[1] })
	}
	for c := range h.ciphers {
		with(func(h *hello) { h.ciphers = c })
	}
	for c := range h.compression {
		with(func(h *hello) { h.compression = c })
	}
	with(func(h *hello) { h.terms.keyBits = 128 })
	return others
}

// stranger brings bytes that are not worth an answer, and waits for more.
func (s *siege) stranger(b []byte, why refusal) error {
	return s.call(why, 0, func(conn *pipeEnd) { conn.Write(b) })
}

// call lets act do what it likes with a connection of its own. It sees that the
// server writes so many bytes to it, keeps it until the handshake's time is over,
// and counts the reason.
func (s *siege) call(why refusal, answer int, act func(conn *pipeEnd)) error {
	before := s.server.Stats().Refused
	c, err := s.road.dialFrom(s.t.Context(), netip.MustParseAddr("203.0.113.66"))
	if err != nil {
		return err
	}
	conn := c.(*pipeEnd)
	defer conn.Close()
	end := time.Now().Add(lobbyTimeout)
	act(conn)
	time.Sleep(time.Until(end) - 1)
	synctest.Wait()
	early, _ := conn.peer.isClosed()
	time.Sleep(1)
	synctest.Wait()
	if closed, _ := conn.peer.isClosed(); early || !closed {
		err = fmt.Errorf("closed early: %v, in time: %v", early, closed)
	}
	if n := conn.peer.written(); n != answer {
		err = errors.Join(err, fmt.Errorf("got %d bytes, want %d", n, answer))
	}
	for name, n := range s.server.Stats().Refused {
		if was := before[name]; n != was && name != refusedNames[why] || n != was+1 && name == refusedNames[why] {
			err = errors.Join(err, fmt.Errorf("refused for %q %d times, want only %q", name, n-was, refusedNames[why]))
		}
	}
	return err
}

// answered brings a flight that is right, which shows that what went before was
// refused for the reason that the test has in mind. It returns the second flight.
func (s *siege) answered(f1 []byte) []byte {
	s.t.Helper()
	f2 := make([]byte, crypto.F2Size)
	if err := s.call(refusedConfirm, crypto.F2Size, func(conn *pipeEnd) {
		conn.Write(f1)
		synctest.Wait()
		conn.Read(f2)
	}); err != nil {
		s.t.Errorf("the whole flight: %v", err)
	}
	return f2
}

// callerAttacks bring good first flights, which need the key, or a recording and a
// server that was restarted.
var callerAttacks = attacks{
	{"CONFIRM, every bit, blowfish", 8 * 19, confirmBits(bf)},
	{"CONFIRM, every bit, aes-256-gcm", 8 * 19, confirmBits(aes)},
	{"CONFIRM, every bit, chacha20-poly1305", 8 * 19, confirmBits(chacha)},
	{"CONFIRM, every length", 2 * 19, func(a *attack) {
		s := besiege(a, chacha)
		for n := range 19 {
			a.try(fmt.Sprint(n, " bytes, held"), func() error {
				return s.caller(func(p *puppet) { p.sendRaw(p.seal(frameConfirm)[:n]) })
			})
			a.try(fmt.Sprint(n, " bytes, ended"), func() error {
				return s.caller(func(p *puppet) {
					p.sendRaw(p.seal(frameConfirm)[:n])
					p.conn.(*pipeEnd).CloseWrite()
				})
			})
		}
	}},
	{"instead of CONFIRM", 9, func(a *attack) {
		s := besiege(a, chacha)
		for name, send := range map[string]func(p *puppet){
			"another first flight": func(p *puppet) {
				_, f1 := flight(a.t, s.config)
				p.sendRaw(f1)
			},
			"length 0":          func(p *puppet) { p.sendRaw(make([]byte, 2+16)) },
			"length 1, no seal": func(p *puppet) { p.sendRaw(append([]byte{0, 1}, make([]byte, 17)...)) },
			"length 65535":      func(p *puppet) { p.sendRaw(bytes.Repeat([]byte{255}, 2+65535+16)) },
			"batch": func(p *puppet) {
				p.send(frameBatch, stored(udp(60, 1))...)
				p.send(frameConfirm)
			},
			"batch without payload": func(p *puppet) {
				p.send(frameBatch)
				p.send(frameConfirm)
			},
			"a generation": func(p *puppet) { p.send(frameRatchet, nextGeneration) },
			"CONFIRM of another session": func(p *puppet) {
				keys, _ := generations(a.t)
				p.renew(keys)
				p.send(frameConfirm)
			},
		} {
			a.try(name, func() error { return s.caller(send) })
		}
		_, f1 := flight(a.t, s.config)
		a.try("the first flight twice", func() error {
			return s.call(refusedConfirm, crypto.F2Size, func(conn *pipeEnd) { conn.Write(slices.Concat(f1, f1)) })
		})
	}},
	{"CONFIRM held back until a newer link is up", 2, func(a *attack) {
		s := besiege(a, chacha)
		for name, more := range map[string]func(p *puppet){
			"alone":        func(*puppet) {},
			"with packets": func(p *puppet) { p.send(frameBatch, stored(udp(60, 1))...) },
		} {
			old := puppetCaller(a.t, s.road.caller(a.t), s.config)
			s.relink()
			a.try(name, func() error {
				old.send(frameConfirm)
				more(old)
				if got := old.closing(); got != closeDisplaced {
					return fmt.Errorf("closed with reason %v", got)
				}
				return nil
			})
		}
	}},
	{"lists of a caller with the key", 7, func(a *attack) {
		s := besiege(a, chacha, bf)
		for name, change := range map[string]func(h *hello){
			"an earlier version":     func(h *hello) { h.minVersion, h.maxVersion = 1, version-1 },
			"later versions":         func(h *hello) { h.minVersion, h.maxVersion = version+1, 255 },
			"versions upside down":   func(h *hello) { h.minVersion, h.maxVersion = version+1, version-1 },
			"no cipher":              func(h *hello) { h.ciphers = 0 },
			"a cipher of no server":  func(h *hello) { h.ciphers = 1 << aes },
			"ciphers of the future":  func(h *hello) { h.ciphers = 0xf8 },
			"blowfish with few bits": func(h *hello) { h.ciphers, h.terms.keyBits = 1<<bf, 128 },
		} {
			a.try(name, func() error {
				h := speaker(s.config).hello()
				change(&h)
				_, f1, err := crypto.Initiate(s.config.Keys[0], s.config.Random, h.append(nil))
				if err != nil {
					return err
				}
				return s.call(refusedTerms, crypto.F2Size, func(conn *pipeEnd) { conn.Write(f1) })
			})
		}
	}},
	{"1000 flights without CONFIRM", 1000, func(a *attack) {
		s := besiege(a, bf)
		var conns []*pipeEnd
		for n := range 1000 {
			_, f1 := flight(a.t, s.config)
			c, err := s.road.dialFrom(a.t.Context(), netip.AddrFrom4([4]byte{203, 0, byte(n % 7), 1}))
			if err != nil {
				a.t.Fatal(err)
			}
			c.Write(f1)
			conns = append(conns, c.(*pipeEnd))
			time.Sleep(time.Millisecond)
			if n%10 != 0 {
				continue
			}
			if err := s.disturbed(); err != nil {
				a.t.Fatalf("after %d flights: %v", n+1, err)
			}
		}
		time.Sleep(lobbyTimeout)
		synctest.Wait()
		if r := s.server.Stats().Refused; r["no_confirm"]+r["crowd"] != 1000 {
			a.t.Errorf("refused: %v", r)
		}
		for n, c := range conns {
			a.try(fmt.Sprint("flight ", n), func() error {
				defer c.Close()
				if closed, _ := c.peer.isClosed(); !closed || c.peer.written() != crypto.F2Size {
					return fmt.Errorf("closed: %v, got %d bytes", closed, c.peer.written())
				}
				return nil
			})
		}
	}},
}

// relink makes the client take a newer link.
func (s *siege) relink() {
	s.t.Helper()
	time.Sleep(time.Second)
	s.client.Redial()
	for _, e := range []*end{s.server, s.client} {
		await(s.t, e.down, "end of the link")
		await(s.t, e.up, "newer link")
	}
	s.was = s.server.Stats()
}

// caller shakes hands with the key and lets act do something else than to confirm
// the session's keys.
func (s *siege) caller(act func(p *puppet)) error {
	return s.call(refusedConfirm, crypto.F2Size, func(conn *pipeEnd) { act(puppetCaller(s.t, conn, s.config)) })
}

func confirmBits(cipher crypto.Cipher) func(a *attack) {
	return func(a *attack) {
		s := besiege(a, cipher)
		for bit := range 8 * 19 {
			a.try(fmt.Sprint("bit ", bit), func() error {
				return s.caller(func(p *puppet) { p.sendRaw(flipped(p.seal(frameConfirm), bit)) })
			})
		}
	}
}
