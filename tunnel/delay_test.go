package tunnel

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestDelay lets stamps and packets come at given times, the receiver's clock,
// in seconds. The peer's clock is 1000 s behind.
func TestDelay(t *testing.T) {
	const (
		fine = iota
		late
		end   // the link ends
		wrong // the peer does what it should not
	)
	type event struct {
		sent float64 // a stamp; 0: packets
		at   float64
		want int
	}
	for _, test := range []struct {
		name   string
		limit  time.Duration
		events []event
	}{
		{"off", 0, []event{{0, 1, fine}, {50, 2000, fine}, {40, 2000, fine}, {0, 99999, fine}}},
		{"no stamp first", 30 * time.Second, []event{{0, 1, wrong}}},
		{"prompt", 30 * time.Second, []event{{1, 1, fine}, {0, 1, fine}, {0, 1.25, fine}, {2, 2, fine}, {0, 2, fine}}},
		{"29 s", 30 * time.Second, []event{{1, 1, fine}, {100, 129, fine}, {0, 129, fine}}},
		{"just 30 s", 30 * time.Second, []event{{1, 1, fine}, {100, 130, fine}, {0, 130, fine}, {0, 130.25, fine}}},
		{"31 s", 30 * time.Second, []event{{1, 1, fine}, {100, 131, fine}, {0, 131, late}, {0, 140, late}}},
		{"31 s without a new stamp", 30 * time.Second, []event{{1, 1, fine}, {0, 1, fine}, {0, 32, late}}},
		{"31 s, then in time again", 30 * time.Second, []event{{1, 1, fine}, {100, 131, fine}, {0, 131, late}, {132, 132, fine}, {0, 132, fine}}},
		{"89 s", 30 * time.Second, []event{{1, 1, fine}, {100, 189, fine}, {0, 189, late}}},
		{"95 s", 30 * time.Second, []event{{1, 1, fine}, {100, 195, end}}},
		{"95 s without a new stamp", 30 * time.Second, []event{{1, 1, fine}, {0, 96, end}}},
		{"the first was slow", 30 * time.Second, []event{{1, 26, fine}, {0, 26, fine}, {100, 100, fine}, {0, 100, fine}, {200, 229, fine}, {0, 229, fine}, {300, 332, fine}, {0, 332, late}}},
		{"clock goes backwards", 30 * time.Second, []event{{100, 100, fine}, {99.999, 101, wrong}}},
		{"clock stands", 30 * time.Second, []event{{100, 100, fine}, {100, 100, fine}, {0, 100, fine}}},
		// Two clocks that NTP slews apart: 500 ppm make 43 s a day.
		{"fast clock", 30 * time.Second, []event{{1, 1, fine}, {86400 * 1.0005, 86400, fine}, {0, 86400, fine}, {86400*1.0005 + 100, 86500 + 31, fine}, {0, 86531, late}}},
		{"slow clock", 30 * time.Second, []event{{1, 1, fine}, {86400 * 0.9995, 86400, fine}, {0, 86400, fine}}},
		{"slower than that", 30 * time.Second, []event{{1, 1, fine}, {86400 * 0.998, 86400, end}}},
		{"far future", 30 * time.Second, []event{{1, 1, fine}, {9e9, 2, fine}, {0, 2, fine}, {0, 33, late}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := delay{limit: test.limit}
			at := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
			for i, e := range test.events {
				now := at(e.at) + 1000*time.Second
				var tooLate bool
				var err error
				if e.sent != 0 {
					err = d.stamp(at(e.sent), now)
				} else {
					tooLate, err = d.late(func() time.Duration { return now })
				}
				got := fine
				switch {
				case errors.Is(err, errDelayed):
					got = end
				case err != nil:
					got = wrong
				case tooLate:
					got = late
				}
				if got != e.want {
					t.Errorf("event %d: %d (%v), want %d", i, got, err, e.want)
				}
			}
		})
	}
}

