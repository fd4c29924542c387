package tunnel

import "time"

// strainEvery is how often a peer at the end of a slow line is asked whether it keeps up.
const strainEvery = 5 * time.Second

// strain asks the peer now and then whether it keeps up, while packets are sent.
func (w *sender) strain() error {
	now := w.t.config.Now()
	if w.allow.rate == 0 || now-w.asked < strainEvery {
		return nil
	}
	w.asked = now
	return w.ping()
}

// ponged sees whether the peer keeps up with what it has to expand: if not, that waits
// there, and PINGs with it, while the connection reports that all has arrived.
func (w *sender) ponged(took time.Duration) {
	if !w.allow.behind(took) {
		w.late = 0
		return
	}
	if w.late++; w.late > 1 && w.encoder != nil {
		w.encoder.Strained()
		w.late = 0
	}
}

// behind reports whether a question that was answered after so long has waited for more
// than the line.
func (a *allowance) behind(took time.Duration) bool {
	const patience = 500 * time.Millisecond
	return a.rate > 0 && !a.seen.losing && took > a.seen.rtt+patience+a.timeFor(4*segmentSize)
}
