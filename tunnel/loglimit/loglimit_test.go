package loglimit

import (
	"bytes"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// newLog returns a log without times, and what it has.
func newLog() (*slog.Logger, *bytes.Buffer) {
	text := new(bytes.Buffer)
	return slog.New(slog.NewTextHandler(text, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})), text
}

// TestLimit warns at given times.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := newLog()
		start := time.Now()
		var l Limit
		for _, at := range []time.Duration{0, 0, 1000, 9999, 10000, 19000, 29000, 1000000, 1001000, 1010000} {
			time.Sleep(time.Until(start.Add(at * time.Millisecond)))
			l.Warn(log, "knock", "at", int(at))
		}
		want := `level=WARN msg=knock at=0
level=WARN msg=knock at=10000 "others not logged"=3
level=WARN msg=knock at=29000 "others not logged"=1
level=WARN msg=knock at=1000000
level=WARN msg=knock at=1010000 "others not logged"=1
`
		if text.String() != want {
			t.Errorf("log is\n%s, want\n%s", text, want)
		}
	})
}

// TestBurst logs at given times what may come in bursts of four.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l := Limit{Burst: 3}
		for _, step := range []struct {
			at        time.Duration // milliseconds
			said, got int           // how often it is said, and how many are logged
		}{{0, 9, 4}, {9999, 1, 0}, {10000, 9, 1}, {20000, 1, 1}, {41000, 9, 2}, {1000000, 9, 4}, {1009000, 1, 0}, {1011000, 9, 1}} {
			time.Sleep(time.Until(start.Add(step.at * time.Millisecond)))
			log, text := newLog()
			for range step.said {
				l.Log(log, slog.LevelInfo, "news")
			}
			if got := bytes.Count(text.Bytes(), []byte("level=INFO msg=news")); got != step.got {
				t.Errorf("at %d ms: %d are logged, want %d", step.at, got, step.got)
			}
		}
	})
}

// TestLogger has messages of each level, of which none hides another, in loggers made of
// one another, which share the limits.
func TestLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := newLog()
		limited := NewLogger(log)
		grouped := limited.With("hook", "/bin/up").WithGroup("g")
		for range 2 {
			for i := range 4 {
				limited.Debug("noise")
				grouped.Info("output", "line", i)
				limited.Warn("failed")
				limited.Log(t.Context(), slog.LevelError+1, "worse")
			}
			limited.Info("output", "line", "last")
			time.Sleep(Interval)
		}
		want := `level=DEBUG msg=noise
level=INFO msg=output hook=/bin/up g.line=0
level=WARN msg=failed
level=ERROR+1 msg=worse
level=DEBUG msg=noise "others not logged"=3
level=INFO msg=output hook=/bin/up g.line=0 "g.others not logged"=4
level=WARN msg=failed "others not logged"=3
level=ERROR+1 msg=worse "others not logged"=3
`
		if text.String() != want {
			t.Errorf("log is\n%s, want\n%s", text, want)
		}
	})
}

// TestTogether has runs of which each says two things, or nothing.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := newLog()
		var l Limit
		for run, pause := range []time.Duration{0, 0, 0, Interval, 2 * Interval} {
			time.Sleep(pause)
			l.Together(log) // says nothing
			one := l.Together(log)
			one.With("run", run).Info("begins")
			one.WithGroup("g").Warn("ends", "run", run)
		}
		want := `level=INFO msg=begins run=0
level=WARN msg=ends g.run=0
level=INFO msg=begins run=3 "others not logged"=2
level=WARN msg=ends g.run=3 "g.others not logged"=2
level=INFO msg=begins run=4
level=WARN msg=ends g.run=4
`
		if text.String() != want {
			t.Errorf("log is\n%s, want\n%s", text, want)
		}
	})
}
