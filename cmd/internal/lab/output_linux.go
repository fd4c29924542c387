package lab

import (
	"context"
	"fmt"
	"regexp"
	"sync"
)

// outputLimit is how much of a process's output is kept, the latest.
const outputLimit = 1 << 20

// Output collects what a process writes to one of its streams.
type Output struct {
	mu      sync.Mutex
	tail    []byte        // what is kept; up to twice outputLimit between trims
	total   int64         // bytes ever written
	ended   bool          // the process is gone
	changed chan struct{} // closed and replaced at each change
}

func newOutput() *Output {
	return &Output{changed: make(chan struct{})}
}

// Write appends p.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total += int64(len(p))
	o.tail = append(o.tail, p...)
	if len(o.tail) > 2*outputLimit {
		o.tail = append(o.tail[:0], o.tail[len(o.tail)-outputLimit:]...)
	}
	o.announce()
	return len(p), nil
}

// String returns what is kept of the output.
func (o *Output) String() string {
	return o.After(0)
}

// After returns what is kept of what was written after mark.
func (o *Output) After(mark int64) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.since(mark))
}

// Mark returns the present end of the output, for After and WaitAfter.
func (o *Output) Mark() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total
}

// WaitFor waits until the output matches the regular expression and returns
// the match and its groups. It returns early when the process is gone.
func (o *Output) WaitFor(ctx context.Context, pattern string) ([]string, error) {
	return o.WaitAfter(ctx, 0, pattern)
}

// WaitAfter is WaitFor in what was written after mark.
func (o *Output) WaitAfter(ctx context.Context, mark int64, pattern string) ([]string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("wait for output: %w", err)
	}
	for {
		match, ended, changed := o.match(mark, re)
		if match != nil {
			return match, nil
		}
		if ended {
			return nil, fmt.Errorf("wait for output %q: process is gone, it wrote:\n%s", pattern, o)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for output %q: %w, so far:\n%s", pattern, context.Cause(ctx), o)
		}
	}
}

func (o *Output) match(mark int64, re *regexp.Regexp) (match []string, ended bool, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, group := range re.FindSubmatch(o.since(mark)) {
		match = append(match, string(group))
	}
	return match, o.ended, o.changed
}

// since returns what is kept of the bytes after mark, in place.
func (o *Output) since(mark int64) []byte {
	kept := int64(min(len(o.tail), outputLimit))
	return o.tail[int64(len(o.tail))-min(kept, o.total-mark):]
}

func (o *Output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.announce()
}

func (o *Output) announce() {
	close(o.changed)
	o.changed = make(chan struct{})
}
