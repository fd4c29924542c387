package tunnel

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/compress"
)

// loneReceiver returns the receiver of a session on TCP that nobody runs, and its clock.
func loneReceiver(t *testing.T) (r *receiver, now *time.Duration) {
	t.Helper()
	now = new(time.Duration)
	*now = time.Hour
	tunnel := speaker(Config{Now: func() time.Duration { return *now }})
	tunnel.tuning.Store(&Tuning{Keepalive: 20 * time.Second})
	s := &session{t: tunnel, owner: &peer{}, ctx: context.Background(), control: make(chan message, controlRoom)}
	s.receive.session = s
	return &s.receive, now
}

// waiting takes the messages of a kind that wait for the sender.
func waiting(s *session, kind uint8) (n int) {
	for len(s.control) > 0 {
		if m := <-s.control; m.kind == kind {
			n++
		}
	}
	return n
}

// TestReassure says something to a peer that sends too much: twice in the time after which
// one of the two ends asks, and when there is room.
func TestReassure(t *testing.T) {
	for _, test := range []struct{ here, there, every time.Duration }{
		{20 * time.Second, 8 * time.Second, 4 * time.Second},
		{8 * time.Second, 20 * time.Second, 4 * time.Second},
		{time.Second, time.Minute, time.Second},
	} {
		r, now := loneReceiver(t)
		r.t.tuning.Store(&Tuning{Keepalive: test.here})
		r.peer.keepalive = test.there
		for _, step := range []struct {
			name  string
			after time.Duration
			full  bool // no message can be sent
			want  int
		}{
			{"at first", 0, false, 1},
			{"at once again", 0, false, 0},
			{"a little too early", test.every - 1, false, 0},
			{"in time", 1, false, 1},
			{"in time, and no room", test.every, true, 0},
			{"there is room", 1, false, 1},
			{"a little too early for the next", test.every - 1, false, 0},
		} {
			*now += step.after
			for step.full && r.post(message{kind: framePong}) {
			}
			r.reassure()
			if n := waiting(r.session, framePing); n != step.want {
				t.Errorf("%v here, %v there, %s: %d times, want %d", test.here, test.there, step.name, n, step.want)
			}
		}
	}
}

// TestRestReassures has a peer send as much as it may, and more.
func TestRestReassures(t *testing.T) {
	sim(t, "1000 bytes a second", func(t *testing.T) {
		const limit = 1000
		r, _ := loneReceiver(t)
		for _, test := range []struct {
			name  string
			limit int
			pings int
			wait  time.Duration
		}{
			{"no limit", 0, 0, 0},
			{"at first, a lot", limit, 0, 0},
			{"more", limit, 1, maxBurst * time.Second / limit},
		} {
			r.owner.rates.set(test.limit)
			r.size = maxBurst
			began := time.Now()
			r.rest()
			if n, took := waiting(r.session, framePing), time.Since(began); n != test.pings || took != test.wait {
				t.Errorf("%s: it rests for %v, want %v, and says %d times that it is there", test.name, took, test.wait, n)
			}
		}
	})
}

// TestResetPause begins a new history on TCP only when the one before had its time, and on
// a line, where an end asks when the answer should be there, each time.
func TestResetPause(t *testing.T) {
	reset := func(r *receiver, want int) {
		t.Helper()
		if err := r.frame(frameReset, make([]byte, resetSize)); err != nil {
			t.Error(err)
		}
		if n := waiting(r.session, askReset); n != want {
			t.Errorf("%d histories begin, want %d", n, want)
		}
	}
	for _, rtt := range []time.Duration{0, time.Minute} {
		r, now := loneReceiver(t)
		r.rtt.Store(int64(rtt))
		wait := max(time.Duration(resetPause), rtt)
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{0, 1}, {0, 0}, {wait - 1, 0}, {1, 1}, {wait - 1, 0}} {
			*now += step.after
			r.heard.Store(int64(*now))
			reset(r, step.want)
		}
	}
	line := newLineCast(&attack{t: t}, aes, false).session
	line.heard.Store(int64(time.Hour))
	reset(&line.receive, 1)
	reset(&line.receive, 1)
}

// TestPong has a peer answer, and answer what was not asked yet, which proves nothing.
func TestPong(t *testing.T) {
	r, now := loneReceiver(t)
	for _, step := range []struct {
		name   string
		stamp  time.Duration
		proved bool
		rtt    time.Duration
	}{
		{"a moment later", *now + 1, false, 5},
		{"in 200 years", 1<<63 - 1, false, 5},
		{"now", *now, true, 0},
		{"a second ago", *now - time.Second, true, time.Second},
	} {
		r.rtt.Store(5)
		r.ponged.Store(7)
		r.proved.Store(false)
		if err := r.frame(framePong, stamped(step.stamp, 0)); err != nil {
			t.Error(err)
		}
		ponged := map[bool]time.Duration{false: 7, true: step.stamp}[step.proved]
		if r.proved.Load() != step.proved || r.rtt.Load() != int64(step.rtt) || r.ponged.Load() != int64(ponged) {
			t.Errorf("%s: proved %v, round trip %v, asked at %v", step.name,
				r.proved.Load(), time.Duration(r.rtt.Load()), time.Duration(r.ponged.Load()))
		}
		if len(r.control) != 1 {
			t.Fatalf("%s: the sender is told %d times", step.name, len(r.control))
		}
		if m := <-r.control; m.kind != askPonged || m.took != *now-step.stamp {
			t.Errorf("%s: the sender is told %+v", step.name, m)
		}
	}
	line := newLineCast(&attack{t: t}, aes, false).session
	asked := line.t.config.Now()
	line.line.speed.asked(asked)
	line.receive.pong(stamped(asked, asked))
	if n := waiting(line, askPonged); line.line.speed.answers != 1 || n != 0 {
		t.Errorf("%d answers tell the speed of a line, %d the sender", line.line.speed.answers, n)
	}
}

