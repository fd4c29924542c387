package tunnel

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"vpnd/crypto"
	"vpnd/serial/serialtest"
)

// lineFlightAttacks bring flights and hails that are not right, or not new, to the
// ends of a line. They say nothing, and a link goes on.
var lineFlightAttacks = attacks{
	{"line: first flight, every bit", 8 * (5 + crypto.F1Size) * 2, func(a *attack) {
		s := besiegeLine(a)
		_, f1 := flight(a.t, s.config[1])
		s.bits(s.toServer, lineF1, f1)
		s.answers("the whole flight", f1, 1)
	}},
	{"line: first flight, every length", crypto.F1Size + 8, func(a *attack) {
		s := besiegeLine(a)
		_, f1 := flight(a.t, s.config[1])
		s.lengths(s.toServer, lineF1, f1)
		s.answers("the whole flight", f1, 1)
	}},
	{"line: flights to a server that are none, or old", 8, func(a *attack) {
		s := besiegeLine(a)
		_, f1 := flight(a.t, s.config[1])
		recorded := only(lineFrames(s.saidByClient), lineF1)[0]
		s.answers("the whole flight", f1, 1)
		other := s.config[1]
		other.Keys = []*crypto.Key{testKey(a.t, 2)}
		_, foreign := flight(a.t, other)
		_, newer := flight(a.t, s.config[1])
		s.answers("a newer one", newer, 1)
		server := lineFrames(s.saidByServer)
		for name, f := range map[string][]byte{
			"the flight of the link":     recorded,
			"of another key":             handshakeFrame(lineF1, foreign),
			"zeros":                      handshakeFrame(lineF1, make([]byte, crypto.F1Size)),
			"the server's second flight": only(server, lineF2)[0],
			"the server's hail":          only(server, lineHail)[0],
			"a flight as a hail":         handshakeFrame(lineHail, newer),
			"a flight as a second one":   handshakeFrame(lineF2, newer),
			"an unknown message":         handshakeFrame(0x80, newer),
		} {
			s.silent(s.toServer, name, f)
		}
	}},
	{"line: second flight, every bit", 8 * (5 + crypto.F2Size) * 2, func(a *attack) {
		c := newLineCaller(a)
		c.bits(c.toClient, lineF2, c.f2)
		c.accepts()
	}},
	{"line: second flight, every length", crypto.F2Size + 8, func(a *attack) {
		c := newLineCaller(a)
		c.lengths(c.toClient, lineF2, c.f2)
		c.accepts()
	}},
	{"line: second flights that are none", 7 + len(lowOrder), func(a *attack) {
		c := newLineCaller(a)
		_, other := flight(a.t, c.config[1])
		foreign := c.config[0]
		foreign.Keys = []*crypto.Key{testKey(a.t, 2)}
		for i, point := range lowOrder {
			c.silent(c.toClient, fmt.Sprint("point that gives no secret ", i), handshakeFrame(lineF2, slices.Concat(point, c.f2[hintAt:])))
		}
		for name, f := range map[string][]byte{
			"of another session":      handshakeFrame(lineF2, secondFlight(a, c.config[0], other)),
			"first flight":            handshakeFrame(lineF1, c.f1),
			"first flight as second":  handshakeFrame(lineF2, c.f1),
			"first flight's e":        handshakeFrame(lineF2, slices.Concat(c.f1[:hintAt], c.f2[hintAt:])),
			"first flight, cut":       handshakeFrame(lineF2, c.f1[:crypto.F2Size]),
			"second flight as a hail": handshakeFrame(lineHail, c.f2),
			"noise":                   handshakeFrame(lineF2, bytes.Repeat([]byte{0x55}, crypto.F2Size)),
		} {
			c.silent(c.toClient, name, f)
		}
		c.accepts()
	}},
	{"line: choices of a server with the key", 14, func(a *attack) {
		for _, choice := range choices {
			c := newLineCallerWith(a, choosy(a.t))
			f2 := c.answer(choice.change)
			if choice.want == "" {
				c.f2 = f2
				c.accepts()
				continue
			}
			c.try(choice.name, func() error {
				c.toClient.play(handshakeFrame(lineF2, f2))
				settled(c.wait)
				if got := c.client.Stats().Reason; got != choice.want {
					return fmt.Errorf("cause is %q, want %q", got, choice.want)
				}
				return nil
			})
		}
	}},
	{"line: second flight to a client with a link", 3, func(a *attack) {
		s := besiegeLine(a)
		f2 := only(lineFrames(s.saidByServer), lineF2)[0]
		s.silent(s.toClient, "again", f2)
		s.silent(s.toClient, "of an earlier call", handshakeFrame(lineF2, f2[1:1+crypto.F2Size]))
		_, f1 := flight(a.t, s.config[1])
		s.silent(s.toClient, "of a call that was not made", handshakeFrame(lineF2, secondFlight(a, s.config[0], f1)))
	}},
	{"line: hail, every bit", 8 * (5 + crypto.HailSize) * 2, func(a *attack) {
		s := besiegeLine(a)
		settled(time.Minute)
		s.toClient.heard()
		s.bits(s.toClient, lineHail, s.hail[1:1+crypto.HailSize])
		s.doubts()
	}},
	{"line: hail, every length", crypto.HailSize + 8, func(a *attack) {
		s := besiegeLine(a)
		settled(time.Minute)
		s.toClient.heard()
		s.lengths(s.toClient, lineHail, s.hail[1:1+crypto.HailSize])
		s.doubts()
	}},
	{"line: frames of no use, to both ends", 2 * 2 * 6, func(a *attack) {
		s := besiegeLine(a)
		for i, end := range []*tap{s.toServer, s.toClient} {
			for _, n := range []int{0, 1, shortest - 1, shortest, largestFrame, largestFrame + 1} {
				f := make([]byte, n)
				s.silent(end, fmt.Sprint("to end ", i, ", ", n, " zeros"), f)
				s.silent(end, fmt.Sprint("to end ", i, ", ", n, " ones"), bytes.Repeat([]byte{0xff}, n))
			}
		}
	}},
}

