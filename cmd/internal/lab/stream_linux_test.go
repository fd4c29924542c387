package lab

import (
	"fmt"
	"math"
	"sync/atomic"
	"testing"
)

// TestStream counts what passes, and what a path that is cut for a while loses.
func TestStream(t *testing.T) {
	r := newRoute(t)
	const bits, size = 4e6, 1000
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			s, err := r.ends(f.dst).Stream(bits, size)
			check(t, err)
			reaches(t, &s.received, 200)
			got, err := s.Stop()
			check(t, err)
			if got.Received != got.Sent || got.Lost() != 0 {
				t.Errorf("%d of %d datagrams arrived", got.Received, got.Sent)
			}
			if limit := bits/8/size*got.Elapsed.Seconds() + 1; float64(got.Sent) > limit {
				t.Errorf("%d datagrams in %v, want %.0f at most", got.Sent, got.Elapsed, limit)
			}
			want := float64(got.Sent) * size * 8 / got.Elapsed.Seconds()
			if math.Abs(got.Offered()-want) > 1 || got.Goodput() != got.Offered() {
				t.Errorf("offered %.0f bit/s, goodput %.0f, want %.0f", got.Offered(), got.Goodput(), want)
			}
		})
	}
}

func TestStreamCountsLosses(t *testing.T) {
	r := newRoute(t)
	s, err := r.ends(families()[0].dst).Stream(4e6, 1000)
	check(t, err)
	reaches(t, &s.received, 100)
	check(t, r.Cut())
	reaches(t, &s.sent, s.sent.Load()+100)
	got, err := s.Stop()
	check(t, err)
	part := 1 - float64(got.Received)/float64(got.Sent)
	if lost := got.Sent - got.Received; lost < 90 || got.Lost() != part || got.Goodput() >= got.Offered() {
		t.Errorf("lost %d, %.3f of %+v", lost, got.Lost(), got)
	}
}

// TestStreamNowhere has streams of which nothing arrives, or that sent nothing.
func TestStreamNowhere(t *testing.T) {
	r := newRoute(t)
	check(t, r.Cut())
	s, err := r.ends(families()[0].dst).Stream(1e6, 1000)
	check(t, err)
	reaches(t, &s.sent, 10)
	if got, err := s.Stop(); err == nil || got.Lost() != 1 {
		t.Errorf("%+v, error %v", got, err)
	}
	if (Streamed{}).Lost() != 1 {
		t.Error("a stream that sent nothing has lost nothing")
	}
}

// reaches waits until a counter has come to n.
func reaches(t *testing.T, counter *atomic.Int64, n int64) {
	t.Helper()
	check(t, poll(timeout(t), func() error {
		if have := counter.Load(); have < n {
			return fmt.Errorf("%d datagrams, want %d", have, n)
		}
		return nil
	}))
}
