package tunnel

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"testing"

	"vpnd/compress"
	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// What a client says of second flights.
const (
	noAnswer      = "no answer: wrong key, address filter, or not a vpnd"
	notAnAnswer   = "answer is not authentic: wrong key, or not a vpnd"
	serversPrefix = "server 198.51.100.1:379: "
)

// answerAttacks bring second flights that are not right to a client. It gives the
// server up without having said anything but its first flight.
var answerAttacks = attacks{
	{"second flight, every bit", 8 * crypto.F2Size, func(a *attack) {
		v := newVisitor(a)
		for bit := range 8 * len(v.f2) {
			a.try(fmt.Sprint("bit ", bit), func() error { return v.refuses(flipped(v.f2, bit), notAnAnswer) })
		}
		v.accepts(v.f2)
	}},
	{"second flight, every length", 2 * crypto.F2Size, func(a *attack) {
		v := newVisitor(a)
		for n := range v.f2 {
			a.try(fmt.Sprint(n, " bytes, held"), func() error { return v.refuses(v.f2[:n], noAnswer) })
			a.try(fmt.Sprint(n, " bytes, ended"), func() error {
				v.ended = true
				defer func() { v.ended = false }()
				return v.refuses(v.f2[:n], noAnswer)
			})
		}
		v.accepts(v.f2)
	}},
	{"second flight, choices changed on the way", 55, func(a *attack) {
		v := newVisitor(a)
		for _, is := range otherAnswers(v.answer) {
			changed := bytes.Clone(v.f2)
			subtle.XORBytes(changed[answerAt:], changed[answerAt:], v.answer.append(nil))
			subtle.XORBytes(changed[answerAt:], changed[answerAt:], is.append(nil))
			a.try(fmt.Sprintf("%+v", is), func() error { return v.refuses(changed, notAnAnswer) })
		}
		v.accepts(v.f2)
	}},
	{"second flight, put together from two", crypto.F2Size - 1, func(a *attack) {
		v := newVisitor(a)
		f2 := unlike(v.f2, answerAt, func(random same) []byte { return v.reply(sameFlight(a.t, choosy(a.t), random), nil) })
		for n := 1; n < len(f2); n++ {
			a.try(fmt.Sprint("from byte ", n), func() error {
				return v.refuses(slices.Concat(v.f2[:n], f2[n:]), notAnAnswer)
			})
		}
		v.accepts(v.f2)
	}},
	{"second flight, of another session or thrown back", 7, func(a *attack) {
		v := newVisitor(a)
		_, f1 := flight(a.t, testConfig(a.t))
		for name, b := range map[string][]byte{
			"of another session":             v.reply(f1, nil),
			"zeros":                          make([]byte, crypto.F2Size),
			"first flight":                   v.f1,
			"first flight's e":               slices.Concat(v.f1[:hintAt], v.f2[answerAt:]),
			"first flight without its hint":  slices.Concat(v.f1[:hintAt], v.f1[helloAt:]),
			"first flight's end":             v.f1[crypto.F1Size-crypto.F2Size:],
			"first flight of another client": f1,
		} {
			a.try(name, func() error { return v.refuses(b, notAnAnswer) })
		}
		v.accepts(v.f2)
	}},
	{"second flight twice", 1, func(a *attack) {
		v := newVisitor(a)
		a.try("with all that the first bytes promise", func() error {
			s, _, err := v.call(slices.Concat(v.f2, v.f2, make([]byte, frame.MaxText)))
			if err != nil {
				return err // the first one is good
			}
			v.client.attach(s)
			return cause(s.run(), notAuthentic)
		})
	}},
	{"choices of a server with the key", 14, func(a *attack) {
		v := newVisitor(a)
		for _, c := range choices {
			if c.want == "" {
				v.accepts(v.reply(v.f1, c.change))
				continue
			}
			a.try(c.name, func() error { return v.refuses(v.reply(v.f1, c.change), c.want) })
		}
	}},
}

// visitor is a client that sends the same first flight each time, so that the
// answers to it can be made before.
type visitor struct {
	*attack
	client *Tunnel
	f1, f2 []byte
	answer answer
	ended  bool // the stream, behind the answer
	door   func() Door
}

func newVisitor(a *attack) *visitor {
	a.t.Helper()
	c := choosy(a.t)
	c.Random = same(1)
	return newVisitorWith(a, c, func() Door { return newSharedDoor(same(2), testKey(a.t, 1)) })
}

