package tunnel

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"vpnd/crypto"
	"vpnd/serial/serialtest"
)

// TestLineOldHail plays a hail of an earlier time again. The link is there and must
// not notice: whoever needs no key for that must not run the hooks.
func TestLineOldHail(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		l := tapLine(t, serialtest.Wire{Rate: 9600}, nil)
		hails := only(l.toServer.heard(), lineHail)
		if len(hails) == 0 {
			t.Fatal("no hail was recorded")
		}
		l.toClient.heard()
		for range 100 {
			l.toClient.play(hails[0])
			settled(10 * time.Second)
		}
		if n := len(only(l.toClient.heard(), lineF1)); n != 0 {
			t.Errorf("%d first flights", n)
		}
		if err := l.disturbed(t, 1); err != nil {
			t.Error(err)
		}
	})
}

// TestLineTalkingModem has somebody say all the time that the modem hung up. That
// must not cost the link its line.
func TestLineTalkingModem(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		l := tapLine(t, serialtest.Wire{Rate: 9600}, nil)
		before := l.toServer.spoken()
		for range 60 * 50 {
			l.toServer.end.Inject(modemText)
			time.Sleep(20 * time.Millisecond)
		}
		got := l.toServer.spoken() - before
		t.Logf("%d bytes a second of 960", got/60)
		if got > 60*960/10 {
			t.Errorf("%d bytes of questions in a minute", got)
		}
		if err := l.disturbed(t, 1); err != nil {
			t.Error(err)
		}
	})
}

// TestLineSameFlight plays one first flight of before the server's restart again
// and again, beside a link. It draws an answer, not one each time.
func TestLineSameFlight(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		l := tapLine(t, serialtest.Wire{Rate: 9600}, nil)
		_, f1 := flight(t, l.config[1])
		l.toServer.heard()
		for range 60 * 4 {
			l.toServer.play(handshakeFrame(lineF1, f1))
			time.Sleep(250 * time.Millisecond)
		}
		if n := len(only(l.toServer.heard(), lineF2)); n == 0 || n > mostRepeats {
			t.Errorf("%d answers, want %d at most", n, mostRepeats)
		}
		if err := l.disturbed(t, 1); err != nil {
			t.Error(err)
		}
	})
}

// flushing is a port whose Close throws away what the driver has not sent, as that of
// a real line does.
type flushing struct {
	Port
	end *serialtest.End
}

func (p flushing) Close() error {
	err := p.Port.Close()
	p.end.Open()
	p.end.Close()
	return err
}

// TestLineGoodbye ends one end in good order: the other one hears of it.
func TestLineGoodbye(t *testing.T) {
	for _, which := range []string{"server", "client"} {
		for _, rate := range []int{300, 9600, 115200} {
			sim(t, which, func(t *testing.T) {
				_, server, client := linkedLine(t, serialtest.Wire{Rate: rate}, func(c *Config) {
					open := c.Line.Open
					c.Line.Open = func(ctx context.Context) (Port, error) {
						p, err := open(ctx)
						return flushing{p, p.(*serialtest.End)}, err
					}
				})
				time.Sleep(time.Minute)
				one, other := server, client
				if which == "client" {
					one, other = client, server
				}
				began := time.Now()
				one.stop(t)
				took := time.Since(began)
				if err := await(t, other.down, "end of the link"); err.Error() != "peer closed the link: shutdown" {
					t.Errorf("%d bit/s: link ended with %v", rate, err)
				}
				if took > 2*time.Second {
					t.Errorf("%d bit/s: end took %v", rate, took)
				}
			})
		}
	}
}

// TestLineNoGoodbye ends a link: nothing is said to a peer that has started anew and has no
// keys for it any more.
func TestLineNoGoodbye(t *testing.T) {
	for cause, want := range map[error]int{errShutdown: 1, errDisplaced: 0} {
		sim(t, cause.Error(), func(t *testing.T) {
			l := tapLine(t, serialtest.Wire{}, nil)
			time.Sleep(time.Second)
			l.toClient.silence(true) // else there is another link at once
			l.toServer.heard()
			l.server.point.link.Load().end(cause)
			if said := only(l.toServer.heard(), 0); len(said) != want {
				t.Errorf("%d frames of the link, want %d", len(said), want)
			}
			await(t, l.server.down, "end of the link")
		})
	}
}

// TestLineFalseAnswer has somebody answer each first flight before the server does,
// with a point that gives no secret. The true answer is good all the same.
func TestLineFalseAnswer(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		l := newTappedLine(t, serialtest.Wire{Rate: 9600}, nil)
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				for range only(l.toClient.heard(), lineF1) {
					l.toClient.play(handshakeFrame(lineF2, make([]byte, crypto.F2Size)))
				}
			}
		}()
		l.server, l.client = start(t, l.config[0]), start(t, l.config[1])
		await(t, l.server.up, "link of the server")
		await(t, l.client.up, "link of the client")
	})
}

// TestLineSameDoor hangs up and waits for a call again: a first flight that was
// seen before still draws no answer.
func TestLineSameDoor(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		l := newTappedLine(t, serialtest.Wire{Rate: 9600}, func(c *Config) { c.Line.Modem = true })
		_, f1 := flight(t, l.config[1])
		l.server = start(t, l.config[0])
		answers := 0
		for range 20 {
			l.toServer.play(handshakeFrame(lineF1, f1))
			settled(3 * strangeCall) // nobody confirms: it hangs up
			answers += len(only(l.toServer.heard(), lineF2))
		}
		if answers > mostRepeats {
			t.Errorf("%d answers to the same first flight", answers)
		}
	})
}

