package tunnel

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestMeshTumult lets everything happen to four gateways at once: tables that change,
// ways that close, connections that break or die, starts of packthread. Afterwards they
// have their links, each pair the same one, and nothing is left over.
func TestMeshTumult(t *testing.T) {
	sim(t, "four gateways", func(t *testing.T) {
		const n = 4
		w := newMesh(t, n)
		all := []int{1, 2, 3, 4}
		others := func(i int) []int { return slices.DeleteFunc(slices.Clone(all), func(m int) bool { return m == i }) }
		for _, i := range all {
			w.start(i, others(i)...)
		}
		calm := func() {
			for _, i := range all {
				for _, m := range others(i) {
					w.forbid(i, m, false)
				}
			}
			time.Sleep(3 * time.Minute)
			for _, i := range all {
				for _, m := range others(i) {
					w.settled(i, m, 0)
				}
				if got := w.gateway(i).hub.outer.Load().Size(); got != n {
					t.Errorf("gateway%d: %d outer addresses", i, got)
				}
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		calm()
		before := runtime.NumGoroutine()
		w.tumult(20*time.Second, func(again func(time.Duration, func())) {
			for _, i := range all {
				e := w.gateway(i)
				again(730*time.Millisecond, func() {
					some := others(i)
					rand.Shuffle(len(some), func(a, b int) { some[a], some[b] = some[b], some[a] })
					w.know(i, some[:rand.IntN(n)]...)
					time.Sleep(17 * time.Millisecond)
					w.know(i, others(i)...)
				})
				again(310*time.Millisecond, e.Redial)
				again(50*time.Millisecond, func() { e.Stats() })
				again(450*time.Millisecond, e.breakOne)
				again(900*time.Millisecond, func() { w.forbid(i, 1+rand.IntN(n), rand.IntN(2) == 0) })
			}
		})
		calm()
		noMore(t, before)
	})
}

// tumult does things again and again, side by side, for a time.
func (w *meshWorld) tumult(d time.Duration, begin func(again func(every time.Duration, do func()))) {
	end := time.Now().Add(d)
	var running sync.WaitGroup
	begin(func(every time.Duration, do func()) {
		running.Go(func() {
			for time.Now().Before(end) {
				time.Sleep(every)
				do()
			}
		})
	})
	running.Wait()
}

// breakOne breaks one of the last connections that came, or lets nothing pass any more.
func (e *meshEnd) breakOne() {
	e.road.mu.Lock()
	last := slices.Clone(e.road.pipes[max(0, len(e.road.pipes)-4):])
	e.road.mu.Unlock()
	if len(last) == 0 {
		return
	}
	p := last[rand.IntN(len(last))]
	if rand.IntN(2) == 0 {
		p.reset()
	} else {
		p.cut()
	}
}
