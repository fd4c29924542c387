package tunnel

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// seconds returns when frames of a kind came, in seconds after begin.
func seconds(all []arrival, kind uint8, begin time.Time) (at []float64) {
	for _, a := range all {
		if a.kind == kind {
			at = append(at, a.at.Sub(begin).Seconds())
		}
	}
	return at
}

// silences are peers that say nothing any more, one for each end.
var silences = map[string]func(t *testing.T, c Config) (*end, *puppet){
	"client": func(t *testing.T, c Config) (*end, *puppet) {
		r := newRoad()
		c.Servers = []Dial{r.dial}
		e := start(t, c)
		p := puppetServer(t, r, c, nil)
		await(t, e.up, "link")
		r.become(roadDead)
		return e, p
	},
	"server": func(t *testing.T, c Config) (*end, *puppet) {
		e, r := simServer(t, c)
		return e, puppetCaller(t, r.caller(t), c).confirmed(e)
	},
}

// TestSilence measures, to the millisecond, when an end asks and when it gives
// up.
func TestSilence(t *testing.T) {
	for side, silent := range silences {
		sim(t, side, func(t *testing.T) {
			e, p := silent(t, testConfig(t))
			begin := time.Now()
			all := p.collect()
			if got, want := seconds(all, framePing, begin), []float64{0, 20, 40, 60, 80, 100, 120}; !slices.Equal(got, want) {
				t.Errorf("pings at %v, want %v", got, want)
			}
			if took := time.Since(begin); took != 140*time.Second {
				t.Errorf("dead after %v, want 140 s", took)
			}
			if err := await(t, e.down, "end of the link"); !errors.Is(err, ErrNoAnswer) {
				t.Errorf("cause is %v", err)
			}
			if n := len(seconds(all, frameClose, begin)); n != 0 {
				t.Error("said good-bye to a peer that is gone")
			}
			e.log.says(t, 1, "no answer from the peer for 2m20s")
		})
	}
}

// TestAnyFrameIsAnAnswer sends one frame of each type shortly before the end.
func TestAnyFrameIsAnAnswer(t *testing.T) {
	for name, kind := range map[string]arrival{
		"batch":   {kind: frameBatch, payload: stored(udp(40, 1))},
		"ping":    {kind: framePing, payload: stamped(1)},
		"pong":    {kind: framePong, payload: stamped(1, 1)},
		"time":    {kind: frameTime, payload: stamped(1)},
		"ratchet": {kind: frameRatchet, payload: []byte{nextEpoch}},
		"reset":   {kind: frameReset, payload: []byte{0, 0, 0, 1}},
	} {
		sim(t, name, func(t *testing.T) {
			e, p := silences["client"](t, testConfig(t))
			begin := time.Now()
			time.AfterFunc(139*time.Second, func() { p.send(kind.kind, kind.payload...) })
			p.collect()
			if took := time.Since(begin); took != (139+140)*time.Second {
				t.Errorf("dead after %v, want 279 s", took)
			}
			await(t, e.down, "end of the link")
		})
	}
}

// TestUnauthenticBytesAreNoAnswer sends the beginning of a frame.
func TestUnauthenticBytesAreNoAnswer(t *testing.T) {
	sim(t, "half a frame", func(t *testing.T) {
		_, p := silences["server"](t, testConfig(t))
		begin := time.Now()
		time.AfterFunc(139*time.Second, func() { p.sendRaw(p.seal(framePong, stamped(0, 0)...)[:20]) })
		p.collect()
		if took := time.Since(begin); took != 140*time.Second {
			t.Errorf("dead after %v, want 140 s", took)
		}
	})
}

