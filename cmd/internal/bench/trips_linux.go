package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"vpnd/cmd/internal/lab"
)

// trip is something that was sent and has to come back.
type trip struct {
	sent     time.Time
	rtt      time.Duration
	answered bool
}

// trips is what was sent, in that order. An answer may be missing, and may come
// behind a later one.
type trips struct {
	mu   sync.Mutex
	list []trip
	last time.Time // when the latest answer came
}

// begin notes that the next one leaves, and returns its number.
func (t *trips) begin(now time.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, trip{sent: now})
	return len(t.list) - 1
}

// end notes the first answer to a number.
func (t *trips) end(number int, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number >= len(t.list) || t.list[number].answered {
		return
	}
	it := &t.list[number]
	it.rtt, it.answered = now.Sub(it.sent), true
	t.last = now
}

// latest returns when the latest answer came.
func (t *trips) latest() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// between returns those that were sent in a span of time.
func (t *trips) between(from, to time.Time) []trip {
	t.mu.Lock()
	defer t.mu.Unlock()
	var some []trip
	for _, it := range t.list {
		if !it.sent.Before(from) && it.sent.Before(to) {
			some = append(some, it)
		}
	}
	return some
}

// waitAnswer returns how long after a point of time the next answer came.
func (t *trips) waitAnswer(ctx context.Context, after time.Time, limit time.Duration) (time.Duration, error) {
	ticker := time.NewTicker(pollTime)
	defer ticker.Stop()
	for {
		if last := t.latest(); last.After(after) {
			return last.Sub(after), nil
		}
		if time.Since(after) > limit {
			return 0, fmt.Errorf("nothing for %v after the path was healed", limit)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// spread is how long trips took.
type spread struct {
	lab.PingStats // with what is missing, as long as it has been waited for
	lost          float64
	longest       time.Duration // of what came back
}

// spreadOf judges trips at a time when no more answers are waited for. One that is
// missing took at least until then: leaving it out would make the worst the best.
func spreadOf(list []trip, now time.Time) (s spread) {
	s.Sent = len(list)
	missing := 0
	for _, it := range list {
		took := it.rtt
		if it.answered {
			s.longest = max(s.longest, took)
		} else {
			took = now.Sub(it.sent)
			missing++
		}
		s.RTT = append(s.RTT, took)
	}
	slices.Sort(s.RTT)
	if s.Sent > 0 {
		s.lost = float64(missing) / float64(s.Sent)
	}
	return s
}
