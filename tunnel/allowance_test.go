package tunnel

import (
	"fmt"
	"testing"
	"time"
)

// TestThinLine types beside a flow that fills a slow line. Between the ends is a
// router that keeps all that it is given.
func TestThinLine(t *testing.T) {
	for _, test := range []struct {
		bits  int
		delay time.Duration
		time  time.Duration // that it is looked at
		most  time.Duration // that a key takes
		fill  float64
	}{
		{33_600, 20 * time.Millisecond, time.Minute, 600 * time.Millisecond, 0.91},
		{128_000, 50 * time.Millisecond, time.Minute, 250 * time.Millisecond, 0.93},
		{1_000_000, 20 * time.Millisecond, 30 * time.Second, 60 * time.Millisecond, 0.93},
		{1_000_000, 300 * time.Millisecond, time.Minute, 700 * time.Millisecond, 0.93},
		{20_000_000, 20 * time.Millisecond, 5 * time.Second, 60 * time.Millisecond, 0.9},
	} {
		sim(t, fmt.Sprint(test.bits, " bit/s, ", test.delay), func(t *testing.T) {
			c := testConfig(t)
			c.Tuning.Compress = "off"
			server, client := thinPair(t, c, test.bits, test.delay)
			y := typing(t, client, server, test.bits, 1500, 1310*time.Millisecond)
			first, _, _ := y.since(min(15*time.Second, test.time))
			p95, longest, bits := y.since(test.time)
			t.Logf("%v in the first 10 s, then %v, at most %v, %d bit/s", first, p95, longest, bits)
			if p95 > test.most || longest > 2*test.most {
				t.Errorf("95 of 100 keys take %v, the longest %v", p95, longest)
			}
			if fill := float64(bits) / float64(test.bits); fill < test.fill {
				t.Errorf("%.3f of the line is used", fill)
			}
		})
	}
}

// TestLineChanges types while the line becomes another one.
func TestLineChanges(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name         string
		bits, become int
		delay, then  time.Duration
		most         time.Duration
		fill         float64
	}{
		{"slower", 1_000_000, 100_000, 20 * ms, 20 * ms, 250 * ms, 0.9},
		{"faster", 100_000, 1_000_000, 20 * ms, 20 * ms, 70 * ms, 0.93},
		{"from fast to slow", 200_000_000, 1_000_000, 20 * ms, 20 * ms, 70 * ms, 0.93},
		{"longer", 1_000_000, 1_000_000, 20 * ms, 120 * ms, 200 * ms, 0.92},
	} {
		sim(t, test.name, func(t *testing.T) {
			c := testConfig(t)
			c.Tuning.Compress = "off"
			server, client := thinPair(t, c, test.bits, test.delay)
			y := typing(t, client, server, min(max(test.bits, test.become), 10_000_000), 1500, 310*ms)
			time.Sleep(10 * time.Second)
			client.way().become(test.become, test.then)
			server.way().become(test.become, test.then)
			time.Sleep(40 * time.Second)
			p95, longest, bits := y.since(30 * time.Second)
			t.Logf("%v, at most %v, %d bit/s", p95, longest, bits)
			if fill := float64(bits) / float64(test.become); p95 > test.most || fill < test.fill {
				t.Errorf("95 of 100 keys take %v, %.3f of the line is used", p95, fill)
			}
		})
	}
}

// TestLongLine sees that a line which is long and fast is not held back.
func TestLongLine(t *testing.T) {
	sim(t, "1 Gbit/s, 100 ms", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress = "off"
		server, client := thinPair(t, c, 1_000_000_000, 50*time.Millisecond)
		y := typing(t, client, server, 30_000_000, 1500, time.Second)
		y.since(3 * time.Second)
		if s := client.point.link.Load(); !s.send.allow.open.Load() {
			t.Errorf("held back to %.0f bytes a second", s.send.allow.rate)
		}
	})
}

// TestCongestionIsNotDeath fills a thin line in both directions for an hour, with tight
// keepalives.
func TestCongestionIsNotDeath(t *testing.T) {
	sim(t, "an hour", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress, c.Tuning.Keepalive, c.Tuning.NoAnswer = "off", 5*time.Second, 3
		const bits = 33_600
		server, client := thinPair(t, c, bits, 20*time.Millisecond)
		there := typing(t, client, server, bits, 1500, time.Minute)
		back := typing(t, server, client, bits, 1500, time.Minute)
		time.Sleep(time.Hour)
		for _, e := range []*end{server, client} {
			if n := e.Stats().Links; n != 1 {
				t.Errorf("the link came up %d times", n)
			}
		}
		for name, y := range map[string]*typist{"there": there, "back": back} {
			_, bulk := y.seen()
			if fill := float64(bulk) * 8 / 3600 / bits; fill < 0.9 {
				t.Errorf("%s: %.3f of the line is used", name, fill)
			}
		}
	})
}

// TestFirstPackets sees that what a slow line carries first shrinks by a slow method, though
// nobody has filled it.
func TestFirstPackets(t *testing.T) {
	request := "GET /style.css HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
		"Accept-Language: en\r\nAccept-Encoding: gzip\r\n\r\n"
	for _, test := range []struct {
		bits    int
		shrinks bool
	}{
		{33_600, true},
		{1_000_000_000, false},
	} {
		sim(t, fmt.Sprint(test.bits, " bit/s"), func(t *testing.T) {
			c := testConfig(t)
			c.Tuning.Compress = "auto"
			server, client := thinPair(t, c, test.bits, 20*time.Millisecond)
			p := udp(28+len(request), 1)
			copy(p[28:], request)
			client.device.in <- p
			server.device.take(t)
			if packed := client.count.packedOut.Load(); packed < uint64(len(p)*2/3) != test.shrinks {
				t.Errorf("%d bytes became %d", len(p), packed)
			}
		})
	}
}
