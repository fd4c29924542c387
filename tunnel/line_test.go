package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vpnd/serial/serialtest"
	"vpnd/tunnel/frame"
)

// overLine starts both ends of a link over a simulated line.
func overLine(t *testing.T, wire serialtest.Wire, change func(c *Config)) (line *serialtest.Line, server, client *end) {
	t.Helper()
	line = serialtest.New(wire, 1)
	server = start(t, lineConfig(t, line.A, wire, true, change))
	client = start(t, lineConfig(t, line.B, wire, false, change))
	t.Cleanup(func() {
		server.stop(t)
		client.stop(t)
		line.Close()
	})
	return line, server, client
}

// linkedLine is overLine when the link is up.
func linkedLine(t *testing.T, wire serialtest.Wire, change func(c *Config)) (line *serialtest.Line, server, client *end) {
	t.Helper()
	line, server, client = overLine(t, wire, change)
	await(t, server.up, "link of the server")
	await(t, client.up, "link of the client")
	return line, server, client
}

func lineConfig(t *testing.T, e *serialtest.End, wire serialtest.Wire, answers bool, change func(c *Config)) Config {
	c := testConfig(t)
	c.Tuning.Compress = "deflate" // as good for what is tested, and much faster than what auto takes on such lines
	speed := wire.Rate
	if speed == 0 {
		speed = 3000000
	}
	c.Line = &Line{
		Open:    func(context.Context) (Port, error) { return e.Open(), nil },
		Name:    "/dev/ttyS0",
		Speed:   speed,
		Answers: answers,
	}
	if change != nil {
		change(&c)
	}
	return c
}

func TestLineUp(t *testing.T) {
	for _, rate := range []int{300, 9600, 115200, 3000000} {
		sim(t, fmt.Sprint(rate), func(t *testing.T) {
			wire := serialtest.Wire{Rate: rate}
			began := time.Now()
			_, server, client := linkedLine(t, wire, nil)
			t.Logf("%d bit/s: up after %v", rate, time.Since(began))
			for n := range 20 {
				p := udp(40+n, byte(n))
				client.device.in <- p
				if got := await(t, server.device.out, "packet"); !bytes.Equal(got, p) {
					t.Fatalf("packet is %x", got)
				}
				server.device.in <- p
				if got := await(t, client.device.out, "packet"); !bytes.Equal(got, p) {
					t.Fatalf("packet is %x", got)
				}
			}
			if s, c := server.Stats(), client.Stats(); s.Damaged != 0 || c.Damaged != 0 {
				t.Errorf("damaged frames: %d and %d", s.Damaged, c.Damaged)
			}
		})
	}
}

// TestLineThroughput fills the line with packets that do not compress.
func TestLineThroughput(t *testing.T) {
	for _, test := range []struct {
		rate, size int
		want       float64
	}{
		{9600, 1500, 0.95}, {33600, 1500, 0.95}, {115200, 1500, 0.95}, {3000000, 1500, 0.95},
		{9600, 296, 0.90}, {33600, 296, 0.90}, {115200, 296, 0.90}, {3000000, 296, 0.90},
	} {
		sim(t, fmt.Sprint(test.rate, " ", test.size), func(t *testing.T) {
			wire := serialtest.Wire{Rate: test.rate}
			var gauges []*heldGauge
			_, server, client := linkedLine(t, wire, func(c *Config) { gauges = append(gauges, newGauge(c, test.rate)) })
			seconds := 60
			if test.rate > 100000 {
				seconds = 10
			}
			for i, got := range fill(test.rate, test.size, time.Duration(seconds)*time.Second, server, client) {
				got /= float64(test.rate) / 10
				below := gauges[i].percentile(100)
				t.Logf("%d bit/s, %d bytes: %.3f of the line, at most %v below", test.rate, test.size, got, below)
				if got < test.want {
					t.Errorf("%d bit/s, %d bytes: %.3f of the line, want %.2f", test.rate, test.size, got, test.want)
				}
				if most := lineBacklog + 5*time.Millisecond; below > most {
					t.Errorf("%d bit/s, %d bytes: %v are below when more is written, want at most %v", test.rate, test.size, below, most)
				}
			}
		})
	}
}

