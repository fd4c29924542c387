package tunnel

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"vpnd/serial/serialtest"
)

// TestLineKeys types beside a flow that fills a line.
func TestLineKeys(t *testing.T) {
	for _, test := range []struct {
		rate, size int
		fill       float64
	}{
		{9600, 270, 0.84}, {33600, 270, 0.85}, {33600, 1500, 0.93}, {115200, 1400, 0.93},
	} {
		sim(t, fmt.Sprint(test.rate, " ", test.size), func(t *testing.T) {
			_, server, client := linkedLine(t, serialtest.Wire{Rate: test.rate}, func(c *Config) {
				c.Tuning.Compress, c.MTU = "off", max(296, test.size)
			})
			y := typing(t, client, server, test.rate, test.size, 1310*time.Millisecond)
			y.since(10 * time.Second)
			p95, longest, bits := y.since(3 * time.Minute)
			fill := float64(bits) * 10 / 8 / float64(test.rate)
			packet, key := lineTime(test.rate, test.size), lineTime(test.rate, keySize)
			t.Logf("%d bit/s: %v, at most %v; a packet takes %v; %.3f of the line", test.rate, p95, longest, packet, fill)
			// A packet that has begun, and what is below the sender.
			if most := packet + key + lineBacklog + 5*time.Millisecond; p95 > most || longest > 2*most {
				t.Errorf("95 of 100 keys take %v, want %v, the longest %v", p95, most, longest)
			}
			if fill < test.fill {
				t.Errorf("%.3f of the line is used, want %.2f", fill, test.fill)
			}
		})
	}
}

// lineTime is what a line takes for a frame with a packet of that size.
func lineTime(rate, size int) time.Duration {
	const overhead = lineHeader + 2 + 16 + 4
	return time.Duration(size+overhead) * 10 * time.Second / time.Duration(rate)
}

// TestSpeedLag has something pile up below this end while a host is late. It goes away, on
// a line that is as fast as its port.
func TestSpeedLag(t *testing.T) {
	for _, piled := range []time.Duration{60 * time.Millisecond, 110 * time.Millisecond, 200 * time.Millisecond} {
		t.Run(piled.String(), func(t *testing.T) {
			const way = 100 * time.Millisecond
			var s speed
			s.init(33600, false)
			now, waits := time.Hour, time.Duration(0)
			for n := range 12 {
				if n == 6 {
					waits += piled
				}
				s.asked(now)
				answer := now + 200*time.Millisecond
				s.answered(now, now+way+waits, answer)
				over := answer + s.pause() - now
				written := time.Duration(float64(over) * float64(s.set) / 33600)
				s.sent(s.bytesIn(over), over)
				waits = max(0, waits-(over-written))
				now += over
			}
			if waits > growth || s.found < 33600*9/10 {
				t.Errorf("%v wait after a while, and the line seems to have %d bit/s", waits, s.found)
			}
		})
	}
}

// TestSpeedByChance has a little more written than the line takes while this end wants to
// write less: that hardly anything waits makes the line no faster.
func TestSpeedByChance(t *testing.T) {
	const real = 14400
	for _, test := range []struct {
		set    int
		faster bool
	}{{real - 27, false}, {real + 27, true}} {
		var s speed
		s.init(115200, false)
		s.found, s.set = real, test.set
		now, over := time.Hour, 1600*time.Millisecond
		s.asked(now)
		s.answered(now, now+52*time.Millisecond, now+over/10)
		s.sent(int((real+34)*over.Seconds()/10), over)
		now += over
		s.asked(now)
		s.answered(now, now+55*time.Millisecond, now+over/10)
		if (s.found > real) != test.faster {
			t.Errorf("set to %d, the line seems to have %d bit/s", test.set, s.found)
		}
	}
}

// TestLineKeysOnTime changes keys on a line that loses nothing: no packet is taken for one
// that was held back.
func TestLineKeysOnTime(t *testing.T) {
	sim(t, "keyttl 20, maxdelay 30", func(t *testing.T) {
		_, server, client := linkedLine(t, serialtest.Wire{Rate: 115200}, func(c *Config) { c.KeyTTL, c.MaxDelay = 20*time.Second, 30*time.Second })
		for n := range uint32(2400) {
			client.device.in <- numbered(n)
			if got := await(t, server.device.out, "packet"); !bytes.Equal(got, numbered(n)) {
				t.Fatalf("packet %d is %x", n, got)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if s := server.Stats(); s.Link.Rekeys < 4 || s.DropsIn["too_old"] > 0 {
			t.Errorf("%d rekeys, drops %v", s.Link.Rekeys, s.DropsIn)
		}
	})
}
