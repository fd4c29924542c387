package tunnel

import (
	"errors"
	"fmt"
	"math"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

// counterAttacks let the counters of a link begin just below their end. Nobody
// lives to see most of that: a link that ends is what must come of it, never a
// number that was used before.
var counterAttacks = attacks{
	{"counters near their end, blowfish", 2 * 6, counterEnds(bf, 1<<17)},
	{"counters near their end, aes-256-gcm", 2 * 6, counterEnds(aes, 1<<26)},
	{"counters near their end, chacha20-poly1305", 2 * 6, counterEnds(chacha, 1<<26)},
}

// counterEnd is a counter near its end, and what becomes of three packets.
type counterEnd struct {
	name string
	// set changes the counters of both ends of a direction.
	set       func(s *crypto.Sealer, o *crypto.Opener)
	frames    int // on the wire
	delivered int // packets
	// Why the link ends, for the sender and for the receiver; empty: it lives.
	sender, receiver string
}

func counterEnds(cipher crypto.Cipher, limit uint64) func(a *attack) {
	const (
		used    = "key is used up"
		refused = "protocol error: frame: " + used
		told    = "peer closed the link: protocol error"
		lost    = "connection lost: closed by the other end or on the way"
	)
	number := func(half any) *uint64 { return field[uint64](half, "number") }
	blocks := func(half any) *uint64 { return field[uint64](half, "blocks") }
	epoch := func(half any) *uint64 { return field[uint64](half, "epoch") }
	tests := []counterEnd{
		{"numbers", func(s *crypto.Sealer, o *crypto.Opener) { *number(s), *number(o) = math.MaxUint32, math.MaxUint32 }, 1, 1, used, lost},
		{"number of the sender", func(s *crypto.Sealer, o *crypto.Opener) { *number(s) = math.MaxUint32 + 1 }, 0, 0, used, lost},
		{"number of the receiver", func(s *crypto.Sealer, o *crypto.Opener) { *number(o) = math.MaxUint32 + 1 }, 1, 0, told, refused},
		{"blocks of the sender", func(s *crypto.Sealer, o *crypto.Opener) { *blocks(s) = limit - 1 }, 4, 3, "", ""},
		{"blocks of the receiver", func(s *crypto.Sealer, o *crypto.Opener) { *blocks(o) = 8*limit + 1<<14 }, 1, 0, told, refused},
		{"epochs", func(s *crypto.Sealer, o *crypto.Opener) {
			*epoch(s), *epoch(o), *blocks(s) = math.MaxUint64, math.MaxUint64, limit-1
		}, 0, 0, used, lost},
	}
	return func(a *attack) {
		c := testConfig(a.t)
		c.Ciphers, c.Tuning.Compress = []crypto.Cipher{cipher}, "off"
		server, r := simServer(a.t, c)
		m := &middle{road: r}
		c.Servers = []Dial{m.dial}
		client := start(a.t, c)
		a.devices = []*fakeDevice{server.device, client.device}
		await(a.t, server.up, "link of the server")
		await(a.t, client.up, "link of the client")
		for _, test := range tests {
			a.try(test.name+", to the server", func() error { return test.meet(a, m, client, server, true) })
			a.try(test.name+", to the client", func() error { return test.meet(a, m, server, client, false) })
		}
	}
}

// meet sends packets with counters near their end, and then on the link that is
// there afterwards.
func (test counterEnd) meet(a *attack, m *middle, from, to *end, up bool) (err error) {
	passes(a.t, from, to)
	synctest.Wait()
	test.set(from.point.link.Load().send.sealer, to.point.link.Load().receive.opener)
	m.road.become(roadRefused)
	frames := 0
	m.change(func(fUp bool, f []byte) []byte {
		if fUp == up {
			frames++
		}
		return f
	})
	for n := range byte(3) {
		from.device.in <- udp(60, n)
		synctest.Wait()
	}
	m.change(nil)
	m.road.become(roadOpen)
	if n := len(to.device.out); frames != test.frames || n != test.delivered {
		err = fmt.Errorf("%d frames, %d packets, want %d and %d", frames, n, test.frames, test.delivered)
	}
	for range test.delivered {
		to.device.take(a.t)
	}
	if test.sender != "" {
		err = errors.Join(err,
			cause(await(a.t, from.down, "end of the link"), test.sender),
			cause(await(a.t, to.down, "end of the link"), test.receiver))
		await(a.t, from.up, "link")
		await(a.t, to.up, "link")
	}
	time.Sleep(time.Second) // a link that lived for less is not dialled at once
	passes(a.t, from, to)
	a.mark()
	return err
}
