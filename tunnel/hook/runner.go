package hook

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Runner runs the hooks of links, of each one at a time, while its caller goes on.
// The latest wins: while one runs, at most one of the same link waits, and a newer
// one takes its place. No more than a number of scripts run at a time, and of no more
// than maxWaiting links one waits.
type Runner struct {
	ctx  context.Context
	most int
	log  *slog.Logger
	done sync.WaitGroup

	mu      sync.Mutex
	running map[string]bool
	waiting []named // at most one of a link
	full    bool    // that was said
}

// maxWaiting is more than a hub has clients. Somebody who has the key that clients share
// can come as a new one each time.
const maxWaiting = 1 << 14

// named is a script of a link.
type named struct {
	link   string
	script Script
}

// NewRunner returns a Runner that runs at most most scripts at a time. They are killed
// when ctx is done. The log is told when some are left out.
func NewRunner(ctx context.Context, most int, log *slog.Logger) *Runner {
	return &Runner{ctx: ctx, most: most, log: log, running: make(map[string]bool)}
}

// Start runs a script of a link when the one before of this link has ended. One that
// waits gives its place to a newer one. If it fails, its log gets a warning.
func (r *Runner) Start(link string, s Script) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.IndexFunc(r.waiting, func(n named) bool { return n.link == link }); i >= 0 {
		r.waiting[i].script = s
	} else if len(r.waiting) < maxWaiting {
		r.waiting = append(r.waiting, named{link, s})
	} else if !r.full {
		r.full = true
		r.log.Warn("scripts of links do not keep up: some are left out from now on", "waiting", maxWaiting)
	}
	if n, ok := r.next(); ok {
		r.done.Go(func() { r.run(n) })
	}
}

// Wait returns when no script runs or waits. No Start may come after it.
func (r *Runner) Wait() { r.done.Wait() }

// Stop does the same, but leaves out the scripts that still wait after some time.
func (r *Runner) Stop(patience time.Duration) {
	timer := time.AfterFunc(patience, r.leaveOut)
	defer timer.Stop()
	r.Wait()
}

func (r *Runner) leaveOut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.waiting); n > 0 {
		r.waiting = nil
		r.log.Warn("scripts of links are left out, so that the stop does not take longer", "count", n)
	}
}

// run runs a script, and then others as long as some wait.
func (r *Runner) run(n named) {
	for ok := true; ok; {
		if err := n.script.Run(r.ctx); err != nil {
			n.script.Log.Warn("hook failed", "error", err)
		}
		r.mu.Lock()
		delete(r.running, n.link)
		n, ok = r.next()
		r.mu.Unlock()
	}
}

// next takes the first script that may run now. mu is held.
func (r *Runner) next() (named, bool) {
	if len(r.running) == r.most {
		return named{}, false
	}
	i := slices.IndexFunc(r.waiting, func(n named) bool { return !r.running[n.link] })
	if i < 0 {
		return named{}, false
	}
	n := r.waiting[i]
	r.waiting = slices.Delete(r.waiting, i, i+1)
	r.running[n.link] = true
	return n, true
}