// fill has both ends send packets of random bytes over a line of so many bit/s, as
// much as goes, for a time, and returns how many bytes a second came out at each.
func fill(rate, size int, d time.Duration, ends ...*end) (rates []float64) {
	stop := make(chan struct{})
	var parts sync.WaitGroup
	for _, e := range ends {
		parts.Go(func() {
			for {
				p := udp(size, 1)
				rand.Read(p[ipv4Header+8:])
				select {
				case e.device.in <- p:
				case <-stop:
					return
				}
				for e.Stats().Waiting > 5 {
					time.Sleep(time.Duration(size) * 10 * time.Second / time.Duration(rate))
				}
			}
		})
	}
	counts := make([]atomic.Int64, len(ends))
	for i, e := range ends {
		parts.Go(func() {
			for {
				select {
				case p := <-e.device.out:
					counts[i].Add(int64(len(p)))
				case <-stop:
					return
				}
			}
		})
	}
	time.Sleep(10 * time.Second)
	before := make([]int64, len(ends))
	for i := range counts {
		before[i] = counts[i].Load()
	}
	time.Sleep(d)
	for i := range counts {
		rates = append(rates, float64(counts[i].Load()-before[i])/d.Seconds())
	}
	close(stop)
	parts.Wait()
	return rates
}

// numbered is a packet that says which one it is.
func numbered(n uint32) []byte {
	p := udp(60, 1)
	binary.BigEndian.PutUint32(p[len(p)-4:], n)
	return p
}

// TestLineRekey changes keys on a line that damages frames.
func TestLineRekey(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		wire := serialtest.Wire{Rate: 33600, BitErrors: 1e-4}
		_, server, client := linkedLine(t, wire, func(c *Config) { c.KeyTTL = 20 * time.Second })
		go func() {
			for n := range uint32(3600) {
				client.device.in <- numbered(n)
				time.Sleep(time.Second)
			}
		}()
		got, last := 0, -1
		end := time.After(time.Hour)
		for done := false; !done; {
			select {
			case p := <-server.device.out:
				n := int(binary.BigEndian.Uint32(p[len(p)-4:]))
				if n <= last || !bytes.Equal(p, numbered(uint32(n))) {
					t.Fatalf("packet %d after %d: %x", n, last, p)
				}
				last = n
				got++
			case <-end:
				done = true
			}
		}
		s, c := server.Stats(), client.Stats()
		t.Logf("%d of 3600 packets, %d rekeys, %d links, damaged %d and %d", got, s.Link.Rekeys, s.Links, s.Damaged, c.Damaged)
		if got < 3300 || s.Links != 1 || s.Link.Rekeys < 160 || s.Damaged == 0 {
			t.Errorf("%d packets, %+v", got, s)
		}
	})
}

// TestLineReboot starts one end anew while the other goes on.
func TestLineReboot(t *testing.T) {
	for _, which := range []string{"server", "client"} {
		sim(t, which, func(t *testing.T) {
			line := serialtest.New(serialtest.Wire{Rate: 9600}, 1)
			t.Cleanup(line.Close)
			configs := map[string]Config{
				"server": lineConfig(t, line.A, serialtest.Wire{Rate: 9600}, true, nil),
				"client": lineConfig(t, line.B, serialtest.Wire{Rate: 9600}, false, nil),
			}
			ends := map[string]*end{}
			for name, c := range configs {
				ends[name] = start(t, c)
			}
			await(t, ends["server"].up, "link")
			await(t, ends["client"].up, "link")
			for range 5 {
				// The power fails: no good-bye.
				port := line.A
				if which == "client" {
					port = line.B
				}
				port.Close()
				ends[which].stop(t)
				time.Sleep(3 * time.Second)
				began := time.Now()
				ends[which] = start(t, configs[which])
				await(t, ends[which].up, "link")
				for name, e := range ends {
					if name != which {
						await(t, e.up, "link")
					}
				}
				took := time.Since(began)
				t.Logf("%s rebooted: link after %v", which, took)
				if took > 5*time.Second {
					t.Errorf("%s rebooted: link after %v", which, took)
				}
			}
			for _, e := range ends {
				e.stop(t)
			}
		})
	}
}

// TestLineChatter has banners and a modem's words before, between and after frames.
func TestLineChatter(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		line, server, client := overLine(t, serialtest.Wire{Rate: 9600}, nil)
		line.B.Inject("\r\nRaspbian GNU/Linux 14 raspberrypi ttyS0\r\n\r\nraspberrypi login: ~~")
		await(t, server.up, "link")
		await(t, client.up, "link")
		for n := range uint32(50) {
			line.A.Inject("[  12.345] usb 1-1: new device ~ found\r\n")
			line.B.Inject("}~}~\x00\xff")
			client.device.in <- numbered(n)
			if got := await(t, server.device.out, "packet"); !bytes.Equal(got, numbered(n)) {
				t.Fatalf("packet is %x", got)
			}
		}
		before := server.Stats().Link.LastPacket
		time.Sleep(5 * time.Second)
		line.A.Inject("\r\nNO CARRIER\r\n")
		time.Sleep(time.Second)
		if s := server.Stats(); s.Links != 1 || !s.Link.LastPacket.After(before.Add(4*time.Second)) {
			t.Errorf("the peer was not asked at once: %+v", s.Link)
		}
	})
}

