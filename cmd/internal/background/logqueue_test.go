package background

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stuckWriter takes nothing until it is let go.
type stuckWriter struct {
	bytes.Buffer
	free chan struct{}
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	<-w.free
	return w.Buffer.Write(p)
}

func TestLogQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuckWriter{free: make(chan struct{})}
		q := newLogQueue(w)
		log, began := slog.New(slog.NewTextHandler(q, nil)), time.Now()
		for n := range logRoom + 100 {
			log.Info("line", "n", n)
			synctest.Wait()
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the log held its user up for %v", took)
		}
		close(w.free)
		q.close()
		if took := time.Since(began); took != 0 {
			t.Errorf("the end took %v", took)
		}
		lines := strings.Split(strings.TrimSpace(w.String()), "\n")
		// One line was being written, logRoom waited.
		if len(lines) != logRoom+2 || !strings.HasSuffix(lines[0], "n=0") || !strings.HasSuffix(lines[1], `"lines left out"=99`) ||
			!strings.HasSuffix(lines[logRoom+1], fmt.Sprint("n=", logRoom)) {
			t.Errorf("%d lines: %q", len(lines), lines)
		}
		log.Info("too late, but no harm")
	})
}

// TestLogQueueStuck ends while nobody reads.
func TestLogQueueStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuckWriter{free: make(chan struct{})}
		q := newLogQueue(w)
		q.Write([]byte("line\n"))
		began := time.Now()
		q.close()
		if took := time.Since(began); took != logFlush {
			t.Errorf("the end took %v", took)
		}
		close(w.free)
		<-q.done
	})
}
