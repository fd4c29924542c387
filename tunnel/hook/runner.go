package hook

import (
	"context"
	"sync"
)

// Runner runs the hooks of a link, one at a time, while its caller goes on. The
// latest wins: while one runs, at most one waits, and a newer one takes its
// place.
type Runner struct {
	ctx  context.Context
	done sync.WaitGroup

	mu      sync.Mutex
	running bool
	waiting *Script
}

// NewRunner returns a Runner whose scripts are killed when ctx is done.
func NewRunner(ctx context.Context) *Runner {
	return &Runner{ctx: ctx}
}

// Start runs the script when the one before has ended. If it fails, its log
// gets a warning.
func (r *Runner) Start(s Script) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = &s
	if !r.running {
		r.running = true
		r.done.Go(r.run)
	}
}

// Wait returns when no script runs or waits. No Start may come after it.
func (r *Runner) Wait() {
	r.done.Wait()
}

// run runs scripts until none waits.
func (r *Runner) run() {
	for s := r.next(); s != nil; s = r.next() {
		if err := s.Run(r.ctx); err != nil {
			s.Log.Warn("hook failed", "error", err)
		}
	}
}

// next takes the waiting script, or nil, after which run ends.
func (r *Runner) next() *Script {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.waiting
	r.waiting = nil
	r.running = s != nil
	return s
}
