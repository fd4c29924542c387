package tunnel

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// logInterval is how often news that strangers can cause are logged.
const logInterval = 10 * time.Second

// logLimit logs at most one message each logInterval, and says how many it left
// out: a flood must not fill the disk.
type logLimit struct {
	mu   sync.Mutex
	next time.Duration
	left int
}

func (l *logLimit) warn(log *slog.Logger, now time.Duration, msg string, args ...any) {
	l.log(log, now, slog.LevelWarn, msg, args...)
}

func (l *logLimit) log(log *slog.Logger, now time.Duration, level slog.Level, msg string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now < l.next {
		l.left++
		return
	}
	if l.left > 0 {
		args = append(args, "others not logged", l.left)
	}
	l.next, l.left = now+logInterval, 0
	log.Log(context.Background(), level, msg, args...)
}

// flapLimit logs links that come and go. When they do so again and again within
// seconds, which somebody on the way can bring about, not each is news. Its user has
// a lock.
type flapLimit struct {
	began time.Duration // of the link
	short int           // links in a row that did not live long
	limit logLimit
}

// maxFlaps is how many short links in a row are logged one by one.
const maxFlaps = 10

func (f *flapLimit) up(log *slog.Logger, now time.Duration, args ...any) {
	f.began = now
	f.log(log, now, "link is up", args...)
}

func (f *flapLimit) down(log *slog.Logger, now time.Duration, args ...any) {
	if f.short++; now-f.began >= logInterval {
		f.short = 0
	}
	f.log(log, now, "link is down", args...)
}

func (f *flapLimit) log(log *slog.Logger, now time.Duration, msg string, args ...any) {
	if f.short < maxFlaps {
		log.Info(msg, args...)
	} else {
		f.limit.log(log, now, slog.LevelInfo, msg, args...)
	}
}
