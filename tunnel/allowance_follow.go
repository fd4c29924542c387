package tunnel

import "time"

// follow looks at a bounded flight, and sets the rate when a span has ended.
func (a *allowance) follow(now time.Duration) {
	g, s := a.seen, &a.span
	if g.pending <= g.unsent {
		if a.dry(now); a.rate == 0 {
			return
		}
	}
	if a.probes(now) {
		return
	}
	s.losing = s.losing || g.losing
	if now > max(a.busy, s.began)+a.base+a.timeFor(segmentSize) { // what has been written since should arrive
		if lag := a.timeFor(g.pending) - max(0, a.free-now+a.base); s.looks == 0 || lag < s.lag {
			s.lag = lag
		}
		s.looks++
	}
	took := now - s.began
	if took < a.base+max(100*time.Millisecond, 2*a.base, a.timeFor(5*segmentSize)) {
		return
	}
	busy := s.blocked || s.lag > 2*a.target() || float64(s.written) > 0.75*a.rate*took.Seconds()
	if busy && s.looks > 0 && !s.losing && g.acked > s.acked {
		a.correct(s.lag, took, float64(g.acked-s.acked)/took.Seconds())
	} else {
		a.lag, a.fast, a.slow = 0, 0, 0
	}
	a.span = span{began: now, acked: g.acked}
	if a.slow >= stubborn || busy && now-a.probe.last > max(probeEvery, probeShare*2*a.base) {
		a.hold(false)
		a.probe, a.slow = probe{drains: true, raises: a.slow >= stubborn, last: now}, 0
	}
}

// probes goes on with a probe, and reports whether it has all arrive.
func (a *allowance) probes(now time.Duration) bool {
	switch p, g := &a.probe, a.seen; {
	case p.drains && g.pending == 0:
		p.drains, p.measures, a.span = false, true, span{began: now, acked: g.acked}
	case p.drains:
		return true
	case p.measures && p.size > 0 && g.acked >= p.end:
		p.measures = false
		way := max(now-p.at-a.timeFor(p.size), time.Millisecond)
		switch farther := way > a.base+lookWait; {
		case way < a.base, farther && p.raises:
			a.base = way
		case farther: // or a host was late: once more
			a.hold(false)
			a.probe = probe{drains: true, raises: true, last: now}
		}
	}
	return false
}

// probing reports whether it is time for the PING of a probe.
func (a *allowance) probing() bool {
	return a.rate > 0 && a.probe.measures && a.probe.size == 0
}

// rests reports whether nothing but the PING of a probe may be sent.
func (a *allowance) rests() bool { return a.rate > 0 && a.probe.drains || a.probing() }

// dry notes that all that was sent has arrived. A line that has taken less time for it
// than the rate says is faster.
func (a *allowance) dry(now time.Duration) {
	took, should := max(now-a.busy-a.base, lookSoon), a.free-a.busy-a.timeFor(a.seen.unsent)
	if faster := float64(should) / float64(took); should >= a.timeFor(segmentSize/2) && should > took+a.base/2+lookWait && faster > 1.05 {
		a.become(a.rate*min(4, max(0.9*faster, (1+faster)/2)), false)
		a.span = span{began: now, acked: a.seen.acked}
	}
	if a.rate > 0 {
		a.free, a.busy = min(a.free, now+a.timeFor(a.seen.unsent)), now
	}
}

// correct sets the rate after a span in which the line has lagged by so much at least:
// it should lag by target. What is written then keeps it busy. When it lags by far, it
// is as fast as what has arrived.
func (a *allowance) correct(lag, took time.Duration, arrived float64) {
	target := a.target()
	change := ((target-lag)/8 - (lag-a.lag)/2).Seconds()
	a.lag = lag
	rate := a.rate
	switch {
	case lag < -hostNoise: // a packet arrives as much sooner as the line is faster
		most := 0.1
		if a.fast > 0 {
			most = 0.3
		}
		rate /= 1 - min(most, -(lag+hostNoise).Seconds()*rate/float64(a.room()))
		rate = min(rate, max(a.rate, 1.4*arrived))
		a.fast, a.slow = a.fast+1, 0
	case lag > 2*target:
		a.fast, a.slow = 0, a.slow+1
		rate *= 1 + (change-lag.Seconds()/8)/took.Seconds()
		if lag > 8*target || a.slow > 2 { // what arrived in a single span may deceive
			rate = min(max(rate, 0.8*arrived), 1.1*arrived)
		}
	case lag < target/2: // it rests, for nobody knows how long
		a.fast, a.slow = 0, 0
		rate *= 1 + max(change/took.Seconds(), 0.01)
	default:
		a.fast, a.slow = 0, 0
		rate *= 1 + change/took.Seconds()
	}
	a.become(max(slowRate, rate), false)
}
