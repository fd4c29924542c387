package netif

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// ApplyMost is Apply for routes that come from others. One that the host cannot have
// does not stop the rest: all are tried, halves of them, and so on, those last that are
// new. What can be had is found out before anything is changed, so that no route goes
// that is to stay; but the kernel may refuse one that looked well. It returns the routes
// that the state has by now; the error says why the others are missing.
func (s *Set) ApplyMost(dev string, want State) ([]Route, error) {
	err := s.Apply(dev, want)
	if err != nil {
		most, left := s.most(want, func(st State) error { return s.look(dev, st) })
		if err = left; s.Apply(dev, most) != nil {
			_, err = s.most(want, func(st State) error { return s.Apply(dev, st) })
		}
	}
	return s.routes(), err
}

// look reports whether Apply would find something in the way.
func (s *Set) look(dev string, want State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return os.ErrClosed
	}
	h, err := s.kernel.read()
	if err != nil {
		return err
	}
	l, ok := h.named(dev)
	if !ok {
		return fmt.Errorf("interface %s: %w", dev, ErrUnavailable)
	}
	if _, _, err = planApply(h, s.rec, l, want.clone(), s.dialed); err != nil {
		return fmt.Errorf("configure %s: %w", dev, err)
	}
	return nil
}

// most returns a state with as many of the routes as can be had, and why not all.
func (s *Set) most(want State, try func(State) error) (State, error) {
	had := make(map[Route]bool)
	for _, r := range s.routes() {
		had[r] = true
	}
	var kept, added []Route
	for _, r := range want.Routes {
		if had[r] {
			kept = append(kept, r)
		} else {
			added = append(added, r)
		}
	}
	want.Routes = nil
	err := errors.Join(addRoutes(&want, kept, try), addRoutes(&want, added, try))
	return want, err
}

// addRoutes adds those routes to a state that can be had with it.
func addRoutes(state *State, more []Route, try func(State) error) error {
	next := *state
	next.Routes = slices.Concat(state.Routes, more)
	err := try(next)
	switch half := len(more) / 2; {
	case err == nil:
		*state = next
		return nil
	case half == 0:
		return err
	default:
		return errors.Join(addRoutes(state, more[:half], try), addRoutes(state, more[half:], try))
	}
}

// routes returns those of the last Apply that worked.
func (s *Set) routes() []Route {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.want.Routes
}
