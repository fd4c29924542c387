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
	mu    sync.Mutex
	next  time.Duration
	spare time.Duration // how many intervals without a message are made up for
	left  int
}

// burst lets n messages more through at once: at the start, and after a quiet time.
func (l *logLimit) burst(n int) {
	l.spare = time.Duration(n) * logInterval
	l.next = -l.spare
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
	l.next, l.left = max(l.next, now-l.spare)+logInterval, 0
	log.Log(context.Background(), level, msg, args...)
}

// flapLimit logs links that come and go. When they do so again and again within
// seconds, which somebody on the way can bring about, not each is news. Its user has
// a lock.
type flapLimit struct {
	began time.Duration // of the link
	short int           // links in a row that did not live long
	limit logLimit
	all   *logLimit // of all clients whose names mean nothing; nil: the peer has a limit of its own
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
	switch {
	case f.all != nil:
		f.all.log(log, now, slog.LevelInfo, msg, args...)
	case f.short < maxFlaps:
		log.Info(msg, args...)
	default:
		f.limit.log(log, now, slog.LevelInfo, msg, args...)
	}
}

// notes bounds what else is logged of a peer that comes again and again.
type notes struct {
	mtu    logLimit    // it has another one
	remote [2]logLimit // of each family: its address is not the one that is expected
	twins  logLimit    // two seem to have its key
}

// guestNotes bounds what is logged of all clients with a shared key together: who has it
// can come with as many names as he likes.
type guestNotes struct {
	notes
	links logLimit
}

// guestLines is how many links of such clients that come or go at once are logged: those
// of a company whose hub starts again.
const guestLines = 100

// LimitedLog is a log for what callers can bring about as often as they like. It has one
// warning, and one error, in 10 seconds, which says how many others there were.
type LimitedLog struct {
	log              *slog.Logger
	now              func() time.Duration
	warnings, errors logLimit
}

// NewLimitedLog returns such a log, whose messages go to another one.
func NewLimitedLog(log *slog.Logger) *LimitedLog { return &LimitedLog{log: log, now: bootTime} }

// Warn logs a warning, or counts it.
func (l *LimitedLog) Warn(msg string, args ...any) { l.warnings.warn(l.log, l.now(), msg, args...) }

// Error logs an error, or counts it.
func (l *LimitedLog) Error(msg string, args ...any) {
	l.errors.log(l.log, l.now(), slog.LevelError, msg, args...)
}