// TestLineFlowControl has a line that eats XON and XOFF.
func TestLineFlowControl(t *testing.T) {
	for _, filtered := range []bool{false, true} {
		sim(t, "", func(t *testing.T) {
			wire := serialtest.Wire{Rate: 115200, Eaten: []byte{0x11, 0x13}}
			_, server, client := overLine(t, wire, func(c *Config) { c.Line.Filter = frame.Filter{XON: filtered} })
			time.Sleep(time.Minute)
			got := 0
			for n := range uint32(100) {
				p := udp(1400, byte(n))
				rand.Read(p[ipv4Header+8:])
				client.device.in <- p
				time.Sleep(time.Second)
				select {
				case <-server.device.out:
					got++
				default:
				}
			}
			if filtered != (got == 100) || !filtered && got > 5 {
				t.Errorf("xfilter %v: %d of 100 packets", filtered, got)
			}
		})
	}
}

// TestLineModem has modems that keep more than a second's worth of bytes, on a line
// that is slower than the computers' ports. Both ends write as much as the line takes,
// and next to nothing waits in the modems.
func TestLineModem(t *testing.T) {
	for _, test := range []struct {
		name              string
		port, before, now int // bit/s
		noise             float64
		drift             float64 // of the server's clock
		want              float64
	}{
		{"9600", 115200, 9600, 9600, 0, 0, 0.87},
		{"33600, fast clock", 115200, 33600, 33600, 0, 200e-6, 0.87},
		{"nearly as fast as the port", 33600, 33500, 33500, 0, 0, 0.87},
		{"becomes slower, slow clock", 115200, 33600, 14400, 0, -200e-6, 0.87},
		{"becomes faster", 115200, 14400, 33600, 0, 0, 0.87},
		{"noise", 115200, 33600, 33600, 1e-4, 0, 0.6}, // a quarter of the frames is lost
	} {
		sim(t, test.name, func(t *testing.T) {
			wire := serialtest.Wire{Rate: test.before, Latency: 50 * time.Millisecond, Modem: 4096}
			var gauges []*heldGauge
			line, server, client := linkedLine(t, wire, func(c *Config) {
				c.Line.Speed, c.MTU = test.port, 296
				if test.noise > 0 { // a lost frame costs deflate those behind it
					c.Tuning.Compress = "off"
				}
				if began := time.Now(); c.Line.Answers {
					c.Now = func() time.Duration { return time.Hour + time.Duration(float64(time.Since(began))*(1+test.drift)) }
				}
				gauges = append(gauges, newGauge(c, test.now))
			})
			wire.BitErrors = test.noise
			line.Set(wire)
			fill(test.before, 296, 15*time.Second, server, client)
			wire.Rate = test.now
			line.Set(wire)
			fill(test.now, 296, 30*time.Second, server, client)
			for _, g := range gauges {
				g.reset()
			}
			rates := fill(test.now, 296, 45*time.Second, server, client)
			for i, g := range gauges {
				got, p95, most := rates[i]*10/float64(test.now), g.percentile(95), g.percentile(100)
				t.Logf("%s: %.3f of the line; below are %v, p95 %v, at most %v", test.name, got, g.percentile(50), p95, most)
				if got < test.want || p95 > 70*time.Millisecond || most > 100*time.Millisecond {
					t.Errorf("%s: %.3f of the line; below are %v, p95 %v, at most %v", test.name, got, g.percentile(50), p95, most)
				}
			}
		})
	}
}

// TestLineHalfDuplex has a line on which only one may speak.
func TestLineHalfDuplex(t *testing.T) {
	for _, rate := range []int{9600, 115200} {
		sim(t, "", func(t *testing.T) {
			wire := serialtest.Wire{Rate: rate, Latency: 5 * time.Millisecond, HalfDuplex: true}
			began := time.Now()
			_, server, client := linkedLine(t, wire, func(c *Config) { c.Line.HalfDuplex, c.MTU = true, 296 })
			t.Logf("%d bit/s: up after %v", rate, time.Since(began))
			one := fill(rate, 296, time.Minute, client, server)
			got := (one[0] + one[1]) * 10 / float64(rate)
			t.Logf("%d bit/s: %.2f and %.2f of the line; damaged %d and %d", rate, one[0]*10/float64(rate), one[1]*10/float64(rate), server.Stats().Damaged, client.Stats().Damaged)
			if got < 0.7 || min(one[0], one[1]) < got*float64(rate)/10/3 {
				t.Errorf("%.2f of the line", got)
			}
		})
	}
}
