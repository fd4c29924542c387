package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// pollInterval is how often a condition is looked at that nothing reports.
const pollInterval = 2 * time.Millisecond

// Lab owns namespaces, processes, relays and a temporary directory.
type Lab struct {
	dir string

	mu      sync.Mutex
	closers []func() error // run in reverse
}

// New returns an empty lab, or what Missing reports.
func New() (*Lab, error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "vpnd-lab-")
	if err != nil {
		return nil, fmt.Errorf("create lab directory: %w", err)
	}
	l := &Lab{dir: dir}
	l.onClose(func() error { return os.RemoveAll(dir) })
	// A daemon that runs as an ordinary user must reach its files.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("open up lab directory: %w", err), l.Close())
	}
	return l, nil
}

// Dir returns the lab's directory, which goes with it.
func (l *Lab) Dir() string { return l.dir }

// Close ends all processes and relays of the lab, frees its namespaces and
// removes its directory. Later calls do nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	closers := l.closers
	l.closers = nil
	l.mu.Unlock()

	var errs []error
	for _, f := range slices.Backward(closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func (l *Lab) onClose(f func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closers = append(l.closers, f)
}

// poll calls f until it returns nil. When ctx ends first it returns the
// cause together with the last error of f.
func poll(ctx context.Context, f func() error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}
