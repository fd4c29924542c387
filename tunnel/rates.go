package tunnel

import (
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// rates bounds how many bytes a peer may send, and be sent, in a second. The zero
// rates bounds nothing.
type rates struct{ in, out bound }

// bound is a limit of one direction. What exceeds it is not refused, but has to be
// waited for.
type bound struct{ limiter atomic.Pointer[rate.Limiter] }

// set changes the limit of both directions; 0 is none.
func (r *rates) set(bytes int) {
	r.in.set(bytes)
	r.out.set(bytes)
}

func (b *bound) set(bytes int) {
	switch l := b.limiter.Load(); {
	case bytes == 0:
		b.limiter.Store(nil)
	case l == nil:
		b.limiter.Store(rate.NewLimiter(rate.Limit(bytes), maxBurst))
	case l.Limit() != rate.Limit(bytes):
		l.SetLimit(rate.Limit(bytes))
	}
}

// maxBurst is how much may pass at once: what is written at once, and its tail.
const maxBurst = 4 * writeSize

// spend counts bytes that have passed, and returns how long to wait before the next.
func (b *bound) spend(n int) time.Duration {
	l := b.limiter.Load()
	if l == nil {
		return 0
	}
	return l.ReserveN(time.Now(), min(n, maxBurst)).Delay()
}

// longest returns the longest frame that somebody with packets of mtu bytes may send,
// whose terms allow most: while it is waited for its turn nothing else is read, so that
// takes a second, or one packet.
func (b *bound) longest(mtu, most int) int {
	l := b.limiter.Load()
	if l == nil {
		return most
	}
	return min(most, max(mtu+batchOverhead, int(l.Limit())))
}

// most returns how many bytes may pass in a second, 0 for any number.
func (b *bound) most() uint32 {
	l := b.limiter.Load()
	if l == nil {
		return 0
	}
	return uint32(min(l.Limit(), math.MaxUint32))
}

// limits reports whether there is a limit.
func (b *bound) limits() bool { return b.limiter.Load() != nil }
