package tunnel

import (
	"bytes"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/s2"

	"vpnd/compress"
	"vpnd/crypto"
)

// modelled is a BATCH with a packet in a new history of a model, which learns it.
func modelled(packet []byte) []byte { return append([]byte{byte(compress.Model)<<4 | 0xe}, packet...) }

// crowd is n packets without content, of a length of 20 bytes.
func crowd(n int, from netip.Addr) []byte {
	p := between(from, address("10.200.0.1"))[:ipv4Header]
	p[2], p[3] = 0, ipv4Header
	return bytes.Repeat(p, n)
}

// crowded is a BATCH of some 50 bytes with as many packets as fit.
func crowded(from netip.Addr) []byte {
	return append([]byte{byte(compress.S2) << 4}, s2.EncodeBest(nil, crowd(compress.MaxBlock/ipv4Header, from))...)
}

// TestHubTurns sees that what few bytes make much work of does not take all processors of
// a hub: as much as may be done at a time is.
func TestHubTurns(t *testing.T) {
	from := hubAddrs(2)[0]
	packet := between(from, address("10.200.0.1"))
	first := crowd(1, from)
	for _, test := range []struct {
		name string
		send func(p *puppet)
		done func(b *hubBench, p *puppet)
	}{
		{"a block of a model", func(p *puppet) {
			p.drain()
			p.send(frameBatch, modelled(packet)...)
		}, func(b *hubBench, _ *puppet) { arrives(b.t, b.hub, packet) }},
		{"more packets than bytes", func(p *puppet) {
			p.drain()
			p.send(frameBatch, crowded(from)...)
		}, func(b *hubBench, _ *puppet) {
			for range compress.MaxBlock / ipv4Header {
				arrives(b.t, b.hub, first)
			}
		}},
		{"new keys", func(p *puppet) {
			_, m1, err := p.keys.Rekey(testConfig(p.t).Random)
			must(p.t, err)
			p.send(frameRekey1, m1...)
		}, func(_ *hubBench, p *puppet) {
			p.expect(frameRekey2)
			p.drain()
		}},
	} {
		sim(t, test.name, func(t *testing.T) {
			b := newHubBench(t, 1, nil)
			slow := b.hub.Tunnel.hub.slow
			if cap(slow) > max(1, runtime.GOMAXPROCS(0)/2) {
				t.Errorf("%d at a time", cap(slow))
			}
			p := puppetCaller(t, b.road.caller(t), b.config(2)).confirmed(b.hub)
			for range cap(slow) {
				slow <- struct{}{}
			}
			test.send(p)
			pingPong(t, b, 0)
			<-slow
			test.done(b, p)
			synctest.Wait()
			if len(slow) != cap(slow)-1 {
				t.Error("who is done keeps others out")
			}
			slow <- struct{}{}
			p.send(frameBatch, modelled(packet)...)
			if err := b.hub.SetPeers([]HubPeer{hubPeer(1)}); err != nil { // who waits is let go
				t.Fatal(err)
			}
			pingPong(t, b, 0)
			await(t, b.hub.down, "end of a link")
		})
	}
}

// TestRateCrowd has a client that may not send much make many packets of few bytes.
func TestRateCrowd(t *testing.T) {
	const limit, frames, seconds, late = 10_000, 200, 10, 30
	for _, test := range []struct {
		name, drop string
		from       netip.Addr
		maxDelay   time.Duration
	}{
		{"a false source", "spoofed", hubAddrs(3)[0], 0},
		{"held back too long", "too_old", hubAddrs(2)[0], (late - 5) * time.Second},
	} {
		sim(t, test.name, func(t *testing.T) {
			b := newHubBench(t, 1, func(c *Config) {
				c.MaxDelay = test.maxDelay
				guest := c.Hub.Guest
				c.Hub.Guest = func(id crypto.ClientID, wish []netip.Addr, busy func(string) bool) (HubPeer, error) {
					p, err := guest(id, wish, busy)
					p.Rate = limit
					return p, err
				}
			})
			p := puppetCaller(t, b.road.caller(t), b.config(2)).confirmed(b.hub)
			p.drain()
			p.send(frameTime, stamped(1)...)
			for range late {
				time.Sleep(time.Second)
				p.send(framePing, stamped(1)...)
			}
			bomb := crowded(test.from)
			go func() {
				for range frames {
					p.send(frameBatch, bomb...)
				}
			}()
			time.Sleep(seconds * time.Second)
			if n, most := b.peer(2).DropsIn[test.drop], maxBurst+seconds*limit+compress.MaxBlock/ipv4Header; int(n) < maxBurst || int(n) > most {
				t.Errorf("%d packets in %d s, want at most %d", n, seconds, most)
			}
			pingPong(t, b, 0)
		})
	}
}

