package compress

// The limits of a backoff.
const (
	patience  = 4       // failures before blocks are left out
	maxDouble = 6       // then one in 2, 4 ... 64 blocks is tried
	small     = 1 << 10 // blocks below cost little to try and say little
)

// backoff decides which blocks are worth a try: after some failures in a row
// fewer and fewer, after a success all of them. Small blocks are always tried
// and never counted, so that a stream of acknowledgements does not keep the
// data between them from being compressed.
type backoff struct {
	failures uint8 // in a row, at most patience+maxDouble
	skip     uint8 // blocks to leave out before the next try
}

// due reports whether a block of n bytes is to be tried.
func (b *backoff) due(n int) bool {
	if n < small || b.skip == 0 {
		return true
	}
	b.skip--
	return false
}

// note says whether the try of a block of n bytes paid.
func (b *backoff) note(n int, pays bool) {
	switch {
	case n < small:
	case pays:
		*b = backoff{}
	default:
		b.failures = min(b.failures+1, patience+maxDouble)
		if b.failures > patience {
			b.skip = 1<<(b.failures-patience) - 1
		}
	}
}
