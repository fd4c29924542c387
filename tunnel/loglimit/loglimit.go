// Package loglimit bounds how often the log has what others can bring about as often as
// they like: nobody fills the disk.
package loglimit

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Interval is how often such news are logged.
const Interval = 10 * time.Second

// Limit lets one message through in each Interval, and says how many were left out
// meanwhile. The zero value is ready for use.
type Limit struct {
	Burst int // how many more may come at once: at first, and again after a quiet time

	mu   sync.Mutex
	next time.Time // from when on a message is due
	left int
}

// Warn logs a warning, or counts it.
func (l *Limit) Warn(log *slog.Logger, msg string, args ...any) {
	l.Log(log, slog.LevelWarn, msg, args...)
}

// Log logs a message, or counts it.
func (l *Limit) Log(log *slog.Logger, level slog.Level, msg string, args ...any) {
	if left, ok := l.Take(); ok {
		if left > 0 {
			args = append(args, LeftOut, left)
		}
		log.Log(context.Background(), level, msg, args...)
	}
}

// LeftOut is the name of the attribute that counts what the log does not have.
const LeftOut = "others not logged"

// Take reports whether a message may be logged now, and how many before it were not.
func (l *Limit) Take() (left int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if earliest := now.Add(-time.Duration(l.Burst) * Interval); l.next.Before(earliest) {
		l.next = earliest
	}
	if now.Before(l.next) {
		l.left++
		return 0, false
	}
	left, l.left = l.left, 0
	l.next = l.next.Add(Interval)
	return left, true
}

// Together returns a logger whose messages go to another one, all of them or none, as the
// limit says at the first.
func (l *Limit) Together(log *slog.Logger) *slog.Logger {
	return slog.New(together{log.Handler(), sync.OnceValues(l.Take)})
}

type together struct {
	slog.Handler
	take func() (left int, ok bool)
}

func (h together) Handle(ctx context.Context, r slog.Record) error {
	left, ok := h.take()
	return passOn(ctx, h.Handler, r, left, ok)
}

func (h together) WithAttrs(attrs []slog.Attr) slog.Handler {
	return together{h.Handler.WithAttrs(attrs), h.take}
}

func (h together) WithGroup(name string) slog.Handler {
	return together{h.Handler.WithGroup(name), h.take}
}

// passOn gives a message to a handler as Take says.
func passOn(ctx context.Context, to slog.Handler, r slog.Record, left int, ok bool) error {
	if !ok {
		return nil
	}
	if left > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int(LeftOut, left))
	}
	return to.Handle(ctx, r)
}

// NewLogger returns a logger whose messages go to another one, those of each level as a
// Limit of its own lets them through: warnings do not hide errors.
func NewLogger(log *slog.Logger) *slog.Logger {
	return slog.New(handler{log.Handler(), new(levels)})
}

// levels has the limits of slog.LevelDebug to slog.LevelError.
type levels [4]Limit

type handler struct {
	slog.Handler
	limits *levels
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	level := min(max(slog.LevelDebug, r.Level), slog.LevelError)
	left, ok := h.limits[(level-slog.LevelDebug)/(slog.LevelInfo-slog.LevelDebug)].Take()
	return passOn(ctx, h.Handler, r, left, ok)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.limits}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.limits}
}
