package tunnel

import (
	"bytes"
	"testing/synctest"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// recording is all the bytes of a session, with rekeys, packets both ways and a
// good-bye.
type recording struct{ up, down []byte }

// record runs some sessions of honest clients, one after the other.
func record(a *attack, n int, c Config, server *end, r *road) (all []recording) {
	a.t.Helper()
	for range n {
		m := &middle{road: r}
		c.Servers = []Dial{m.dial}
		client := start(a.t, c)
		await(a.t, client.up, "link of the client")
		await(a.t, server.up, "link of the server")
		for range 3 {
			time.Sleep(c.KeyTTL)
			passes(a.t, server, client)
		}
		if n := client.Stats().Link.Rekeys; n < 2 {
			a.t.Errorf("%d rekeys were recorded", n)
		}
		client.stop(a.t)
		await(a.t, server.down, "end of the recorded link")
		synctest.Wait()
		all = append(all, recording{m.up, m.down})
	}
	return all
}

// replayAttacks play whole recorded sessions again.
var replayAttacks = attacks{
	{"sessions, played to the server they were recorded from", 6, func(a *attack) {
		c := testConfig(a.t)
		c.KeyTTL = 10 * time.Second
		server, r := simServer(a.t, c)
		recorded := record(a, 3, c, server, r)
		link(a, c, server, r).replays(recorded, refusedReplay, 0)
	}},
	{"sessions, played to a server after its restart", 6, func(a *attack) {
		c := testConfig(a.t)
		c.KeyTTL = 10 * time.Second
		server, r := simServer(a.t, c)
		recorded := record(a, 3, c, server, r)
		if err := server.stop(a.t); err != nil {
			a.t.Fatal(err)
		}
		server, r = simServer(a.t, c)
		link(a, c, server, r).replays(recorded, refusedConfirm, crypto.F2Size)
	}},
	{"a session, played to a client", 3, func(a *attack) {
		c := testConfig(a.t)
		c.KeyTTL = 10 * time.Second
		server, r := simServer(a.t, c)
		rec := record(a, 1, c, server, r)[0]
		v := newVisitor(a)
		for name, b := range map[string][]byte{
			"the server's bytes":             rec.down,
			"the server's frames":            rec.down[crypto.F2Size:],
			"the bytes of the client itself": rec.up,
		} {
			a.try(name, func() error { return v.refuses(b, notAnAnswer) })
		}
		v.accepts(v.f2)
	}},
}

// replays brings three recordings to the server: all of one, and parts of the
// others. A server takes a first flight once.
func (s *siege) replays(recorded []recording, why refusal, answer int) {
	played := func(name string, b []byte, why refusal, answer int) {
		s.try(name, func() error {
			return s.call(why, answer, func(conn *pipeEnd) { conn.Write(b) })
		})
	}
	played("all", recorded[0].up, why, answer)
	played("all, once more", recorded[0].up, refusedReplay, 0)
	played("up to CONFIRM", recorded[1].up[:crypto.F1Size+frame.HeaderSize+1+crypto.TagSize], why, answer)
	played("the first flight", recorded[2].up[:crypto.F1Size], why, answer)
	played("the first flight with the frames of another", append(bytes.Clone(recorded[2].up[:crypto.F1Size]), recorded[1].up[crypto.F1Size:]...), refusedReplay, 0)
	played("the server's bytes", recorded[0].down, refusedDoor, 0)
}
