package tunnel

import (
	"context"
	"crypto/rand"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vpnd/crypto"
	"vpnd/serial/serialtest"
)

// TestLineHails sees when a server without a session hails.
func TestLineHails(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		l := newTappedLine(t, serialtest.Wire{}, nil)
		l.server = start(t, l.config[0])
		for _, step := range []struct {
			name    string
			garbage bool
			wait    time.Duration
			want    int
		}{
			{"at the start", false, moment, 1},
			{"by itself, again", false, hailEvery, 1},
			{"some times", false, firstHails * hailEvery, firstHails - 2},
			{"not for ever", false, time.Hour, 0},
			{"when it hears something", true, time.Second, 1},
			{"and more, too soon", true, hailEvery - time.Second - moment, 0},
			{"as soon as it is time", false, 2 * moment, 1},
			{"and not again", false, time.Hour, 0},
		} {
			if step.garbage {
				l.toServer.play(make([]byte, 40))
			}
			settled(step.wait)
			if n := len(only(l.toServer.heard(), lineHail)); n != step.want {
				t.Errorf("%s: %d hails, want %d", step.name, n, step.want)
			}
		}
	})
}

// over reports whether nothing is left of a session's context and keys.
func over(s *session) bool {
	return s.ctx.Err() != nil && *field[*[32]byte](s.keys.current, "secret") == nil
}

// TestLineForgetsCallers has more callers than may wait, and then lets them wait for
// too long.
func TestLineForgetsCallers(t *testing.T) {
	d := newLineStage(t, false).driver(t, false)
	defer d.timer.Stop()
	now := time.Hour
	d.config.Now = func() time.Duration { return now }
	var callers []*lineGuest
	for range maxCallers + 2 {
		_, f1 := flight(t, d.config)
		d.called(t.Context(), f1)
		callers = append(callers, d.answering.callers[len(d.answering.callers)-1])
		now += time.Second
	}
	check := func(forgotten int) {
		t.Helper()
		if n := len(d.answering.callers); n != len(callers)-forgotten {
			t.Errorf("%d callers wait, %d are forgotten", n, forgotten)
		}
		for i, c := range callers {
			if got := over(c.session); got != (i < forgotten) {
				t.Errorf("session of caller %d is over: %v", i, got)
			}
		}
	}
	check(2)
	now = callers[2].at + callerTime + 4*d.flightTime()
	d.data(make([]byte, shortest))
	check(2)
	now++
	d.data(make([]byte, shortest))
	check(3)
}

// TestLineMisbehaves has a caller that proves its keys with a frame that ends any
// session: there is no link then.
func TestLineMisbehaves(t *testing.T) {
	d := newLineStage(t, false).driver(t, false)
	defer d.timer.Stop()
	for len(d.speech) > 0 {
		<-d.speech
	}
	call, f1 := flight(t, d.config)
	d.called(t.Context(), f1)
	s := d.answering.callers[0].session
	_, keys, err := call.Finish(lineFrames(<-d.speech)[0][1:][:crypto.F2Size])
	if err != nil {
		t.Fatal(err)
	}
	sealer, _, err := keys.Keys(s.suite)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := sealer.Seal([]byte{0, 0, 0, 0, 99}, lineHeader)
	if err != nil {
		t.Fatal(err)
	}
	d.data(frame)
	if d.current != nil || !over(s) || context.Cause(s.ctx).Error() != "protocol error: frame of unknown type 99" {
		t.Errorf("link %v, session over %v: %v", d.current, over(s), context.Cause(s.ctx))
	}
}

// empty is a source of random bytes that has none at first.
type empty struct{ ready atomic.Bool }

func (e *empty) Read(b []byte) (int, error) {
	if !e.ready.Load() {
		return 0, errTest
	}
	return rand.Read(b)
}

// TestLineWithoutRandom starts an end that has no random bytes. It says so, and makes
// a link when it has.
func TestLineWithoutRandom(t *testing.T) {
	for i, name := range []string{"server", "client"} {
		sim(t, name, func(t *testing.T) {
			l := newTappedLine(t, serialtest.Wire{}, nil)
			random := &empty{}
			l.config[i].Random = random
			l.server = start(t, l.config[0])
			settled(time.Minute)
			if i == 0 {
				if got := l.server.Stats().Reason; got != "make hail: "+errTest.Error() {
					t.Errorf("reason is %q", got)
				}
				_, f1 := flight(t, l.config[1])
				l.toServer.play(handshakeFrame(lineF1, f1))
				settled(moment)
				if s := l.server.Stats(); s.Refused["terms"] != 1 || !strings.Contains(l.server.log.String(), `msg="caller refused" peer=/dev/ttyS0 cause=`) {
					t.Errorf("refused %v, log:\n%s", s.Refused, l.server.log)
				}
				if f := l.toServer.heard(); len(f) != 0 {
					t.Errorf("it says %x", f)
				}
			}
			l.client = start(t, l.config[1])
			settled(time.Minute)
			if got := l.client.Stats().Reason; i == 1 && !strings.HasSuffix(got, errTest.Error()) {
				t.Errorf("reason is %q", got)
			}
			random.ready.Store(true)
			await(t, l.server.up, "link of the server")
			await(t, l.client.up, "link of the client")
			if text := l.client.log.String(); strings.Contains(text, "cause=<nil>") {
				t.Errorf("it complains of a link that is up:\n%s", text)
			}
		})
	}
}

// TestLineClockSet sets the wall clock, forwards and back, while a shared line is in
// use: what an end remembers was noted by that clock an hour from now, and an hour
// ago. It does not wait for that hour.
func TestLineClockSet(t *testing.T) {
	for _, by := range []int64{-3600, 3600} {
		line := serialtest.New(serialtest.Wire{}, 1)
		defer line.Close()
		p := newPacer(line.A, &Line{Speed: 3000000, HalfDuplex: true})
		line.A.Inject("noise")
		p.Read(make([]byte, 9))
		if err := p.write(t.Context(), []byte("text")); err != nil {
			t.Fatal(err)
		}
		for _, noted := range []*time.Time{&p.heard, &p.free} {
			setClock(noted, by)
			if since := time.Since(*noted).Abs(); since > time.Minute {
				t.Errorf("clock set by %d s: %v have passed", by, since)
			}
		}
		if t.Failed() {
			continue // it would wait
		}
		if err := p.write(t.Context(), []byte("text")); err != nil {
			t.Error(err)
		}
	}
}

// setClock makes a time what it would be if the wall clock had been wrong by so many
// seconds when it was taken.
func setClock(at *time.Time, by int64) {
	if wall := field[uint64](at, "wall"); *wall>>63 != 0 { // it has the monotonic clock as well
		*wall += uint64(by) << 30
	} else {
		*field[int64](at, "ext") += by
	}
}
