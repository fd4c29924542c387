package main

import (
	"fmt"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/lab"
)

// clock is one of the clocks that a daemon sees, with what a test adds to it.
type clock struct {
	number uint64
	ahead  atomic.Int64 // seconds
}

// set makes the clock jump.
func (c *clock) set(ahead time.Duration) { c.ahead.Store(int64(ahead.Seconds())) }

// startWith starts vpnd with another clock.
func (s *site) startWith(c *clock) {
	s.t.Helper()
	trace, err := s.ns.Trace(s.command("-n", "-f", s.config()), lab.Tracing{
		HideVDSO: c.number != unix.CLOCK_BOOTTIME, // for which the daemon asks the kernel by itself
		Watch: func(call *lab.Call) bool {
			return call.Made(unix.SYS_CLOCK_GETTIME) && call.Args[0] == c.number && call.ShiftClock(c.ahead.Load()) != nil
		},
	})
	must(s.t, err)
	s.Process = trace.Process
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", s.name, trace.Stderr)
		}
	})
}

// upWith starts both ends, one of them with another clock.
func (w *world) upWith(s *site, c *clock) {
	s.t.Helper()
	if s == w.client {
		w.server.start()
		w.client.startWith(c)
	} else {
		w.server.startWith(c)
		w.client.start()
	}
	w.server.until("up", isUp)
	w.client.until("up", isUp)
}

// TestSuspend lets one end sleep for an hour: after that its clock of the time
// since boot is ahead, and its timers know nothing.
func TestSuspend(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*world) *site{"server": server, "client": client} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure()
			sleeper, boot := end(w), &clock{number: unix.CLOCK_BOOTTIME}
			w.upWith(sleeper, boot)
			inner := w.talk()
			w.settled()
			links := sleeper.until("up", isUp).Links
			f := measure(t, "back after a suspend of an hour", 1, func() time.Duration {
				began := time.Now()
				boot.set(time.Hour)
				sleeper.says(`msg="link is down".*cause="no answer from the peer for 1h0m`)
				inner.goesOn()
				return time.Since(began)
			})
			if r := sleeper.until("up", isUp); r.Links != links+1 {
				t.Errorf("%d links, want one more than %d", r.Links, links)
			}
			f.within(t, 5*time.Second)
		})
	}
}

// TestWallClock lets the clock on the wall of one end jump by a year, while the
// link is up and between two runs. Only stamps change.
func TestWallClock(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for name, end := range map[string]func(*world) *site{"server": server, "client": client} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure("keyttl 5", "keepalive 1", "noanswer 60", "pidfile vpnd.pid", "route 10.90.0.0/16")
			s, wall := end(w), &clock{number: unix.CLOCK_REALTIME}
			host := s.dump()
			w.upWith(s, wall)
			inner := w.talk()
			first := s.until("up", isUp)
			for _, ahead := range []time.Duration{year, -year} {
				wall.set(ahead)
				rekeys := s.until("up", isUp).Link.Rekeys
				r := s.until("keeping time as before", func(r report) bool { return isUp(r) && r.Link.Rekeys > rekeys })
				inner.goesOn()
				if r.Links != first.Links || !r.Since.Equal(first.Since) || !r.Link.Established.Equal(first.Link.Established) {
					t.Errorf("clock ahead by %v: the link was not left alone:\n%+v\n%+v", ahead, first, r)
				}
				if off := r.Link.LastPacket.Sub(time.Now().Add(ahead)).Abs(); off > patience {
					t.Errorf("clock ahead by %v: last packet at %v", ahead, r.Link.LastPacket)
				}
			}
			for _, ahead := range []time.Duration{year, -year} {
				s.kill()
				wall.set(ahead)
				s.startWith(wall)
				s.until("up", isUp)
				inner.goesOn()
				now := time.Now().Add(ahead)
				s.says(fmt.Sprintf(`(?m)^time=%s.* msg="link is up"`, regexp.QuoteMeta(now.Format("2006-01"))))
			}
			must(t, inner.c.Close()) // while it can say so to the other end
			s.stop()
			s.leftNothing(host)
		})
	}
}
