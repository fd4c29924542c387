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
