package background

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

const (
	// logRoom is how many lines wait for somebody who reads slowly: more than two
	// hooks may say at a time.
	logRoom = 2048
	// logFlush is how long the end of the process waits for the last lines.
	logFlush = time.Second
)

// logQueue passes lines on to a writer. When that is stuck, a terminal that was
// stopped or a pipe that nobody reads, lines are left out: a log must not stop the
// daemon.
type logQueue struct {
	lines chan []byte
	left  atomic.Int64 // lines left out
	quit  chan struct{}
	done  chan struct{}
}

func newLogQueue(w io.Writer) *logQueue {
	q := &logQueue{lines: make(chan []byte, logRoom), quit: make(chan struct{}), done: make(chan struct{})}
	go q.run(w)
	return q
}

// Write takes a line, or leaves it out.
func (q *logQueue) Write(line []byte) (int, error) {
	select {
	case q.lines <- bytes.Clone(line):
	default:
		q.left.Add(1)
	}
	return len(line), nil
}

func (q *logQueue) run(w io.Writer) {
	defer close(q.done)
	for {
		select {
		case line := <-q.lines:
			q.pass(w, line)
		case <-q.quit:
			for len(q.lines) > 0 {
				q.pass(w, <-q.lines)
			}
			return
		}
	}
}

func (q *logQueue) pass(w io.Writer, line []byte) {
	w.Write(line)
	if n := q.left.Swap(0); n > 0 {
		fmt.Fprintf(w, "level=WARN msg=\"log was not read\" \"lines left out\"=%d\n", n)
	}
}

// close waits for the last lines, but not for ever.
func (q *logQueue) close() {
	close(q.quit)
	select {
	case <-q.done:
	case <-time.After(logFlush):
	}
}
