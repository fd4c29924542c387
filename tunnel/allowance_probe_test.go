package tunnel

import (
	"testing"
	"testing/synctest"
	"time"
)

// fakeMeter tells what a test says.
type fakeMeter struct {
	gauge
	patience int           // how often it was asked for
	most     time.Duration // of its waits
}

func (m *fakeMeter) measure() (gauge, bool) { return m.gauge, true }
func (m *fakeMeter) hold(bool)              {}
func (m *fakeMeter) retry(t time.Duration)  { m.most = t }
func (m *fakeMeter) patient()               { m.patience++ }

// TestProbe has the way become longer, and the rate be wrong at the same time: probes find
// the way anyway, one of them if the line lagged, else two, since a host may be late once.
func TestProbe(t *testing.T) {
	for name, rounds := range map[string]int{"the line lagged": 1, "nobody has seen it": 2} {
		sim(t, name, func(t *testing.T) {
			const before, way, frame = 40 * time.Millisecond, 240 * time.Millisecond, 31
			m := &fakeMeter{}
			a := allowance{meter: m, began: time.Now(), told: func(int) {}, rate: 25_000, base: before}
			a.probe = probe{drains: true, raises: rounds == 1}
			for round := range rounds {
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
				if a.sent(frame); m.patience != round+1 {
					t.Errorf("%d of %d writes offer to acknowledge what comes", m.patience, round+1)
				}
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

// TestBehindProbe has a packet wait for the PING of a probe, and nothing else that would wake
// who sends.
func TestBehindProbe(t *testing.T) {
	sim(t, "a packet", func(t *testing.T) {
		c := testConfig(t)
		server, client, _ := simPair(t, c, c)
		synctest.Wait()
		s := client.point.link.Load()
		s.send.mu.Lock()
		a := &s.send.allow
		a.meter, a.rate, a.base, a.probe = &fakeMeter{}, 4000, 40*time.Millisecond, probe{measures: true}
		a.open.Store(false)
		s.send.mu.Unlock()
		client.count.insideIn.Add(1)
		s.queue.Push(client.copied(udp(100, 1)))
		if _, err := s.send.turn(); err != nil || a.probing() {
			t.Fatalf("%v, the PING is sent: %v", err, !a.probing())
		}
		arrives(t, server, udp(100, 1))
	})
}
