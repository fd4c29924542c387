package tunnel

import (
	"crypto/rand"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

// failing is a source of random bytes that a test can break.
type failing struct{ broken atomic.Bool }

func (f *failing) Read(b []byte) (int, error) {
	if f.broken.Load() {
		return 0, errTest
	}
	return rand.Read(b)
}

// TestRekeyWithoutRandomBytes ends a session whose keys cannot be renewed, on
// either end, and says why.
func TestRekeyWithoutRandomBytes(t *testing.T) {
	sim(t, "client", func(t *testing.T) {
		c := testConfig(t)
		c.KeyTTL = time.Minute
		source := &failing{}
		c.Random = source
		r := newRoad()
		c.Servers = []Dial{r.dial}
		e := start(t, c)
		p := puppetServer(t, r, c, nil)
		await(t, e.up, "link")
		source.broken.Store(true)
		r.become(roadDead)
		began := time.Now()
		p.drain()
		if err := await(t, e.down, "end of the link"); !strings.Contains(err.Error(), "write rekey: made by the test") {
			t.Errorf("cause is %v", err)
		}
		if took := time.Since(began); took != c.KeyTTL {
			t.Errorf("ended after %v, want %v", took, c.KeyTTL)
		}
	})
	sim(t, "server", func(t *testing.T) {
		c := testConfig(t)
		source := &failing{}
		c.Random = source
		e, p := silences["server"](t, c)
		source.broken.Store(true)
		_, m1, err := p.keys.Rekey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		p.send(frameRekey1, m1...)
		p.drain()
		if err := await(t, e.down, "end of the link"); !strings.Contains(err.Error(), "write rekey: made by the test") {
			t.Errorf("cause is %v", err)
		}
	})
}

// stuff makes an end's sender wait for its peer to read, and fills the room for
// messages behind it.
func stuff(t *testing.T, e *end, p *puppet) {
	t.Helper()
	p.conn.(*pipeEnd).hold(true)
	for range 400 {
		e.device.in <- udp(1400, 1)
	}
	synctest.Wait()
	for range controlRoom {
		p.send(framePing, stamped(0)...)
	}
	synctest.Wait()
	if n := len(e.point.link.Load().control); n != controlRoom {
		t.Fatalf("%d messages wait, want %d", n, controlRoom)
	}
}

// stuffed is the configuration of an end that stuff shall fill.
func stuffed(t *testing.T) Config {
	c := testConfig(t)
	c.KeyTTL, c.Tuning.Compress, c.Tuning.NoAnswer = time.Minute, "off", 1000
	return c
}

// TestRekeyLater has no room for the client's question when it is time: it asks
// when there is.
func TestRekeyLater(t *testing.T) {
	sim(t, "client", func(t *testing.T) {
		c := stuffed(t)
		e, p := silences["client"](t, c)
		stuff(t, e, p)
		time.Sleep(c.KeyTTL + 5*time.Second)
		p.conn.(*pipeEnd).hold(false)
		began := time.Now()
		p.expect(frameRekey1)
		if took := time.Since(began); took > time.Second {
			t.Errorf("asked %v after there was room", took)
		}
		p.drain()
	})
}

// TestRekeyStuck has no room for what has to be said at each step of a rekey. To
// leave that out would leave the two ends with different keys.
func TestRekeyStuck(t *testing.T) {
	stuck := func(t *testing.T, e *end, p *puppet) {
		t.Helper()
		p.conn.(*pipeEnd).hold(false)
		p.drain()
		if err := await(t, e.down, "end of the link"); err != errStuck {
			t.Errorf("cause is %v", err)
		}
	}
	sim(t, "answer", func(t *testing.T) {
		e, p := silences["server"](t, stuffed(t))
		stuff(t, e, p)
		_, m1, err := p.keys.Rekey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		p.send(frameRekey1, m1...)
		synctest.Wait()
		stuck(t, e, p)
	})
	sim(t, "confirmation", func(t *testing.T) {
		e, p := silences["server"](t, stuffed(t))
		next := p.rekey(rand.Reader)
		stuff(t, e, p)
		p.send(frameRatchet, nextGeneration)
		p.renew(next)
		p.send(frameConfirm)
		synctest.Wait()
		stuck(t, e, p)
	})
	sim(t, "new keys of the client", func(t *testing.T) {
		e, p := silences["client"](t, stuffed(t))
		m2, _, err := p.keys.AnswerRekey(rand.Reader, p.expect(frameRekey1))
		if err != nil {
			t.Fatal(err)
		}
		stuff(t, e, p)
		p.send(frameRekey2, m2...)
		synctest.Wait()
		stuck(t, e, p)
	})
}

// TestRekeyForgets sees that what a generation was made from is erased when the
// next one is in use, and at the end of the session.
func TestRekeyForgets(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		sim(t, side, func(t *testing.T) {
			c := testConfig(t)
			c.KeyTTL = time.Minute
			server, client, _ := simPair(t, c, c)
			e := map[string]*end{"client": client, "server": server}[side]
			keys := &e.point.link.Load().keys
			first := current(keys)
			erased(t, keys, first, false)
			time.Sleep(c.KeyTTL + 10*time.Second)
			second := current(keys)
			erased(t, keys, first, true)
			erased(t, keys, second, false)
			if err := e.stop(t); err != nil {
				t.Error(err)
			}
			erased(t, keys, second, true)
		})
	}
}

func current(k *rekeying) *crypto.Generation {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// erased checks whether a rekey can start from a generation.
func erased(t *testing.T, k *rekeying, g *crypto.Generation, want bool) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	_, _, err := g.Rekey(rand.Reader)
	if got := err != nil; got != want {
		t.Errorf("erased is %v, want %v", got, want)
	}
}

// TestDueRatchet counts as early only the change of keys that nothing calls for.
func TestDueRatchet(t *testing.T) {
	sim(t, "server", func(t *testing.T) {
		e, p := silences["server"](t, testConfig(t))
		go io.Copy(io.Discard, p.conn)
		ratchet := func(want int) {
			t.Helper()
			p.send(frameRatchet, nextEpoch)
			if err := p.sealer.Ratchet(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := e.point.link.Load().receive.early; got != want {
				t.Errorf("%d changes were early, want %d", got, want)
			}
		}
		for !p.sealer.Due() {
			p.send(frameBatch, stored(udp(60000, 1))...)
		}
		ratchet(0)
		ratchet(1)
	})
}
