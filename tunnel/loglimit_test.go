package tunnel

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestFlapLimit has links that live for some seconds each, for hours.
func TestFlapLimit(t *testing.T) {
	for _, test := range []struct {
		life time.Duration
		most int // lines of the log in an hour
		all  bool
	}{
		{time.Minute, 120, true},
		{logInterval, 720, true},
		{time.Second, 2*maxFlaps + 3600/10, false},
	} {
		var b book
		var f flapLimit
		log := slog.New(slog.NewTextHandler(&b, nil))
		for now := time.Duration(0); now < time.Hour; now += test.life {
			f.up(log, now, "cipher", "blowfish")
			f.down(log, now+test.life, "cause", errTest)
		}
		lines := strings.Count(b.String(), "\n")
		if lines > test.most || test.all && lines != test.most || lines < 100 {
			t.Errorf("links of %v: %d lines, want %d", test.life, lines, test.most)
		}
		if told := strings.Contains(b.String(), "others not logged"); told == test.all {
			t.Errorf("links of %v: told of what is left out: %v", test.life, told)
		}
	}
	var b book
	f := flapLimit{short: maxFlaps}
	log := slog.New(slog.NewTextHandler(&b, nil))
	f.up(log, 0)
	f.down(log, time.Hour)
	f.up(log, time.Hour)
	f.down(log, time.Hour)
	b.says(t, 2, "link is up")
	b.says(t, 2, "link is down") // a long link ends it
}

// TestLogBurst logs at given times, in seconds, what may come in bursts of four.
func TestLogBurst(t *testing.T) {
	var l logLimit
	l.burst(3)
	for _, step := range []struct {
		at        float64
		said, got int // how often it is said, and how many are logged
	}{{0, 9, 4}, {9.999, 1, 0}, {10, 9, 1}, {20, 1, 1}, {41, 9, 2}, {1000, 9, 4}, {1009, 1, 0}, {1011, 9, 1}} {
		var b book
		for range step.said {
			l.warn(slog.New(slog.NewTextHandler(&b, nil)), time.Duration(step.at*float64(time.Second)), "news")
		}
		b.says(t, step.got, "msg=news")
	}
}

// TestLimitedLog has warnings and errors, of which neither hides the other.
func TestLimitedLog(t *testing.T) {
	var b book
	var now time.Duration
	l := NewLimitedLog(slog.New(slog.NewTextHandler(&b, nil)))
	l.now = func() time.Duration { return now }
	for range 2 {
		for range 5 {
			l.Warn("full", "client", "ann")
			l.Error("broken")
		}
		now += logInterval
	}
	b.says(t, 1, "level=WARN msg=full client=ann\n")
	b.says(t, 1, "level=WARN msg=full client=ann \"others not logged\"=4\n")
	b.says(t, 1, "level=ERROR msg=broken\n")
	b.says(t, 1, "level=ERROR msg=broken \"others not logged\"=4\n")
}
