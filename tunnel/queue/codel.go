package queue

import (
	"encoding/binary"
	"math"
	"time"
)

// codel decides which packets of a flow are marked or dropped because they waited too
// long (RFC 8289): when even the shortest wait of an interval is above the target,
// one packet, and the next ones sooner and sooner.
type codel struct {
	above    time.Duration // when the wait will have been above target for an interval; 0: it is not
	next     time.Duration // when to drop the next packet
	count    uint32        // drops since dropping began
	last     uint32        // count when it began
	dropping bool
}

// patience is how long packets may wait.
type patience struct{ target, interval, most time.Duration }

const (
	// The defaults of RFC 8289.
	codelTarget   = 5 * time.Millisecond
	codelInterval = 100 * time.Millisecond
	// slowTarget is for lines on which a packet takes long. What shrinks makes them faster and
	// slower all the time, and a flow that waits for nobody but itself had better not run dry.
	slowTarget = 50 * time.Millisecond
	// tooOld is after what time a packet makes way for those behind it: the line stood
	// still, and its sender has sent it again.
	tooOld = 2 * time.Second
)

// patienceFor returns what is right on a line that takes a packet of full size in
// the given time: below that no queue can be empty.
func patienceFor(packet time.Duration) patience {
	target := max(codelTarget, packet*3/2, min(4*packet, slowTarget))
	interval := max(codelInterval, 2*target)
	return patience{target, interval, max(tooOld, 4*interval)}
}

// bad reports whether a packet has waited too long, for too long a time. A flow that
// has no other packets does not wait for itself.
func (c *codel) bad(now, waited time.Duration, alone bool, p patience) bool {
	switch {
	case waited < p.target || alone:
		c.above = 0
		return false
	case c.above == 0:
		c.above = now + p.interval
		return false
	}
	return now >= c.above
}

// drop reports whether the packet at the head is to be dropped. It is asked again
// for the one behind it.
func (c *codel) drop(now, waited time.Duration, alone bool, p patience) bool {
	switch {
	case !c.bad(now, waited, alone, p):
		c.dropping = false
		return false
	case !c.dropping:
		c.dropping = true
		// What was the right rate a short while ago is a good beginning.
		if since := c.count - c.last; since > 1 && now-c.next < 16*p.interval {
			c.count = since
		} else {
			c.count = 1
		}
		c.last = c.count
		c.next = now + p.after(c.count)
		return true
	case now >= c.next:
		c.count++
		c.next += p.after(c.count)
		return true
	}
	return false
}

// after is the distance of the next drop.
func (p patience) after(count uint32) time.Duration {
	return time.Duration(float64(p.interval) / math.Sqrt(float64(count)))
}

// mark sets Congestion Experienced in a packet whose sender understands that (RFC
// 3168), and reports whether it did.
func mark(p []byte) bool {
	const ce = 3
	switch {
	case len(p) >= 40 && p[0]>>4 == 6:
		if p[1]>>4&ce == 0 {
			return false
		}
		p[1] |= ce << 4
		return true
	case len(p) >= 20 && p[0]>>4 == 4:
		was := p[1]
		if was&ce == 0 {
			return false
		}
		p[1] |= ce
		// The checksum of the header, without the rest of it (RFC 1624).
		sum := uint32(^binary.BigEndian.Uint16(p[10:])) + uint32(^uint16(was)) + uint32(p[1])
		sum = sum>>16 + sum&0xffff
		sum = sum>>16 + sum&0xffff
		binary.BigEndian.PutUint16(p[10:], ^uint16(sum))
		return true
	}
	return false
}
