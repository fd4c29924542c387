package tunnel

import (
	"math/bits"
	"testing"
	"time"
)

// TestRetry sees how long the waits of a connection may be.
func TestRetry(t *testing.T) {
	const dead = 140 * time.Second
	between := func(least, most time.Duration) [2]time.Duration { return [2]time.Duration{least, most} }
	exactly := func(d time.Duration) [2]time.Duration { return between(d, d) }
	for name, test := range map[string]struct {
		gauge
		trouble time.Duration
		want    [2]time.Duration
	}{
		"all is well":                        {gauge{}, 0, exactly(longestRetry)},
		"a loss":                             {gauge{again: 1}, 0, exactly(time.Second)},
		"a loss, far away":                   {gauge{again: 1, rtt: time.Second}, 0, exactly(4 * time.Second)},
		"a loss, very far away":              {gauge{again: 1, rtt: time.Hour}, 0, exactly(longestRetry)},
		"some seconds of losses":             {gauge{again: 1}, 8 * time.Second, exactly(time.Second)},
		"a minute of losses":                 {gauge{again: 1}, time.Minute, between(6*time.Second, 8*time.Second)},
		"an hour of losses":                  {gauge{again: 1}, time.Hour, exactly(longestRetry)},
		"the host has no way":                {gauge{asked: 1}, 0, between(15*time.Second, 22*time.Second)},
		"the peer takes no more":             {gauge{asked: 1, full: true}, 0, exactly(longestRetry)},
		"and does not acknowledge the last":  {gauge{again: 1, full: true}, time.Minute, exactly(longestRetry)},
		"the peer takes no more for a while": {gauge{full: true}, 0, exactly(longestRetry)},
	} {
		test.tries = 15
		if got := test.retry(test.trouble, dead); got < test.want[0] || got > test.want[1] {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// TestTries counts what Linux counts, with as many tries as it has, or as some hosts have:
// they last longer than it takes until a silent link is dead, or as long as with the
// kernel's own waits.
func TestTries(t *testing.T) {
	const first = 200 * time.Millisecond
	sum := func(tries int, most time.Duration) time.Duration { // tcp_model_timeout
		doubles := min(tries, bits.Len(uint(most/first))-1)
		return first*(2<<doubles-1) + most*time.Duration(tries-doubles)
	}
	for _, tries := range []int{3, 8, 15} {
		usual := sum(tries, longestRetry)
		for _, dead := range []time.Duration{2, 8, 20, 140, 600, 3600} {
			dead *= time.Second
			if asked := sum(tries, gauge{asked: 1, tries: tries}.retry(0, dead)); asked < min(dead, usual) {
				t.Errorf("%d tries, dead after %v: a host without a way gives up after %v", tries, dead, asked)
			}
			for trouble := time.Second; trouble < min(dead, usual-time.Second); trouble += time.Second {
				most := gauge{again: 1, tries: tries}.retry(trouble-time.Second, dead) // at the last look
				if lasts := sum(tries, most); lasts <= trouble+time.Second && lasts < usual {
					t.Fatalf("%d tries, dead after %v: given up after %v", tries, dead, trouble)
				}
			}
		}
	}
}

// TestHurry has the waits change with what a connection meets.
func TestHurry(t *testing.T) {
	m := &fakeMeter{}
	s := &session{}
	s.watch.meter = m
	const dead = 140 * time.Second
	at := func(now time.Duration, g gauge, want time.Duration) {
		t.Helper()
		m.gauge, m.most, m.tries = g, 0, 15
		s.send.last.Store(int64(now))
		if s.hurry(now, dead); m.most != want {
			t.Errorf("after %v waits are set to %v, want %v", now, m.most, want)
		}
	}
	at(time.Hour, gauge{}, 0)
	at(time.Hour+1*time.Second, gauge{again: 1}, time.Second)
	at(time.Hour+2*time.Second, gauge{again: 2}, 0)
	at(time.Hour+11*time.Second, gauge{again: 9}, 1250*time.Millisecond)
	at(time.Hour+12*time.Second, gauge{again: 9}, 0)
	at(time.Hour+15*time.Second, gauge{}, longestRetry)
	at(time.Hour+16*time.Second, gauge{}, 0)
	at(time.Hour+17*time.Second, gauge{again: 1}, time.Second) // from the beginning
	s.send.last.Store(0)
	m.gauge = gauge{}
	if s.hurry(time.Hour+18*time.Second, dead); m.most != longestRetry {
		t.Error("an idle connection keeps short waits")
	}
	m.gauge = gauge{again: 1, tries: 15}
	if s.hurry(time.Hour+19*time.Second, dead); m.most != longestRetry {
		t.Error("an idle connection is looked at")
	}
	s.watch.pings = 1
	if s.hurry(time.Hour+20*time.Second, dead); m.most != time.Second {
		t.Error("a PING is not hurried")
	}
}
