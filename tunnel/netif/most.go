package netif

import (
	"errors"
	"slices"
)

// ApplyMost is Apply for routes that come from others. One that the host cannot have
// does not stop the rest: all are tried, halves of them, and so on, those last that are
// new. It returns the routes that the state has by now; the error says why the others
// are missing.
func (s *Set) ApplyMost(dev string, want State) ([]Route, error) {
	err := s.Apply(dev, want)
	if err != nil {
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
		err = errors.Join(s.addRoutes(dev, &want, kept), s.addRoutes(dev, &want, added))
	}
	return s.routes(), err
}

// addRoutes brings the host to a state with more routes, as far as it can.
func (s *Set) addRoutes(dev string, state *State, more []Route) error {
	next := *state
	next.Routes = slices.Concat(state.Routes, more)
	err := s.Apply(dev, next)
	switch half := len(more) / 2; {
	case err == nil:
		*state = next
		return nil
	case half == 0:
		return err
	default:
		return errors.Join(s.addRoutes(dev, state, more[:half]), s.addRoutes(dev, state, more[half:]))
	}
}

// routes returns those of the last Apply that worked.
func (s *Set) routes() []Route {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.want.Routes
}