// TestTooOld brings packets and segments that were held back: none reaches the host, and
// each counts once as what it is.
func TestTooOld(t *testing.T) {
	sim(t, "server", func(t *testing.T) {
		c := testConfig(t)
		c.MaxDelay = 30 * time.Second
		e, p := silences["server"](t, c)
		p.drain()
		for _, step := range []struct {
			name     string
			stamp    time.Duration
			kind     uint8
			payload  []byte
			in, late uint64
			written  int
		}{
			{"packets in time", 0, frameBatch, stored(udp(60, 1), udp(60, 2)), 2, 0, 2},
			{"segments in time", 0, frameSegments, together(4), 1, 0, 2},
			{"packets", -40 * time.Second, frameBatch, stored(udp(60, 1), udp(60, 2)), 2, 2, 0},
			{"segments", -40 * time.Second, frameSegments, together(4), 1, 1, 0},
			{"segments in time again", 0, frameSegments, together(4), 1, 0, 2},
		} {
			before := e.Stats()
			time.Sleep(50 * time.Second)
			p.send(frameTime, stamped(e.config.Now()+step.stamp)...)
			p.send(step.kind, step.payload...)
			synctest.Wait()
			s, written := e.Stats(), 0
			for ; len(e.device.out) > 0; written++ {
				<-e.device.out
			}
			in, late := s.Wire.PacketsIn-before.Wire.PacketsIn, s.DropsIn["too_old"]-before.DropsIn["too_old"]
			if in != step.in || late != step.late || written != step.written || s.DropsIn["malformed"] > 0 {
				t.Errorf("%s: %d came, %d too old, %d written, %+v", step.name, in, late, written, s.DropsIn)
			}
		}
		conserved(t, e)
	})
}

// TestModelHistory loses the history of a model, to work with which is waited for on a
// hub: the peer is asked to start anew.
func TestModelHistory(t *testing.T) {
	packet := between(hubAddrs(2)[0], address("10.200.0.1"))
	lost := append([]byte{byte(compress.Model)<<4 | 0x8}, packet...)
	for name, begin := range map[string]func(t *testing.T) (*end, *puppet){
		"hub": func(t *testing.T) (*end, *puppet) {
			b := newHubBench(t, 0, nil)
			return b.hub, puppetCaller(t, b.road.caller(t), b.config(2)).confirmed(b.hub)
		},
		"server": func(t *testing.T) (*end, *puppet) { return silences["server"](t, testConfig(t)) },
	} {
		sim(t, name, func(t *testing.T) {
			e, p := begin(t)
			for range 2 {
				p.send(frameBatch, lost...)
				p.expect(frameReset)
			}
			p.drain()
			p.send(frameBatch, modelled(packet)...)
			arrives(t, e, packet)
		})
	}
}

// TestTurnEnds ends a session that waits for its turn, and sees what work that is done has
// to say.
func TestTurnEnds(t *testing.T) {
	sim(t, "hub", func(t *testing.T) {
		b := newHubBench(t, 1, nil)
		from, slow := hubAddrs(1)[0], b.hub.Tunnel.hub.slow
		b.hub.mu.Lock()
		s := b.hub.Tunnel.hub.peers[hubPeer(1).Name].link.Load()
		b.hub.mu.Unlock()
		ctx, end := context.WithCancelCause(t.Context())
		lone := &session{t: s.t, owner: s.owner, count: s.count, inside: s.inside, ctx: ctx, control: make(chan message, controlRoom)}
		r := &lone.receive
		r.session, r.decoder, r.size = lone, compress.NewDecoder(compress.All), 2
		for _, want := range []error{nil, errTest} {
			r.took = 0
			err := r.inTurn(func() error {
				time.Sleep(3 * time.Second)
				return want
			})
			if err != want || r.took != 3*time.Second || len(slow) != 0 {
				t.Errorf("%v, took %v, %d at work, want %v", err, r.took, len(slow), want)
			}
		}
		for range cap(slow) {
			slow <- struct{}{}
		}
		if err := r.frame(frameBatch, stored(between(from, address("10.200.0.1")), crowd(1, from))); err != nil {
			t.Errorf("as many packets as bytes: %v", err) // others do not wait
		}
		end(errTest)
		for name, payload := range map[string][]byte{"a model": modelled(crowd(1, from)), "more packets than bytes": crowded(from)} {
			if err := r.frame(frameBatch, payload); !errors.Is(err, errTest) {
				t.Errorf("%s: %v, want %v", name, err, errTest)
			}
		}
	})
}

// TestRestMemory sees that a link at rest has little memory.
func TestRestMemory(t *testing.T) {
	sim(t, "server", func(t *testing.T) {
		c := testConfig(t)
		c.MTU, c.Tuning.Compress = 9000, "deflate"
		server, client, road := simPair(t, c, c)
		r := &server.point.link.Load().receive
		memory := func() (frames, history int) {
			synctest.Wait()
			road.pipe(0).do(func() { // the receiver waits there
				frames, history = len(*field[[]byte](r.frames, "buf")), cap(*field[[]byte](r.decoder, "window"))
			})
			return frames, history
		}
		first, _ := memory()
		p := udp(8000, 0)
		rand.Read(p[ipv4Header:])
		client.device.in <- p
		server.device.take(t)
		frames, history := memory()
		if frames <= first || history == 0 {
			t.Fatalf("%d bytes for frames, %d of history", frames, history)
		}
		time.Sleep(2*idleRelease + 3*time.Second)
		if frames, history = memory(); frames != first || history != 0 {
			t.Errorf("%d bytes for frames, %d of history at rest", frames, history)
		}
	})
}
