package tunnel

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/tunnel/loglimit"
)

// TestFlapLimit has links that live for some seconds each, for hours.
func TestFlapLimit(t *testing.T) {
	for _, test := range []struct {
		life time.Duration
		most int // lines of the log in an hour
		all  bool
	}{
		{time.Minute, 120, true},
		{loglimit.Interval, 720, true},
		{time.Second, 2*maxFlaps + 3600/10, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			var b book
			var f flapLimit
			log := slog.New(slog.NewTextHandler(&b, nil))
			for start := time.Now(); time.Since(start) < time.Hour; {
				f.up(log, "cipher", "blowfish")
				time.Sleep(test.life)
				f.down(log, "cause", errTest)
			}
			lines := strings.Count(b.String(), "\n")
			if lines > test.most || test.all && lines != test.most || lines < 100 {
				t.Errorf("links of %v: %d lines, want %d", test.life, lines, test.most)
			}
			if told := strings.Contains(b.String(), "others not logged"); told == test.all {
				t.Errorf("links of %v: told of what is left out: %v", test.life, told)
			}
		})
	}
}

// TestFlapLimitPause has links that are cut at once but for one in ten.
func TestFlapLimitPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b book
		var f flapLimit
		log := slog.New(slog.NewTextHandler(&b, nil))
		n := 0
		for start := time.Now(); time.Since(start) < time.Hour; n++ {
			f.up(log)
			if n%10 == 9 {
				time.Sleep(loglimit.Interval)
			} else {
				time.Sleep(time.Second)
			}
			f.down(log)
		}
		if lines := strings.Count(b.String(), "\n"); lines > 2*maxFlaps+3600/10 || n < 1000 {
			t.Errorf("%d links: %d lines", n, lines)
		}
	})
}

// TestFlapLimitEnds has a long link after short ones.
func TestFlapLimitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b book
		f := flapLimit{short: maxFlaps}
		log := slog.New(slog.NewTextHandler(&b, nil))
		f.up(log)
		time.Sleep(time.Hour)
		f.down(log)
		f.up(log)
		f.down(log)
		b.says(t, 2, "link is up")
		b.says(t, 2, "link is down")
	})
}