// lowOrder are points of Curve25519 that give no secret.
var lowOrder = points(
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)

func points(texts ...string) (all [][]byte) {
	for _, text := range texts {
		b, err := hex.DecodeString(text)
		if err != nil {
			panic(err)
		}
		all = append(all, b)
	}
	return all
}

// lineSiege is a line with a link that must not notice what somebody does to it.
type lineSiege struct {
	*attack
	*tappedLine
	hail                       []byte        // a frame of before the link
	saidByServer, saidByClient []byte        // up to the link
	wait                       time.Duration // for an answer
}

func besiegeLine(a *attack, ciphers ...crypto.Cipher) *lineSiege {
	a.t.Helper()
	l := tapLine(a.t, serialtest.Wire{}, func(c *Config) {
		c.KeyTTL, c.Tuning.Keepalive = 24*time.Hour, 24*time.Hour
		if len(ciphers) > 0 {
			c.Ciphers = ciphers
		}
	})
	return siegeOf(a, l)
}

// siegeOf besieges a line with a link.
func siegeOf(a *attack, l *tappedLine) *lineSiege {
	a.t.Helper()
	settled(10 * time.Second)
	s := &lineSiege{attack: a, tappedLine: l, wait: moment, saidByServer: bytes.Clone(l.toServer.said), saidByClient: bytes.Clone(l.toClient.said)}
	s.hail = only(lineFrames(s.saidByServer), lineHail)[0]
	s.watch()
	return s
}

// watch looks after the link at the end of each case.
func (s *lineSiege) watch() {
	links := s.server.Stats().Links
	s.devices = []*fakeDevice{s.server.device, s.client.device}
	s.after = func() error { return s.disturbed(s.t, links) }
}

// moment is more than an answer takes, on a line as fast as can be.
const moment = 50 * time.Millisecond

// silent plays a frame that an end must not answer.
func (s *lineSiege) silent(to *tap, name string, f []byte) {
	s.t.Helper()
	s.try(name, func() error {
		settled(s.wait)
		before := to.spoken()
		to.play(f)
		settled(s.wait)
		if n := to.spoken() - before; n != 0 {
			return fmt.Errorf("it said %d bytes", n)
		}
		return nil
	})
}

// bits flips each bit of a frame, and of the message in a frame that is right.
func (s *lineSiege) bits(to *tap, control byte, message []byte) {
	f := handshakeFrame(control, message)
	for bit := range 8 * len(f) {
		s.silent(to, fmt.Sprint("bit ", bit), flipped(f, bit))
		changed := flipped(f, bit)
		s.silent(to, fmt.Sprint("bit ", bit, ", with its check sequence"), handshakeFrame(changed[0], changedMessage(changed, bit)))
	}
}

