package tunnel

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestSchedule runs through two days of failed attempts.
func TestSchedule(t *testing.T) {
	for _, most := range []time.Duration{time.Second, 2 * time.Second, 10 * time.Second, time.Minute, time.Hour, 24 * time.Hour} {
		t.Run(most.String(), func(t *testing.T) {
			begin := time.Hour // of the clock
			s, now := schedule{began: begin}, begin
			for n := 0; now-begin < 48*time.Hour; n++ {
				wait := s.next(now, most)
				low, high := time.Second, 1800*time.Millisecond
				switch {
				case n < len(eager):
					low, high = eager[n], eager[n]
				case now-begin >= patience:
					low, high = 2*time.Second/3, most
				}
				if wait < min(low, most*2/3) || wait > min(high, most) {
					t.Fatalf("attempt %d, %v into the outage: wait %v, want %v to %v", n, now-begin, wait, low, high)
				}
				now += wait
			}
		})
	}
}

// TestScheduleGrows sees that the waits become as long as they may, and that
// clients which were cut off together do not stay together.
func TestScheduleGrows(t *testing.T) {
	const most = time.Minute
	s := schedule{attempts: len(eager)}
	var last time.Duration
	different := make(map[time.Duration]bool)
	for n := range 40 {
		last = s.next(patience, most)
		if n > 20 && last < most/2 {
			t.Errorf("wait %d is only %v", n, last)
		}
		different[last] = true
	}
	if len(different) < 30 {
		t.Errorf("%d different waits of 40", len(different))
	}
	if last == most {
		t.Error("the longest wait has no jitter")
	}
}

// outage cuts the link of a pair and lets the client dial in vain for a while.
// It returns how long after its end the link was back.
func outage(t *testing.T, state int, d time.Duration) (back time.Duration, attempts []time.Time) {
	c := testConfig(t)
	_, client, r := simPair(t, c, c)
	time.Sleep(goodSession)
	r.become(state)
	r.pipe(0).reset()
	time.Sleep(d)
	r.become(roadOpen)
	over := time.Now()
	await(t, client.down, "end of the link")
	await(t, client.up, "new link")
	return time.Since(over), r.dialled()[1:]
}

func TestOutage(t *testing.T) {
	for _, test := range []struct {
		d, most time.Duration
	}{
		{0, 100 * time.Millisecond},
		{50 * time.Millisecond, 300 * time.Millisecond},
		{290 * time.Millisecond, 300 * time.Millisecond},
		{600 * time.Millisecond, 300 * time.Millisecond},
		{990 * time.Millisecond, 300 * time.Millisecond},
		{5 * time.Second, 2 * time.Second},
		{30 * time.Second, 2 * time.Second},
		{9 * time.Minute, 2 * time.Second},
		{time.Hour, time.Minute},
		{5 * time.Hour, time.Minute},
	} {
		for name, state := range map[string]int{"refused": roadRefused, "dead": roadDead} {
			sim(t, name+" "+test.d.String(), func(t *testing.T) {
				back, attempts := outage(t, state, test.d)
				if back > test.most {
					t.Errorf("back after %v, want at most %v", back, test.most)
				}
				for i := range attempts[1:] {
					if wait := attempts[i+1].Sub(attempts[i]); wait > time.Minute {
						t.Errorf("wait %d is %v", i, wait)
					}
				}
				t.Logf("back after %v, %d attempts", back, len(attempts))
			})
		}
	}
}

// TestSameCauseIsLoggedOnce counts what an hour without a server writes.
func TestSameCauseIsLoggedOnce(t *testing.T) {
	sim(t, "an hour", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		r.become(roadRefused)
		c.Servers = []Dial{r.dial}
		e := start(t, c)
		time.Sleep(time.Hour - time.Minute)
		synctest.Wait()
		e.log.says(t, 6, "no link")
		if s := e.Stats(); s.State != "down" || s.Reason != "connection refused" {
			t.Errorf("state is %q, reason %q", s.State, s.Reason)
		}
	})
}

