package registry

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, nil))
		var l logLimit
		say := func(what string, n, want int, last string) {
			t.Helper()
			text.Reset()
			for range n {
				l.log(log, slog.LevelWarn, "knock", "from", "somewhere")
			}
			lines := strings.Split(strings.TrimSpace(text.String()), "\n")
			if strings.Count(text.String(), "level=WARN msg=knock from=somewhere") != want || want > 0 && !strings.HasSuffix(lines[0], last) {
				t.Errorf("%s: the log has %q", what, lines)
			}
		}
		say("at first", logBurst+5, logBurst, "somewhere")
		time.Sleep(logInterval - 1)
		say("too early", 1, 0, "")
		time.Sleep(1)
		say("later", 3, 1, `"others not logged"=6`)
		time.Sleep(2 * logInterval)
		say("after more time", 9, 2, `"others not logged"=2`)
		time.Sleep(time.Hour)
		say("all is made up for", 2*logBurst, logBurst, `"others not logged"=7`)
	})
}
