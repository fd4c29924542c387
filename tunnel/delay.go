package tunnel

import "time"

const (
	// timeInterval is how often a sender stamps the packets it sends at most: one
	// that comes without a stamp is no younger than this than the last stamp.
	timeInterval = 250 * time.Millisecond
	// drift is how far two clocks may run apart: more than NTP ever slews.
	drift = 500e-6
	// delayFactor times the limit ends the link.
	delayFactor = 3
)

// delay finds data that was held back on the way. The clocks of the two ends are
// not compared: what counts is how much longer than the fastest stamp of the
// session a stamp took.
type delay struct {
	limit   time.Duration // 0: nothing is checked
	started bool
	missed  bool          // a stamp may be lost: nobody knows how old is what comes now
	fastest time.Duration // smallest difference of the clocks
	at      time.Duration // when that was looked at
	last    time.Duration // the peer's clock in the last stamp
}

// stamp takes the peer's clock.
func (d *delay) stamp(sent, now time.Duration) error {
	if d.limit == 0 {
		return nil
	}
	if !d.started {
		d.started, d.fastest, d.at = true, now-sent, now
	}
	if sent < d.last {
		return protocolError("the peer's clock goes backwards")
	}
	d.fastest = min(d.fastest+time.Duration(drift*float64(now-d.at)), now-sent)
	d.at, d.last, d.missed = now, sent, false
	if d.excess(now) > delayFactor*d.limit {
		return errDelayed
	}
	return nil
}

// late reports whether packets that come now were held back longer than the
// limit, and errDelayed when it was so long that the link must end.
func (d *delay) late(clock func() time.Duration) (bool, error) {
	if d.limit == 0 {
		return false, nil
	}
	if d.missed {
		return true, nil
	}
	if !d.started {
		return false, protocolError("packets before the first time stamp")
	}
	switch e := d.excess(clock()) - timeInterval; {
	case e > delayFactor*d.limit:
		return true, errDelayed
	case e > d.limit:
		return true, nil
	}
	return false, nil
}

func (d *delay) excess(now time.Duration) time.Duration { return now - d.last - d.fastest }