// TestRedial asks for a new link, in each state that a client can be in.
func TestRedial(t *testing.T) {
	sim(t, "link is up", func(t *testing.T) {
		c := testConfig(t)
		server, client, _ := simPair(t, c, c)
		time.Sleep(time.Minute)
		begin := time.Now()
		client.Redial()
		if err := await(t, server.down, "end of the link"); err.Error() != "peer closed the link: shutdown" {
			t.Error("cause is", err)
		}
		await(t, server.up, "new link")
		if took := time.Since(begin); took != 0 {
			t.Errorf("back after %v", took)
		}
		passes(t, server, client)
	})
	sim(t, "waiting", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Retry = time.Hour
		r := newRoad()
		c.Servers = []Dial{r.dial}
		client := start(t, c)
		p := puppetServer(t, r, c, nil)
		p.send(frameClose, byte(closeDisplaced))
		p.collect()
		time.Sleep(10 * time.Minute)
		if n := len(r.dialled()); n != 1 {
			t.Fatalf("%d attempts", n)
		}
		client.Redial()
		puppetServer(t, r, c, nil).drain()
	})
	sim(t, "late in an outage", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Retry = time.Hour
		r := newRoad()
		r.become(roadRefused)
		c.Servers = []Dial{r.dial}
		client := start(t, c)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		before := len(r.dialled())
		client.Redial()
		time.Sleep(2 * time.Second)
		if n := len(r.dialled()) - before; n < 5 {
			t.Errorf("%d attempts within 2 s of the request", n)
		}
	})
}

// TestWelcome sees what a client does after each reason for the end of a link.
func TestWelcome(t *testing.T) {
	for _, test := range []struct {
		reason closeReason
		text   string
		waits  bool
	}{
		{closeShutdown, "shutdown", false},
		{closeDisplaced, "displaced by a newer link", true},
		{closeRevoked, "key revoked", true},
		{closeKeyAge, "session key too old", false},
		{closeProtocol, "protocol error", false},
		{closeDelay, "data held back longer than maxdelay", false},
		{99, "close reason 99", false},
		{0, "close reason 0", false},
	} {
		sim(t, test.text, func(t *testing.T) {
			c := testConfig(t)
			r := newRoad()
			c.Servers = []Dial{r.dial}
			client := start(t, c)
			p := puppetServer(t, r, c, nil)
			time.Sleep(goodSession)
			p.send(frameClose, byte(test.reason))
			begin := time.Now()
			if n := len(seconds(p.collect(), frameClose, begin)); n != 0 {
				t.Error("a CLOSE was answered")
			}
			want := "peer closed the link: " + test.text
			if err := await(t, client.down, "end of the link"); err.Error() != want {
				t.Errorf("cause is %q, want %q", err, want)
			}
			if s := client.Stats(); s.Reason != want {
				t.Errorf("reason is %q, want %q", s.Reason, want)
			}
			next := puppetServer(t, r, c, nil)
			took := time.Since(begin)
			if test.waits && took < c.Tuning.Retry || !test.waits && took != 0 {
				t.Errorf("dialled after %v, want a wait: %v", took, test.waits)
			}
			next.drain()
		})
	}
}

// TestFlapping has a server that ends each link at once: the client does not dial
// like mad.
func TestFlapping(t *testing.T) {
	sim(t, "a minute", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		c.Servers = []Dial{r.dial}
		start(t, c)
		begin := time.Now()
		for time.Since(begin) < time.Minute {
			p := puppetServer(t, r, c, nil)
			p.send(frameClose, byte(closeShutdown))
			p.collect()
		}
		if n := len(r.dialled()); n > 70 {
			t.Errorf("%d attempts a minute", n)
		}
	})
}

func TestReporter(t *testing.T) {
	sim(t, "causes", func(t *testing.T) {
		c := testConfig(t)
		k := newClock()
		c.Now, c.Listener = k.now, newRoad()
		e := start(t, c)
		r := reporter{}
		a, b := errors.New("cause a"), errors.New("cause b")
		for _, err := range []error{a, b, a, b} {
			r.report(e.Tunnel, err)
		}
		e.log.says(t, 1, "cause a")
		e.log.says(t, 1, "cause b")
		k.jump.Add(int64(logAgain))
		r.report(e.Tunnel, a)
		e.log.says(t, 2, "cause a")
		for i := range 10 * maxCauses {
			r.report(e.Tunnel, errors.New("other "+string(rune('a'+i))))
		}
		if len(r) > maxCauses {
			t.Errorf("%d causes are remembered", len(r))
		}
	})
}