// changedMessage is the message of a frame with a flipped bit. Where that is in the
// check sequence, the message is cut.
func changedMessage(f []byte, bit int) []byte {
	message := f[1 : len(f)-4]
	if bit >= 8*(len(f)-4) {
		return message[:len(message)-1-bit%8]
	}
	if bit < 8 && f[0]&handshakeBit == 0 {
		return nil
	}
	return message
}

func (s *lineSiege) lengths(to *tap, control byte, message []byte) {
	for n := range message {
		s.silent(to, fmt.Sprint(n, " bytes"), handshakeFrame(control, message[:n]))
	}
	for n := range 8 {
		s.silent(to, fmt.Sprint(n+1, " bytes more"), handshakeFrame(control, append(bytes.Clone(message), make([]byte, n+1)...)))
	}
}

// answers plays a first flight and counts what it draws.
func (s *lineSiege) answers(name string, f1 []byte, want int) {
	s.t.Helper()
	s.toServer.heard()
	s.toServer.play(handshakeFrame(lineF1, f1))
	settled(moment)
	if n := len(only(s.toServer.heard(), lineF2)); n != want {
		s.t.Errorf("%s: %d answers, want %d", name, n, want)
	}
}

// doubts plays a hail as it is: it draws a question in the link, and no call.
func (s *lineSiege) doubts() {
	s.t.Helper()
	s.toClient.play(s.hail)
	settled(moment)
	if f := s.toClient.heard(); len(f) == 0 || len(only(f, 0)) != len(f) {
		s.t.Errorf("an old hail draws %x", f)
	}
}

// lineCaller is a client that calls, and the answer that its server would give.
type lineCaller struct {
	*lineSiege
	f1, f2 []byte
}

func newLineCaller(a *attack) *lineCaller { return newLineCallerWith(a, testConfig(a.t)) }

func newLineCallerWith(a *attack, config Config) *lineCaller {
	a.t.Helper()
	return newLineCallerOf(a, func(c *Config) { c.Ciphers, c.Tuning = config.Ciphers, config.Tuning })
}

func newLineCallerOf(a *attack, change func(*Config)) *lineCaller {
	a.t.Helper()
	l := newTappedLine(a.t, serialtest.Wire{}, change)
	l.client = start(a.t, l.config[1])
	settled(moment)
	c := &lineCaller{lineSiege: &lineSiege{attack: a, tappedLine: l}}
	c.f1 = only(l.toClient.heard(), lineF1)[0][1 : 1+crypto.F1Size]
	c.f2 = c.answer(func(*answer) {})
	a.devices = []*fakeDevice{l.client.device}
	a.after = func() error {
		if st := l.client.Stats(); st.State != "down" || st.Links != 0 {
			return fmt.Errorf("state is %+v", st)
		}
		return nil
	}
	return c
}

// accepts brings the true answer, which is good after all the others.
func (c *lineCaller) accepts() {
	c.t.Helper()
	c.toClient.play(handshakeFrame(lineF2, c.f2))
	await(c.t, c.client.up, "link of the client")
}

// answer is what the server says to the client's call, after change.
func (c *lineCaller) answer(change func(*answer)) []byte {
	return changedFlight(c.attack, c.config[0], c.f1, change)
}

// secondFlight is the answer of a server with the configuration.
func secondFlight(a *attack, config Config, f1 []byte) []byte {
	return changedFlight(a, config, f1, func(*answer) {})
}

func changedFlight(a *attack, config Config, f1 []byte, change func(*answer)) []byte {
	a.t.Helper()
	door := config.Door
	if door == nil {
		door = newSharedDoor(config.Random, config.Keys...)
	}
	call, err := door.Open(f1)
	if err != nil {
		a.t.Fatal(err)
	}
	h, err := parseHello(call.Hello)
	if err != nil {
		a.t.Fatal(err)
	}
	chosen := speaker(config).choose(h)
	change(&chosen)
	f2, _, err := call.Answer(chosen.append(nil))
	if err != nil {
		a.t.Fatal(err)
	}
	return f2
}
