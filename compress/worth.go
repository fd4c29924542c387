package compress

import "time"

// worth decides by which method it is worth the time to compress, if by any: on a line
// that is faster than the compressor it is not. Everything is measured while blocks go
// by.
type worth struct {
	now   func() time.Duration
	spent time.Duration // compressing, since carried was called
	cost  [methods]float64
	left  [methods]float64 // part of the bytes that is left
	wire  float64          // ns to get a byte away; 0: not known
	skip  int              // blocks to leave out before the next try
	last  Method           // chosen
	unfit int              // blocks since a slow method became too slow
}

const (
	// peerToo is how much time both ends spend on a block, as a multiple of what this
	// end takes to compress it.
	peerToo = 1.5
	// seldom is how many blocks are left out between two tries while it does not pay.
	seldom = 128
	// inertia is how many measurements a figure is made of.
	inertia = 8
	// credit is how much longer the present method may take.
	credit = 1.5
	// forgive is after how many blocks a slow method that took too long is tried again:
	// the host may have been busy.
	forgive = 1024
	// strains is how many times longer that takes when the other end was too slow.
	strains = 16
)

// firstCosts is what is taken for costs at first, in ns for a byte: guesses, since nothing
// but a try tells. So is usual, which part of text is left.
var (
	firstCosts = [methods]float64{Deflate: 200, Model: 700}
	usual      = [methods]float64{S2: 0.5, Deflate: 0.25, Model: 0.17}
)

func newWorth() *worth {
	began := time.Now()
	return &worth{now: func() time.Duration { return time.Since(began) }, cost: firstCosts, last: S2}
}

// method returns the slowest method that the line leaves time for: which is done with a
// block while the line carries what it makes of one. A line that nobody has filled yet may
// be fast. To change costs a history, so the present method has credit.
func (w *worth) method(common Set) Method {
	for _, m := range []Method{Model, Deflate} {
		if !common.Has(m) {
			continue
		}
		pays := w.leaves(m) * w.wire
		if w.last == m {
			pays *= credit
		}
		if w.cost[m]*peerToo <= pays {
			w.last = m
			return m
		}
		if w.cost[m] > firstCosts[m] {
			if w.unfit++; w.unfit >= forgive {
				w.unfit, w.cost[m] = 0, firstCosts[m]
			}
		}
	}
	w.last = S2
	return S2
}

// leaves guesses which part of what comes m would leave.
func (w *worth) leaves(m Method) float64 {
	if w.left[w.last] == 0 {
		return usual[m]
	}
	return min(1, w.left[w.last]*usual[m]/usual[w.last])
}

// strained says that the other end cannot keep up: it may be slower than this one.
func (w *worth) strained() {
	if m := w.last; firstCosts[m] > 0 {
		w.cost[m] = max(w.cost[m], firstCosts[m], w.leaves(m)*w.wire) * 2 * credit
		w.unfit = -strains * forgive
	}
}

// due reports whether a block of n bytes is to be compressed by S2. Small ones cost
// little, and a line that nobody has filled yet may be slow.
func (w *worth) due(n int) bool {
	if n < small || w.wire == 0 || w.cost[S2]*peerToo <= (1-w.left[S2])*w.wire {
		return true
	}
	if w.skip > 0 {
		w.skip--
		return false
	}
	w.skip = seldom
	return true
}

// compressed notes that n bytes took so long by m and became so many.
func (w *worth) compressed(m Method, n, became int, took time.Duration) {
	w.spent += took
	if n < small && m == S2 || n < 64 {
		return
	}
	w.costs(m, float64(took)/float64(n))
	average(&w.left[m], min(1, float64(became)/float64(n)))
}

// costs notes what a byte took. Blocks are seldom tried while it does not pay, so one
// that another process interrupted must not count for long.
func (w *worth) costs(m Method, now float64) {
	cost := &w.cost[m]
	if now < *cost {
		*cost += (now - *cost) / 2
		return
	}
	if *cost != 0 {
		now = min(now, 1.25**cost)
	}
	average(cost, now)
}

// carried notes how long it took to compress and to get away what became n bytes.
func (w *worth) carried(n int, took time.Duration) {
	if n > 0 {
		average(&w.wire, float64(max(0, took-w.spent))/float64(n))
	}
	w.spent = 0
}

func average(figure *float64, now float64) {
	if *figure == 0 {
		*figure = now
	}
	*figure += (now - *figure) / inertia
}
