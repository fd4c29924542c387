package tunnel

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/tunnel/frame"
)

// TestWithoutLink drops what the host sends while there is no link, and what no
// link can carry.
func TestWithoutLink(t *testing.T) {
	sim(t, "server", func(t *testing.T) {
		c := testConfig(t)
		c.MTU = 1600
		e, r := simServer(t, c)
		e.device.in <- udp(60, 1)
		e.device.in <- []byte{1, 2, 3}
		synctest.Wait()
		peer := testConfig(t)
		p := puppetCaller(t, r.caller(t), peer).confirmed(e)
		e.device.in <- append(udp(60, 1), 0) // longer than it says
		e.device.in <- udp(61, 1)[:60]       // shorter
		e.device.in <- udp(60, 1)
		p.expect(frameBatch)
		synctest.Wait()
		s := e.Stats()
		if s.DropsOut["no_link"] != 1 || s.DropsOut["malformed"] != 3 || s.Wire.PacketsOut != 1 {
			t.Errorf("state is %+v", s)
		}
		conserved(t, e)
		p.drain()
	})
	sim(t, "small frames", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		c.Servers = []Dial{r.dial}
		e := start(t, c)
		p := puppetServer(t, r, c, func(a *answer) { a.terms.maxFrame = 1000 })
		await(t, e.up, "link")
		e.device.in <- udp(998, 1)
		e.device.in <- udp(999, 1)
		if got := p.expect(frameBatch); len(got) > 999 {
			t.Errorf("batch of %d bytes", len(got))
		}
		synctest.Wait()
		if n := e.Stats().DropsOut["too_long"]; n != 1 {
			t.Errorf("%d were too long", n)
		}
		conserved(t, e)
		p.drain()
	})
	sim(t, "no frames at all", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		c.Servers = []Dial{r.dial}
		e := start(t, c)
		p := puppetServer(t, r, c, func(a *answer) { a.terms.maxFrame, a.terms.mtu = 0, 0 })
		await(t, e.up, "link")
		e.device.in <- udp(20, 1)
		synctest.Wait()
		if n := e.Stats().DropsOut["too_long"]; n != 1 {
			t.Errorf("%d were too long", n)
		}
		p.drain()
	})
}

// TestFullQueue gives more packets than the link takes.
func TestFullQueue(t *testing.T) {
	sim(t, "slow peer", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress = "off"
		e, p := silences["server"](t, c)
		const packets = 3000
		for n := range packets {
			e.device.in <- udp(1400, byte(n))
			if n%500 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		s := e.Stats()
		if most := queueBytes / c.MTU; s.DropsOut["queue_full"] == 0 || s.Waiting > most || s.Waiting < most*98/100 {
			t.Errorf("%d dropped, %d wait", s.DropsOut["queue_full"], s.Waiting)
		}
		got := 0
		for got < packets-int(s.DropsOut["queue_full"]) {
			if batch := p.expect(frameBatch); batch[0] == 0 {
				got += (len(batch) - 1) / 1400
			}
		}
		p.drain()
		synctest.Wait()
		conserved(t, e)
		if n := e.Stats().Wire.PacketsOut; n != uint64(got) {
			t.Errorf("%d sent, %d came", n, got)
		}
	})
}

// TestSendBuf looks at the size of batches, before and after a change.
func TestSendBuf(t *testing.T) {
	sim(t, "1400 and 16384", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress, c.Tuning.SendBuf = "off", 1400
		e, p := silences["server"](t, c)
		for _, most := range []int{1400, 16384, 100000} {
			tune := c.Tuning
			tune.SendBuf = most
			e.Tune(tune)
			longest := 0
			for range 100 {
				e.device.in <- udp(700, 1)
			}
			for left := 100; left > 0; {
				n := len(p.expect(frameBatch)) - 1
				left -= n / 700
				longest = max(longest, n)
			}
			if longest > most || longest > frame.MaxText {
				t.Errorf("batch of %d bytes, want at most %d", longest, most)
			}
		}
		p.drain()
	})
}

// TestTuneCompress changes the compression of a link that is up.
func TestTuneCompress(t *testing.T) {
	sim(t, "each to each", func(t *testing.T) {
		c := testConfig(t)
		server, client, _ := simPair(t, c, c)
		text := append(udp(20, 0)[:20], strings.Repeat("the same again, ", 60)...)
		text[2], text[3] = byte(len(text)>>8), byte(len(text))
		policies := []string{"off", "s2", "deflate", "zstd", "auto", "asym"}
		for _, from := range policies {
			for _, to := range policies {
				for _, policy := range []string{from, to} {
					tune := c.Tuning
					tune.Compress = policy
					client.Tune(tune)
					for range 3 {
						client.device.in <- text
						if got := server.device.take(t); !bytes.Equal(got, text) {
							t.Fatalf("%s to %s: packet is %q", from, to, got)
						}
					}
				}
			}
		}
		if s := client.Stats(); s.Links != 1 || s.CompressionOut < 1.5 {
			t.Errorf("%d links, compression %v", s.Links, s.CompressionOut)
		}
		if out, in := client.Stats().CompressionOut, server.Stats().CompressionIn; out != in {
			t.Errorf("compression %v out, %v in", out, in)
		}
	})
}

// TestStatsMeanwhile asks for the state all the time while links come and go.
func TestStatsMeanwhile(t *testing.T) {
	sim(t, "a minute", func(t *testing.T) {
		c := testConfig(t)
		c.KeyTTL = 5 * time.Second
		server, client, r := simPair(t, c, c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				for _, e := range []*end{server, client} {
					if s := e.Stats(); (s.Link != nil) != (s.State == "up") {
						t.Errorf("state is %+v", s)
					}
				}
				time.Sleep(time.Millisecond)
			}
		}()
		for i := range 60 {
			client.device.in <- udp(1000, 1)
			server.device.in <- udp(1000, 1)
			time.Sleep(time.Second)
			switch i % 6 {
			case 1:
				r.pipe(-1).reset()
			case 3:
				client.Redial()
			case 5:
				server.Tune(c.Tuning)
			}
		}
		cancel()
		<-done
		synctest.Wait()
		for _, e := range []*end{server, client} {
			conserved(t, e)
			if n := e.Stats().Links; n < 21 {
				t.Errorf("%d links", n)
			}
		}
	})
}