// TestIdleLink counts what an idle link costs and finds that it lives.
func TestIdleLink(t *testing.T) {
	sim(t, "an hour", func(t *testing.T) {
		c := testConfig(t)
		c.KeyTTL = 24 * time.Hour
		server, client, r := simPair(t, c, c)
		synctest.Wait()
		before := r.pipe(0).client.written()
		time.Sleep(time.Hour)
		synctest.Wait()
		// If both ask at the same moment, a PING and a PONG each way every 20 s.
		const most = (3600 / 20) * (2*(2+1+16) + stampSize + pongSize)
		if got := r.pipe(0).client.written() - before; got > most {
			t.Errorf("%d bytes an hour, want at most %d", got, most)
		}
		for _, e := range []*end{server, client} {
			if s := e.Stats(); s.Links != 1 || s.Link == nil || time.Since(s.Link.LastPacket) > 20*time.Second {
				t.Errorf("state is %+v, link %+v", s, s.Link)
			}
		}
	})
}

// TestRoundTrip holds a PONG back.
func TestRoundTrip(t *testing.T) {
	sim(t, "300 ms", func(t *testing.T) {
		r := newRoad()
		c := testConfig(t)
		c.Servers = []Dial{r.dial}
		e := start(t, c)
		p := puppetServer(t, r, c, nil)
		stamp := p.expect(framePing)
		time.Sleep(300 * time.Millisecond)
		p.send(framePong, append(stamp, stamp...)...)
		synctest.Wait()
		if rtt := e.Stats().Link.RoundTrip; rtt != 300*time.Millisecond {
			t.Errorf("round trip is %v", rtt)
		}
		// A stamp from the future is nonsense, and is ignored.
		p.send(framePong, stamped(time.Hour, 0)...)
		synctest.Wait()
		if rtt := e.Stats().Link.RoundTrip; rtt != 300*time.Millisecond {
			t.Errorf("round trip is %v after nonsense", rtt)
		}
		p.drain()
	})
}

// TestSuspend puts one end's clock forward by an hour, as the host's suspend
// does: timers do not notice, the clock does.
func TestSuspend(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		sim(t, side, func(t *testing.T) {
			cs, cc := testConfig(t), testConfig(t)
			suspended := newClock()
			if side == "client" {
				cc.Now = suspended.now
			} else {
				cs.Now = suspended.now
			}
			server, client, _ := simPair(t, cs, cc)
			time.Sleep(31*time.Second + 500*time.Millisecond)
			suspended.jump.Store(int64(time.Hour))
			begin := time.Now()
			await(t, client.up, "new link")
			if took := time.Since(begin); took > 1500*time.Millisecond {
				t.Errorf("link was back after %v", took)
			}
			await(t, server.up, "new link")
			passes(t, server, client)
		})
	}
}

// TestTune changes keepalive and noanswer of a link that is up.
func TestTune(t *testing.T) {
	sim(t, "keepalive", func(t *testing.T) {
		c := testConfig(t)
		e, p := silences["server"](t, c)
		begin := time.Now()
		time.AfterFunc(29500*time.Millisecond, func() {
			tune := c.Tuning
			tune.Keepalive, tune.NoAnswer = 5*time.Second, 9
			e.Tune(tune)
		})
		got := seconds(p.collect(), framePing, begin)
		if want := []float64{0, 20, 30, 35, 40, 45}; !slices.Equal(got, want) {
			t.Errorf("pings at %v, want %v", got, want)
		}
		if took := time.Since(begin); took != 50*time.Second {
			t.Errorf("dead after %v, want 50 s", took)
		}
	})
}

// TestNoWaitAfterSilence sees that a client does not wait for the good-bye of a
// server that is gone.
func TestNoWaitAfterSilence(t *testing.T) {
	sim(t, "client", func(t *testing.T) {
		c := testConfig(t)
		_, client, r := simPair(t, c, c)
		r.pipe(0).cut()
		time.Sleep(139 * time.Second)
		if err := await(t, client.down, "end of the link"); !errors.Is(err, ErrNoAnswer) {
			t.Fatal(err)
		}
		died := time.Now()
		await(t, client.up, "new link")
		if took := time.Since(died); took != 0 {
			t.Errorf("dialled %v after the end of the link", took)
		}
	})
}
