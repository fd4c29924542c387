package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// tripsOf is trips that leave at each second and take so many; a negative one does
// not come back.
func tripsOf(start time.Time, seconds ...int) *trips {
	t := &trips{}
	for i := range seconds {
		t.begin(start.Add(time.Duration(i) * time.Second))
	}
	for i, s := range seconds {
		if s >= 0 {
			t.end(i, start.Add(time.Duration(i+s)*time.Second))
		}
	}
	return t
}

func TestSpread(t *testing.T) {
	start := time.Now()
	for _, test := range []struct {
		name    string
		seconds []int
		sent    int
		median  time.Duration
		p95     time.Duration
		longest time.Duration
		lost    float64
	}{
		{"none", nil, 0, 0, 0, 0, 0},
		{"one", []int{3}, 1, 3 * time.Second, 3 * time.Second, 3 * time.Second, 0},
		{"sorted", []int{5, 1, 3}, 3, 3 * time.Second, 5 * time.Second, 5 * time.Second, 0},
		{"missing", []int{1, -1, 1, 1}, 4, time.Second, 99 * time.Second, time.Second, 0.25},
		{"most missing", []int{-1, -1, 1, -1}, 4, 97 * time.Second, 100 * time.Second, time.Second, 0.75},
		{"all missing", []int{-1, -1}, 2, 99 * time.Second, 100 * time.Second, 0, 1},
	} {
		list := tripsOf(start, test.seconds...).between(start, start.Add(time.Hour))
		s := spreadOf(list, start.Add(100*time.Second))
		if s.Sent != test.sent || s.Percentile(50) != test.median || s.Percentile(95) != test.p95 || s.longest != test.longest || s.lost != test.lost {
			t.Errorf("%s: %+v, p50 %v, p95 %v", test.name, s, s.Percentile(50), s.Percentile(95))
		}
	}
}

func TestTrips(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	r := tripsOf(start, 9, -1, 1, 1)
	if some := r.between(at(1), at(3)); len(some) != 2 || some[0].answered || some[1].rtt != time.Second {
		t.Errorf("between: %+v", some)
	}
	if r.latest() != at(4) {
		t.Errorf("latest after %v", r.latest().Sub(start))
	}
	r.end(1, at(8))
	r.end(1, at(20)) // for the second time
	r.end(7, at(30)) // nobody has asked
	if r.latest() != at(8) || r.between(at(1), at(2))[0].rtt != 7*time.Second {
		t.Errorf("latest after %v, %+v", r.latest().Sub(start), r.between(at(1), at(2)))
	}
}

// TestWaitAnswer has an answer come in time, too late and not at all.
func TestWaitAnswer(t *testing.T) {
	enough := errors.New("enough")
	for _, test := range []struct {
		name  string
		comes time.Duration
		want  time.Duration // 0: an error
		ends  time.Duration // of the context
	}{
		{"in time", 3 * time.Second, 3 * time.Second, time.Hour},
		{"too late", 20 * time.Second, 0, time.Hour},
		{"given up", 3 * time.Second, 0, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &trips{}
			r.begin(time.Now())
			r.begin(time.Now())
			r.end(0, time.Now()) // before: it does not count
			ctx, cancel := context.WithTimeoutCause(t.Context(), test.ends, enough)
			defer cancel()
			go func() {
				time.Sleep(test.comes)
				r.end(1, time.Now())
			}()
			took, err := r.waitAnswer(ctx, time.Now(), 10*time.Second)
			if took != test.want || (err == nil) != (test.want > 0) || (test.ends < test.comes) != errors.Is(err, enough) {
				t.Errorf("%s: %v, %v", test.name, took, err)
			}
			time.Sleep(time.Minute)
		})
	}
}
