package background

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// logSocket is where syslog or the systemd journal listens.
	logSocket = "/dev/log"
	// syslogTimeout is how long a message waits for the system's log: a log that is
	// stuck may not stop the daemon.
	syslogTimeout = 100 * time.Millisecond
	// maxRecord is how long a message may be, in bytes: what usual log daemons take. A
	// socket that takes less takes minRecord.
	maxRecord = 8192
	minRecord = 1024
)

// syslogHandler writes records to the system's log (RFC 3164, the local form without
// host name). Warnings and errors go to
// another writer too, until release is called: the terminal of the user who
// started the daemon.
type syslogHandler struct {
	slog.Handler // formats into out
	out          *syslogWriter
}

// syslogWriter is what all handlers of a logger share.
type syslogWriter struct {
	mu    sync.Mutex
	name  string // of the program
	tag   string
	line  bytes.Buffer
	conn  net.Conn
	early io.Writer // nil once released
}

func newSyslog(name, instance string, early io.Writer) (*slog.Logger, *syslogWriter) {
	w := &syslogWriter{name: name, tag: name + "." + instance, early: early}
	text := slog.NewTextHandler(&w.line, &slog.HandlerOptions{ReplaceAttr: withoutTimeAndLevel})
	return slog.New(&syslogHandler{text, w}), w
}

func withoutTimeAndLevel(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return a
}

// available reports whether there is a system's log.
func (w *syslogWriter) available() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.connect() == nil
}

// release ends the copy to the early writer.
func (w *syslogWriter) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.early = nil
}

// Handle writes one record.
func (h *syslogHandler) Handle(ctx context.Context, r slog.Record) error {
	w := h.out
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line.Reset()
	if err := h.Handler.Handle(ctx, r); err != nil {
		return err
	}
	if w.early != nil && r.Level >= slog.LevelWarn {
		io.WriteString(w.early, w.name+": "+w.line.String())
	}
	return w.send(severity(r.Level))
}

// WithAttrs returns a handler that adds attributes.
func (h *syslogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &syslogHandler{h.Handler.WithAttrs(attrs), h.out}
}

// WithGroup returns a handler that opens a group.
func (h *syslogHandler) WithGroup(name string) slog.Handler {
	return &syslogHandler{h.Handler.WithGroup(name), h.out}
}

// send writes the line. A log daemon that was restarted is found again.
func (w *syslogWriter) send(severity int) error {
	const facilityDaemon = 3 << 3
	message := fmt.Appendf(nil, "<%d>%s %s[%d]: %s", facilityDaemon|severity,
		time.Now().Format(time.Stamp), w.tag, os.Getpid(), bytes.TrimSuffix(w.line.Bytes(), []byte("\n")))
	var err error
	for range 2 {
		if err = w.connect(); err != nil {
			return err
		}
		if err = w.write(message); err == nil {
			return nil
		}
		w.conn.Close()
		w.conn = nil
	}
	return err
}

// write sends a message, or as much of its beginning as goes at once.
func (w *syslogWriter) write(message []byte) error {
	for room := maxRecord; ; room /= 2 {
		w.conn.SetWriteDeadline(time.Now().Add(syslogTimeout))
		_, err := w.conn.Write(cut(message, room))
		if !errors.Is(err, syscall.EMSGSIZE) || room <= minRecord {
			return err
		}
	}
}

// cut shortens a message to room bytes, and shows that at its end.
func cut(message []byte, room int) []byte {
	const mark = "..."
	if len(message) <= room {
		return message
	}
	return append(bytes.ToValidUTF8(message[:room-len(mark)], nil), mark...)
}

// severity is syslog's name for a level.
func severity(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}

func (w *syslogWriter) connect() error {
	if w.conn != nil {
		return nil
	}
	conn, err := net.Dial("unixgram", logSocket)
	if err == nil {
		w.conn = conn
	}
	return err
}
