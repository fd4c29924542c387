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
	const dead = 140 * time.Second
	const start, second = time.Hour, time.Second
	type look struct {
		at      time.Duration // since the one before
		written uint64
		gauge   gauge
		want    time.Duration // 0: the waits stay as they are
	}
	fine := look{second, 100, gauge{}, 0}
	for name, looks := range map[string][]look{
		"losses go on, then there are none": {fine,
			{second, 200, gauge{again: 1}, second},
			{second, 200, gauge{again: 2}, 0},
			{8 * second, 200, gauge{again: 9}, 1250 * time.Millisecond},
			{second, 200, gauge{again: 9}, 0},
			{3 * second, 200, gauge{}, longestRetry},
			{second, 200, gauge{}, 0}},
		"the next loss counts from the beginning": {fine,
			{second, 200, gauge{again: 1}, second},
			{20 * second, 200, gauge{}, longestRetry},
			{second, 300, gauge{again: 1}, second}},
		"never fine": {{second, 100, gauge{again: 1}, 0}},
		// Linux has counted meanwhile.
		"nobody looked for a while": {fine, {20 * second, 200, gauge{again: 7}, 2441406250}},
		"some arrives, losses are not made up": {fine,
			{second, 200, gauge{pending: 9, again: 1}, second},
			{second, 200, gauge{pending: 9, mending: true}, longestRetry},
			{18 * second, 200, gauge{pending: 9, again: 1}, 2441406250}},
		"nothing is under way for an hour":      {fine, {time.Hour, 100, gauge{again: 1}, 0}, {second, 200, gauge{again: 1}, second}},
		"the last does not arrive":              {fine, {second, 200, gauge{pending: 9}, 0}, {second, 200, gauge{pending: 9, again: 1}, second}},
		"all arrived while the waits are short": {fine, {second, 200, gauge{again: 1}, second}, {second, 200, gauge{}, longestRetry}},
	} {
		m, s, now := &fakeMeter{}, &session{}, start
		s.watch.meter = m
		for i, l := range looks {
			m.gauge, m.most, m.tries = l.gauge, 0, 15
			s.bytesOut.Store(l.written)
			now += l.at
			if s.hurry(now, dead); m.most != l.want {
				t.Errorf("%s: look %d sets the waits to %v, want %v", name, i, m.most, l.want)
			}
		}
	}
}
