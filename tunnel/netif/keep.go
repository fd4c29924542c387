package netif

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// shortPause is the wait between two looks at the host, longPause that in a
	// fight with somebody, who takes away again and again what was put back.
	shortPause = 100 * time.Millisecond
	longPause  = 10 * time.Second
	// patience is how often something is put back until that is a fight; one time is
	// forgotten after each longPause.
	patience = 20
	// lookAgain is when Keep tries again what did not work, if nothing happens before.
	lookAgain = time.Minute
)

// change is what the kernel says has changed: an interface or an address of it, or
// a route.
type change struct {
	dev     int          // index of the interface
	dest    netip.Prefix // of the route
	unknown bool         // it may be anything
}

// Keep puts back what others take away from the state of the last Apply (addresses,
// routes, MTU) until ctx ends. A device that somebody sets down stays down; when it
// comes up again, it gets back what the kernel took from it. One that is renamed
// keeps its new name. What is in the way of others' things is left out, with a
// warning. The error is ErrUnavailable when the device is gone.
//
// A fight with another program does not keep the host busy: there are long pauses
// in it.
func (s *Set) Keep(ctx context.Context) error {
	w, err := openWatcher()
	if err != nil {
		return err
	}
	news := make(chan struct{}, 1)
	var watching sync.WaitGroup
	watching.Go(func() { w.run(func(c change) { s.hear(c, news) }) })
	defer watching.Wait()
	defer w.close()
	pace := pace{since: time.Now()}
	for {
		changes, err := s.repair()
		if errors.Is(err, ErrUnavailable) {
			return err
		}
		wait(ctx, nil, pace.next(time.Now(), changes))
		var again time.Duration
		if err != nil {
			again = lookAgain
		}
		if !wait(ctx, news, again) {
			return nil
		}
	}
}

// wait returns when there are news, or d has gone by if it is not 0, and reports
// whether ctx goes on.
func wait(ctx context.Context, news <-chan struct{}, d time.Duration) bool {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-news:
	case <-over:
	}
	return true
}

// pace says how long to wait after a look at the host.
type pace struct {
	times int // that something was put back, and is not forgotten
	since time.Time
}

func (p *pace) next(now time.Time, changes int) time.Duration {
	forget := now.Sub(p.since) / longPause
	p.since = p.since.Add(forget * longPause)
	p.times = max(0, p.times-int(forget)) + changes
	if p.times > patience {
		return longPause
	}
	return shortPause
}

// hear passes on that there are news when a change may concern this Set. On a busy
// router most do not.
func (s *Set) hear(c change, news chan<- struct{}) {
	if !s.concerns(c) {
		return
	}
	select {
	case news <- struct{}{}:
	default:
	}
}

func (s *Set) concerns(c change) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.unknown:
		return true
	case !c.dest.IsValid():
		// What is in our way may be at any interface.
		return c.dev != 0 && (c.dev == s.rec.Device.Index || s.trouble != "")
	}
	return slices.ContainsFunc(s.rec.Routes, func(r hostRoute) bool { return r.Dest == c.dest }) ||
		slices.ContainsFunc(s.want.Routes, func(r Route) bool { return r.Dest.Masked() == c.dest }) ||
		slices.ContainsFunc(s.want.Addrs, func(a Addr) bool { return a.Remote.IsValid() && single(a.Remote) == c.dest })
}

// repair brings the device and the routes back to the state of the last Apply, as
// far as that is possible, and returns how often it had to change something. The
// error says what is still missing.
func (s *Set) repair() (changes int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dev == "" || s.closed {
		return 0, nil
	}
	var missing error
	up := true
	err = s.converge(func(h host) (steps []step, rec record, err error) {
		dev, err := s.device(h)
		if err != nil || !dev.up {
			up = err != nil
			return nil, s.rec, err
		}
		steps, rec, missing = planRepair(h, s.rec, dev, s.want, s.dialed)
		if len(steps) > 0 {
			changes++
			s.log.Warn("somebody changed the interface or its routes, putting them back", "interface", s.dev, "commands", commands(steps))
		}
		return steps, rec, nil
	})
	err = errors.Join(err, missing)
	s.tell(up, err)
	return changes, err
}

// tell logs what is not as it should be, once, and when it is well again.
func (s *Set) tell(up bool, err error) {
	trouble := ""
	switch {
	case errors.Is(err, ErrUnavailable):
		return // the caller ends
	case err != nil:
		trouble = err.Error()
	case !up:
		trouble = "it was set down: nothing passes until it is set up"
	}
	switch {
	case trouble == s.trouble:
	case trouble == "":
		s.log.Info("interface is as it should be again", "interface", s.dev)
	default:
		s.log.Warn("interface is not as it should be", "interface", s.dev, "error", trouble)
	}
	s.trouble = trouble
}

// device returns the device of the last Apply, whatever its name is by now.
func (s *Set) device(h host) (link, error) {
	l, ok := h.link(s.rec.Device.Index)
	if !ok {
		return l, fmt.Errorf("interface %s: %w", s.dev, ErrUnavailable)
	}
	if l.name != s.dev {
		s.log.Warn("interface was renamed", "from", s.dev, "to", l.name)
		s.dev = l.name
	}
	return l, nil
}

// Device returns the name that the device of the last Apply has by now.
func (s *Set) Device() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dev
}