// TestLineHiccup stops the clock of the peer for some seconds, as a suspended laptop
// does, while next to nothing is sent. The line is as fast as before.
func TestLineHiccup(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		wire := serialtest.Wire{Rate: 9600}
		line, server, client := linkedLine(t, wire, nil)
		stop := make(chan struct{})
		go func() { // somebody types
			for n := uint32(0); ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(300 * time.Millisecond):
					client.device.in <- numbered(n)
				}
			}
		}()
		time.Sleep(time.Minute)
		line.Set(serialtest.Wire{Rate: 9600, Latency: 8 * time.Second})
		time.Sleep(16 * time.Second)
		line.Set(wire)
		time.Sleep(30 * time.Second)
		close(stop)
		time.Sleep(time.Second)
		s := client.point.link.Load()
		s.line.speed.mu.Lock()
		set := s.line.speed.set
		s.line.speed.mu.Unlock()
		t.Logf("taken to be %d bit/s", set)
		if set < 9600/2 {
			t.Errorf("a line of 9600 bit/s is taken for one of %d", set)
		}
		rates := fill(9600, 296, time.Minute, server, client)
		t.Logf("%.2f of the line", rates[0]*10/9600)
		if rates[0]*10/9600 < 0.8 {
			t.Errorf("%.2f of the line", rates[0]*10/9600)
		}
	})
}

// TestLineDelayLimit has maxdelay on a line that damages frames. A TIME that is lost
// must not end the link.
func TestLineDelayLimit(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		wire := serialtest.Wire{Rate: 33600, BitErrors: 2e-4}
		_, server, client := linkedLine(t, wire, func(c *Config) { c.MaxDelay = 10 * time.Second })
		for n := range uint32(500) {
			client.device.in <- numbered(n)
			time.Sleep(40 * time.Second)
		}
		got, s := len(server.device.out), server.Stats()
		t.Logf("%d of 500 packets, %+v", got, s)
		// What comes after a lost stamp may be of any age. The noise takes 22 stamps and
		// 58 packets on average, with deviations of 5 and 8.
		if late := s.DropsIn["too_old"]; s.Links != 1 || late == 0 || late > 80 || got < 300 {
			t.Errorf("%d links, %d packets too old; log:\n%s", s.Links, s.DropsIn["too_old"], server.log)
		}
	})
}

// TestLineLostRekey loses the frames of a rekey, and those around it, in all
// combinations: both ends have the same keys soon after.
func TestLineLostRekey(t *testing.T) {
	for up := range 5 {
		for down := range 5 {
			sim(t, fmt.Sprint(up, down), func(t *testing.T) {
				l := tapLine(t, serialtest.Wire{Rate: 9600}, func(c *Config) { c.KeyTTL, c.Tuning.Keepalive = 40*time.Second, 15*time.Second })
				time.Sleep(39 * time.Second)
				for _, lost := range []struct {
					tap *tap
					n   int
				}{{l.toServer, down}, {l.toClient, up}} {
					lost.tap.mu.Lock()
					lost.tap.lose = lost.n
					lost.tap.mu.Unlock()
				}
				time.Sleep(35 * time.Second)
				if s, c := l.server.Stats(), l.client.Stats(); s.Link.Rekeys != 1 || c.Link.Rekeys != 1 {
					t.Errorf("%d and %d rekeys", s.Link.Rekeys, c.Link.Rekeys)
				}
				for range 5 {
					if err := l.disturbed(t, 1); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
				}
			})
		}
	}
}

// TestLineFarther has a line that takes longer from some time on, for good. It is as
// fast as before.
func TestLineFarther(t *testing.T) {
	for _, test := range []struct {
		rate int
		by   time.Duration
	}{{9600, 4 * time.Second}, {115200, 500 * time.Millisecond}} {
		sim(t, fmt.Sprint(test.rate, test.by), func(t *testing.T) {
			line, server, client := linkedLine(t, serialtest.Wire{Rate: test.rate}, func(c *Config) { c.MTU = 296 })
			time.Sleep(30 * time.Second)
			line.Set(serialtest.Wire{Rate: test.rate, Latency: test.by})
			var parts sync.WaitGroup
			parts.Go(func() { fill(test.rate, 296, 5*time.Minute, server, client) })
			time.Sleep(4 * time.Minute)
			before := server.Stats().Inside.BytesOut
			time.Sleep(time.Minute)
			share := float64(server.Stats().Inside.BytesOut-before) * 10 / 60 / float64(test.rate)
			t.Logf("%d bit/s, %v farther: %.2f of the line", test.rate, test.by, share)
			if share < 0.7 {
				t.Errorf("%d bit/s, %v farther: %.2f of the line", test.rate, test.by, share)
			}
			parts.Wait()
		})
	}
}

// TestLineSlowRekey has a line so long that each message of a rekey is sent twice
// before the answer is there.
func TestLineSlowRekey(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		_, server, _ := linkedLine(t, serialtest.Wire{Rate: 9600, Latency: 1400 * time.Millisecond}, func(c *Config) { c.KeyTTL = 30 * time.Second })
		time.Sleep(10 * time.Minute)
		if s := server.Stats(); s.Links != 1 || s.Link == nil || s.Link.Rekeys < 12 {
			t.Errorf("%+v", s)
		}
	})
}
