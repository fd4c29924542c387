package registry

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// logBurst messages of a kind in a row are logged, then one each logInterval.
	logBurst    = 20
	logInterval = 10 * time.Second
)

// logLimit bounds how often a message is logged, and says how many were left out: nobody
// fills the disk. A CGI program has one for its only request, so there it bounds nothing.
type logLimit struct {
	mu   sync.Mutex
	next time.Time // when it has made up for what it has logged
	left int
}

func (l *logLimit) log(log *slog.Logger, level slog.Level, msg string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.next.Before(now) {
		l.next = now
	}
	next := l.next.Add(logInterval)
	if next.Sub(now) > logBurst*logInterval {
		l.left++
		return
	}
	if l.left > 0 {
		args = append(args, "others not logged", l.left)
	}
	l.next, l.left = next, 0
	log.Log(context.Background(), level, msg, args...)
}
