package tunnel

import (
	"context"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"vpnd/serial/serialtest"
)

// heldGauge is a port that notes how much is below it whenever more is written.
type heldGauge struct {
	*serialtest.End
	rate int // bit/s
	mu   sync.Mutex
	held []time.Duration // of the line's time
}

// newGauge puts a heldGauge on the line of an end.
func newGauge(c *Config, rate int) *heldGauge {
	g, open := &heldGauge{rate: rate}, c.Line.Open
	c.Line.Open = func(ctx context.Context) (Port, error) {
		port, err := open(ctx)
		g.End = port.(*serialtest.End)
		return g, err
	}
	return g
}

func (g *heldGauge) Write(b []byte) (int, error) {
	g.mu.Lock()
	g.held = append(g.held, time.Duration(g.Held())*10*time.Second/time.Duration(g.rate))
	g.mu.Unlock()
	return g.End.Write(b)
}

// reset forgets what was noted.
func (g *heldGauge) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = nil
}

func (g *heldGauge) percentile(p int) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	slices.Sort(g.held)
	return g.held[(len(g.held)-1)*p/100]
}

// TestSpeedClocks has PONGs with stamps that make little sense, each from the n-th on,
// while the line is full all the time. It is as fast as before.
func TestSpeedClocks(t *testing.T) {
	for _, test := range []struct {
		name  string
		stamp func(n int, at time.Duration) time.Duration
		least int // the speed must never be less than this
	}{
		{"in time", func(n int, at time.Duration) time.Duration { return at }, 9500},
		{"late once", func(n int, at time.Duration) time.Duration {
			if n == 20 {
				at += 3 * time.Second
			}
			return at
		}, 9500},
		{"an hour ahead", func(n int, at time.Duration) time.Duration { return at + time.Hour*time.Duration(n/20) }, 4800},
		{"an hour behind", func(n int, at time.Duration) time.Duration { return at - time.Hour*time.Duration(n/20) }, 4800},
		{"stands still", func(n int, at time.Duration) time.Duration { return min(at, time.Hour) }, 4800},
		{"zero", func(n int, at time.Duration) time.Duration { return 0 }, 4800},
		{"least and most", func(n int, at time.Duration) time.Duration {
			if n > 40 {
				return at
			}
			return []time.Duration{math.MinInt64, math.MaxInt64, at}[n%3]
		}, 96},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s speed
			s.init(9600, false)
			now, least := time.Hour, 9600
			for n := range 80 {
				s.asked(now)
				answer := now + 200*time.Millisecond
				s.answered(now, test.stamp(n, now+100*time.Millisecond), answer)
				least = min(least, s.set)
				next := answer + s.pause()
				s.sent(s.bytesIn(next-now), next-now)
				now = next
			}
			t.Logf("%s: %d bit/s at least, %d at the end", test.name, least, s.set)
			if least < test.least || s.set < 9600*9/10 {
				t.Errorf("%s: %d bit/s at least, %d at the end", test.name, least, s.set)
			}
		})
	}
}
