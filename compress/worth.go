package compress

import "time"

// worth decides whether it is worth the time to compress: on a line that is faster
// than the compressor it is not. Everything is measured while blocks go by.
type worth struct {
	now   func() time.Duration
	spent time.Duration // compressing, since carried was called
	cost  float64       // ns to compress a byte
	left  float64       // part of the bytes that is left then
	wire  float64       // ns to get a byte away; 0: not known
	skip  int           // blocks to leave out before the next try
}

const (
	// peerToo is how much time both ends spend on a block, as a multiple of what this
	// end takes to compress it.
	peerToo = 1.5
	// seldom is how many blocks are left out between two tries while it does not pay.
	seldom = 128
	// inertia is how many measurements a figure is made of.
	inertia = 8
)

func newWorth() *worth {
	began := time.Now()
	return &worth{now: func() time.Duration { return time.Since(began) }}
}

// due reports whether a block of n bytes is to be compressed. Small ones cost
// little, and a line that nobody has filled yet may be slow.
func (w *worth) due(n int) bool {
	if n < small || w.wire == 0 || w.cost*peerToo <= (1-w.left)*w.wire {
		return true
	}
	if w.skip > 0 {
		w.skip--
		return false
	}
	w.skip = seldom
	return true
}

// compressed notes that n bytes took so long and became so many.
func (w *worth) compressed(n, became int, took time.Duration) {
	w.spent += took
	if n >= small {
		w.costs(float64(took) / float64(n))
		average(&w.left, min(1, float64(became)/float64(n)))
	}
}

// costs notes what a byte took. Blocks are seldom tried while it does not pay, so one
// that another process interrupted must not count for long.
func (w *worth) costs(now float64) {
	if now < w.cost {
		w.cost += (now - w.cost) / 2
		return
	}
	if w.cost != 0 {
		now = min(now, 2*w.cost)
	}
	average(&w.cost, now)
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