// newVisitorWith has another key; door opens what it says.
func newVisitorWith(a *attack, c Config, door func() Door) *visitor {
	a.t.Helper()
	c.Servers = []Dial{nil}
	device := newFakeDevice()
	a.devices = []*fakeDevice{device}
	c.Device, c.Log = device, slog.New(slog.DiscardHandler)
	client, err := New(c)
	if err != nil {
		a.t.Fatal(err)
	}
	v := &visitor{attack: a, client: client, door: door}
	_, v.f1 = flight(a.t, c)
	v.f2 = v.reply(v.f1, func(chosen *answer) { v.answer = *chosen })
	return v
}

// same is a source of random bytes that are all the same. Flights made with it
// are the same in every run.
type same byte

func (s same) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s)
	}
	return len(b), nil
}

// unlike makes a flight that differs from another one in its first byte from a place on,
// and in its last: what is put together of the two is neither of them.
func unlike(b []byte, from int, make func(same) []byte) []byte {
	last := len(b) - 1
	for random := same(3); ; random++ {
		if other := make(random); other[from] != b[from] && other[last] != b[last] {
			return other
		}
	}
}

// sameFlight returns a first flight that is always the same.
func sameFlight(t *testing.T, c Config, random same) []byte {
	t.Helper()
	c.Random = random
	_, f1 := flight(t, c)
	return f1
}

// reply makes the second flight of an honest server, or one that has changed it.
func (v *visitor) reply(f1 []byte, change func(*answer)) []byte {
	v.t.Helper()
	call, err := v.door().Open(f1)
	if err != nil {
		v.t.Fatal(err)
	}
	chosen := speaker(choosy(v.t)).choose(v.client.hello())
	if change != nil {
		change(&chosen)
	}
	f2, _, err := call.Answer(chosen.append(nil))
	if err != nil {
		v.t.Fatal(err)
	}
	return f2
}

// call lets the client call, and meet an answer.
func (v *visitor) call(f2 []byte) (*session, *pipe, error) {
	p := newPipe(&net.TCPAddr{}, newRoad().Addr())
	p.server.Write(f2)
	if v.ended {
		p.server.CloseWrite()
	}
	limit, stop := context.WithTimeoutCause(v.t.Context(), attemptTimeout, errSlow)
	defer stop()
	s, err := v.client.attempt(v.t.Context(), limit, func(context.Context) (net.Conn, error) { return p.client, nil })
	return s, p, err
}

// refuses brings an answer that the client must not take.
func (v *visitor) refuses(f2 []byte, want string) error {
	s, p, err := v.call(f2)
	if s != nil {
		s.end(errShutdown)
		s.hangUpConn(false)
		return errors.New("was accepted")
	}
	err = cause(err, serversPrefix+want)
	p.do(func() {
		if !bytes.Equal(p.server.data, v.f1) || !p.client.closed {
			err = errors.Join(err, fmt.Errorf("client sent %x, closed: %v", p.server.data, p.client.closed))
		}
	})
	return err
}

// accepts brings an answer that is right, which shows that the others were
// refused for the reason that the test has in mind.
func (v *visitor) accepts(f2 []byte) {
	v.t.Helper()
	s, _, err := v.call(f2)
	if err != nil {
		v.t.Errorf("the right answer: %v", err)
		return
	}
	s.end(errShutdown)
	s.hangUpConn(false)
}

// otherAnswers are choices other than a.
func otherAnswers(a answer) (others []answer) {
	with := func(change func(a *answer)) {
		other := a
		change(&other)
		others = append(others, other)
	}
	for _, r := range []reason{1, 2, 255} {
		with(func(a *answer) { a.reason = r })
	}
	for _, v := range []uint8{0, version - 1, version + 1, 255} {
		with(func(a *answer) { a.version = v })
	}
	for c := range crypto.Cipher(16) {
		if c != a.cipher {
			with(func(a *answer) { a.cipher = c })
		}
	}
	for c := range compress.All + 1 {
		if c != a.compression {
			with(func(a *answer) { a.compression = c })
		}
	}
	with(func(a *answer) { a.terms.keyBits = 128 })
	with(func(a *answer) { a.terms.keyTTL /= 2 })
	return others
}