// TestPacketsIn counts packets only if they may be more than some.
func TestPacketsIn(t *testing.T) {
	from := hubAddrs(1)[0]
	for _, test := range []struct {
		name  string
		block []byte
		few   int
		want  int
	}{
		{"nothing", nil, 0, 0},
		{"as many as are few", crowd(10, from), 10, 0},
		{"one more", crowd(11, from), 10, 11},
		{"long ones", bytes.Repeat(between(from, from), 3), 10, 3},
		{"garbage behind", append(crowd(11, from), 0), 10, 11},
	} {
		if n := packetsIn(test.block, test.few); n != test.want {
			t.Errorf("%s: %d, want %d", test.name, n, test.want)
		}
	}
}

// TestWorkRests has a receiver rest for as long as its work took.
func TestWorkRests(t *testing.T) {
	sim(t, "three seconds", func(t *testing.T) {
		b := newHubBench(t, 1, nil)
		r := &receiver{session: b.clients[0].point.link.Load()}
		for _, took := range []time.Duration{3 * time.Second, 0} {
			began := time.Now()
			r.rest()
			if got := time.Since(began); got != 0 {
				t.Errorf("it rests for %v before", got)
			}
			r.took = took
			r.rest()
			if got := time.Since(began); got != took {
				t.Errorf("it rests for %v, want %v", got, took)
			}
		}
	})
}

// slowDevice takes its time: until who writes many packets keeps another peer waiting.
type slowDevice struct {
	*fakeDevice
	writes chan int // how many packets
	other  *atomic.Bool
}

func (d slowDevice) Write(bufs [][]byte, _ int) (int, error) {
	d.writes <- len(bufs)
	if len(bufs) == 1 {
		d.other.Store(true)
	}
	for { // who waits for a lock longer than this is not passed over
		time.Sleep(2 * time.Millisecond)
		if d.other.Load() || waitsForTray() {
			return len(bufs), nil
		}
	}
}

// waitsForTray reports whether a goroutine that has packets to deliver waits.
func waitsForTray() bool {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return slices.ContainsFunc(bytes.Split(stacks, []byte("\n\n")), func(g []byte) bool {
		return bytes.Contains(g, []byte("[sync.Mutex.Lock")) && bytes.Contains(g, []byte("(*deliverer)"))
	})
}

// TestTray has one peer deliver as many packets as a batch can have, and another one a
// single packet meanwhile, which does not wait for all of them.
func TestTray(t *testing.T) {
	device := slowDevice{newFakeDevice(), make(chan int, 100), new(atomic.Bool)}
	crowded := newDeliverer(device, new(counters))
	one := &deliverer{device: device, count: new(counters), tray: crowded.tray}
	packets := crowd(compress.MaxBlock/ipv4Header, hubAddrs(1)[0])
	done := make(chan struct{}, 2)
	deliver := func(d *deliverer, block []byte) {
		d.deliver(block, 0)
		done <- struct{}{}
	}
	go deliver(crowded, packets)
	<-device.writes // it is at work
	go deliver(one, packets[:ipv4Header])
	<-done
	<-done
	close(device.writes)
	last := 0
	for last = range device.writes {
	}
	if last == 1 {
		t.Error("one packet waits for all of another peer")
	}
}