// FuzzDelay feeds stamps, seconds after the one before here and there, and then
// packets. What the peer's clock shows does not matter, only how it goes on; and
// what comes later is not less late.
func FuzzDelay(f *testing.F) {
	f.Add([]byte{}, uint64(0), uint16(0))
	f.Add([]byte{0, 0, 0, 0, 1, 1, 31, 1}, uint64(1<<40), uint16(1000))
	f.Add([]byte{9, 9, 99, 98, 2, 120, 1, 1}, uint64(1<<62), uint16(60000))
	f.Add([]byte{9, 9, 1, 31}, uint64(1<<63), uint16(1))
	f.Fuzz(func(t *testing.T, events []byte, offset uint64, held uint16) {
		const fine, late, ends = 0, 1, 2
		outcome := func(ahead, later time.Duration) int {
			d := delay{limit: 30 * time.Second}
			now, sent := time.Hour, time.Hour+ahead
			for i := 0; i+1 < len(events); i += 2 {
				sent += time.Duration(events[i]) * time.Second
				now += time.Duration(events[i+1]) * time.Second
				if i+3 >= len(events) {
					now += later
				}
				if d.stamp(sent, now) != nil {
					return ends
				}
			}
			switch tooLate, err := d.late(func() time.Duration { return now }); {
			case err != nil:
				return ends
			case tooLate:
				return late
			}
			return fine
		}
		want, ahead := outcome(0, 0), time.Duration(offset>>2)
		if got := outcome(ahead, 0); got != want {
			t.Errorf("%d with the peer's clock %v ahead, %d without", got, ahead, want)
		}
		later := time.Duration(held) * time.Millisecond
		if got := outcome(0, later); len(events) > 3 && got < want {
			t.Errorf("%d when held back for %v, %d when not", got, later, want)
		}
	})
}

// TestHeldBack holds the frames of a link back, with maxdelay 30.
func TestHeldBack(t *testing.T) {
	for _, test := range []struct {
		held   time.Duration
		tooOld uint64
		ends   bool
	}{
		{29 * time.Second, 0, false},
		{31 * time.Second, 2, false},
		{95 * time.Second, 0, true},
	} {
		for _, to := range []string{"server", "client"} {
			sim(t, fmt.Sprint(test.held, " to the ", to), func(t *testing.T) {
				c := testConfig(t)
				c.MaxDelay = 30 * time.Second
				server, client, r := simPair(t, c, c)
				from, to, way := map[string]*end{"server": client, "client": server}[to], server, r.pipe(0).server
				if from == server {
					to, way = client, r.pipe(0).client
				}
				passes(t, server, client)
				time.Sleep(time.Second)
				way.hold(true)
				from.device.in <- udp(60, 1)
				from.device.in <- udp(60, 2)
				time.Sleep(test.held)
				r.become(roadRefused)
				way.hold(false)
				synctest.Wait()
				s := to.Stats()
				if s.DropsIn["too_old"] != test.tooOld {
					t.Errorf("%d packets were too old, want %d", s.DropsIn["too_old"], test.tooOld)
				}
				if (s.State == "down") != test.ends {
					t.Errorf("state is %q", s.State)
				}
				if !test.ends {
					if n := len(to.device.out); uint64(n) != 2-test.tooOld {
						t.Errorf("%d packets were written", n)
					}
					for len(to.device.out) > 0 {
						to.device.take(t)
					}
					time.Sleep(time.Second)
					passes(t, server, client)
					conserved(t, to)
					return
				}
				if n := len(to.device.out); n != 0 {
					t.Errorf("%d packets were written", n)
				}
				if err := await(t, to.down, "end of the link"); err != errDelayed {
					t.Errorf("cause is %v", err)
				}
				if err := await(t, from.down, "end of the link"); err.Error() != "peer closed the link: data held back longer than maxdelay" {
					t.Errorf("cause at the other end is %v", err)
				}
			})
		}
	}
}

// TestStamps sees when an end stamps what it sends: only for a peer that checks,
// ahead of packets, and not more often than needed.
func TestStamps(t *testing.T) {
	for name, test := range map[string]struct {
		maxDelay time.Duration
		want     []uint8
	}{
		"checked":     {30 * time.Second, []uint8{frameTime, frameBatch, frameBatch, frameTime, frameBatch}},
		"not checked": {0, []uint8{frameBatch, frameBatch, frameBatch}},
	} {
		sim(t, name, func(t *testing.T) {
			cs, cc := testConfig(t), testConfig(t)
			cc.MaxDelay = test.maxDelay
			e, r := simServer(t, cs)
			p := puppetCaller(t, r.caller(t), cc).confirmed(e)
			p.expect(framePing)
			for _, pause := range []time.Duration{0, timeInterval - 1, 1} {
				time.Sleep(pause)
				e.device.in <- udp(60, 1)
				synctest.Wait()
			}
			for i, want := range test.want {
				if a, err := p.next(); err != nil || a.kind != want {
					t.Errorf("frame %d is of type %d, want %d", i, a.kind, want)
				}
			}
			p.drain()
		})
	}
}
