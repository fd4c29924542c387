package tunnel

import (
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
	log.Warn(msg, args...)
}
