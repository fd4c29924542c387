package tunnel

import (
	"testing"
	"time"
)

// fakeMeter tells what a test says.
type fakeMeter struct{ gauge }

func (m *fakeMeter) measure() (gauge, bool) { return m.gauge, true }
func (m *fakeMeter) hold(bool)              {}
func (m *fakeMeter) retry(time.Duration)    {}

// TestProbe has the way become longer, and the rate be wrong at the same time: probes find
// the way anyway, one of them if the line lagged, else two, since a host may be late once.
func TestProbe(t *testing.T) {
	for name, rounds := range map[string]int{"the line lagged": 1, "nobody has seen it": 2} {
		sim(t, name, func(t *testing.T) {
			const before, way, frame = 40 * time.Millisecond, 240 * time.Millisecond, 31
			m := &fakeMeter{}
			a := allowance{meter: m, began: time.Now(), told: func(int) {}, rate: 25_000, base: before}
			a.probe = probe{drains: true, raises: rounds == 1}
			for range rounds {
				if a.base != before {
					t.Fatalf("the way seems to take %v too early", a.base)
				}
				m.pending = 1448
				if wait := a.wait(); wait != lookSoon || a.probing() {
					t.Fatalf("waits for %v, probing %v, while something is under way", wait, a.probing())
				}
				m.pending = 0
				if wait := a.wait(); wait != 0 || !a.probing() {
					t.Fatalf("waits for %v, probing %v, when nothing is", wait, a.probing())
				}
				a.sent(frame)
				m.pending = frame
				if a.wait(); a.probing() || a.base != before {
					t.Fatalf("probing %v, the way seems to take %v, while the PING is", a.probing(), a.base)
				}
				time.Sleep(way)
				m.pending, m.acked = 0, m.acked+frame
				a.wait()
			}
			if a.base > way || a.base < way-hostNoise {
				t.Errorf("the way seems to take %v, it takes %v", a.base, way)
			}
		})
	}
}
