package tunnel

import (
	"errors"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// rekeyAttacks lay hands on the messages of a rekey between two honest ends. The
// link ends; the next one, which nobody touches, carries packets again.
var rekeyAttacks = attacks{
	{"a rekey between honest ends, blowfish", 4 * 6, rekeys(bf)},
	{"a rekey between honest ends, aes-256-gcm", 4 * 6, rekeys(aes)},
	{"a rekey between honest ends, chacha20-poly1305", 4 * 6, rekeys(chacha)},
}

// rekeyFrames are found by their length: frames of that length are sent for
// nothing else before the end.
var rekeyFrames = []struct {
	name string
	up   bool
	text int
}{
	{"REKEY1", true, 1 + crypto.RekeySize},
	{"REKEY2", false, 1 + crypto.RekeySize},
	{"RATCHET to the server", true, 2},
	{"RATCHET to the client", false, 2},
}

// grips are what can be done to a frame, given that of the rekey before.
var grips = []struct {
	name string
	do   func(f, earlier []byte) []byte
}{
	{"length changed", func(f, _ []byte) []byte { return flipped(f, 8*frame.HeaderSize-1) }},
	{"text changed", func(f, _ []byte) []byte { return flipped(f, 8*frame.HeaderSize+8) }},
	{"tag changed", func(f, _ []byte) []byte { return flipped(f, 8*len(f)-1) }},
	{"left out", func(_, _ []byte) []byte { return nil }},
	{"twice", func(f, _ []byte) []byte { return append(f, f...) }},
	{"replaced by the one before", func(_, earlier []byte) []byte { return earlier }},
}

func rekeys(cipher crypto.Cipher) func(a *attack) {
	return func(a *attack) {
		c := testConfig(a.t)
		c.Ciphers, c.KeyTTL = []crypto.Cipher{cipher}, 30*time.Second
		server, r := simServer(a.t, c)
		m := &middle{road: r}
		c.Servers = []Dial{m.dial}
		client := start(a.t, c)
		a.devices = []*fakeDevice{server.device, client.device}
		up := func() {
			await(a.t, server.up, "link of the server")
			await(a.t, client.up, "link of the client")
			passes(a.t, server, client)
		}
		for _, target := range rekeyFrames {
			victim, other := client, server
			if target.up {
				victim, other = server, client
			}
			for _, g := range grips {
				a.try(target.name+" "+g.name, func() error {
					up()
					a.mark()
					m.grip(target.up, target.text, g.do)
					err := cause(await(a.t, victim.down, "end of the link"), notAuthentic)
					return errors.Join(err, cause(await(a.t, other.down, "end of the link"), "peer closed the link: protocol error"))
				})
			}
		}
		up()
	}
}

// grip does something to the second of the frames with a length that pass from now
// on, and lets all others alone.
func (m *middle) grip(up bool, text int, do func(f, earlier []byte) []byte) {
	var earlier []byte
	done := false
	m.change(func(fUp bool, f []byte) []byte {
		switch {
		case fUp != up || len(f) != frame.HeaderSize+text+crypto.TagSize || done:
			return f
		case earlier == nil:
			earlier = f
			return f
		}
		done = true
		return do(f, earlier)
	})
}
