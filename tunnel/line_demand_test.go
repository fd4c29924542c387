package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/serial/serialtest"
)

// TestLineDemand opens the line for the first packet, which arrives, and hangs up
// when none has come for a while.
func TestLineDemand(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		var opened atomic.Int32
		_, server, client := overLine(t, serialtest.Wire{Rate: 9600}, func(c *Config) {
			c.Line.Idle = time.Minute
			if open := c.Line.Open; !c.Line.Answers {
				c.Line.Demand = true
				c.Line.Open = func(ctx context.Context) (Port, error) {
					opened.Add(1)
					time.Sleep(20 * time.Second) // the modem dials
					return open(ctx)
				}
			}
		})
		time.Sleep(time.Hour)
		if n := opened.Load(); n != 0 {
			t.Fatalf("opened %d times without a packet", n)
		}
		for round := range int32(3) {
			for n := range uint32(demandPackets + 5) {
				client.device.in <- numbered(n)
			}
			for n := range uint32(demandPackets) {
				if p := await(t, server.device.out, "packet"); !bytes.Equal(p, numbered(n)) {
					t.Errorf("packet %d is %x", n, p)
				}
			}
			// A packet now and then keeps the line, in either direction; keepalives do not.
			for range 3 {
				time.Sleep(50 * time.Second)
				server.device.in <- numbered(0)
				await(t, client.device.out, "packet")
				time.Sleep(50 * time.Second)
				client.device.in <- numbered(0)
				await(t, server.device.out, "packet")
			}
			last := time.Now()
			for _, e := range []*end{server, client} {
				if err := await(t, e.down, "end of the link"); !isIdle(err) {
					t.Errorf("link ended with %v", err)
				}
				if idle := time.Since(last); idle < time.Minute || idle > time.Minute+5*time.Second {
					t.Errorf("link ended after %v", idle)
				}
			}
			time.Sleep(time.Hour)
			if n := opened.Load(); n != round+1 {
				t.Errorf("opened %d times for %d conversations", n, round+1)
			}
			conserved(t, client)
			conserved(t, server)
		}
	})
}

// TestLineRedial sees how often a line is opened again for each kind of trouble.
func TestLineRedial(t *testing.T) {
	busy := errors.New("modem says BUSY")
	for _, test := range []struct {
		name            string
		answers         bool
		err             error
		least, greatest int // openings in an hour
	}{
		{"busy", false, busy, 50, 80},
		{"unplugged", false, fs.ErrNotExist, 2400, 3600},
		{"no call", true, busy, 2400, 3600},
		{"a stranger at the other end", false, nil, 25, 60},
		{"strangers call", true, nil, 50, 60},
	} {
		sim(t, test.name, func(t *testing.T) {
			line := serialtest.New(serialtest.Wire{Rate: 9600}, 1)
			t.Cleanup(line.Close)
			c := lineConfig(t, line.A, serialtest.Wire{Rate: 9600}, test.answers, nil)
			opened := 0
			c.Line.Modem = true
			c.Line.Open = func(context.Context) (Port, error) {
				opened++
				return line.A.Open(), test.err
			}
			start(t, c)
			time.Sleep(time.Hour)
			synctest.Wait()
			if opened < test.least || opened > test.greatest {
				t.Errorf("opened %d times, want %d to %d", opened, test.least, test.greatest)
			}
		})
	}
}

// TestLineHungUp ends a link over a modem by silence: both ends hang up and call, or
// wait for a call, again.
func TestLineHungUp(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		var opened [2]atomic.Int32
		line, server, client := linkedLine(t, serialtest.Wire{Rate: 9600}, func(c *Config) {
			c.Line.Modem = true
			open, n := c.Line.Open, &opened[0]
			if c.Line.Answers {
				n = &opened[1]
			}
			c.Line.Open = func(ctx context.Context) (Port, error) { n.Add(1); return open(ctx) }
		})
		line.Set(serialtest.Wire{Rate: 9600, BitErrors: 0.5})
		time.Sleep(2 * time.Minute)
		for _, e := range []*end{server, client} {
			if err := await(t, e.down, "end of the link"); !errors.Is(err, ErrNoAnswer) {
				t.Errorf("link ended with %v", err)
			}
		}
		line.Set(serialtest.Wire{Rate: 9600})
		await(t, server.up, "new link")
		await(t, client.up, "new link")
		for i := range opened {
			if n := opened[i].Load(); n < 2 {
				t.Errorf("opened %d times", n)
			}
		}
	})
}

func TestUnwanted(t *testing.T) {
	to := func(p []byte, at int, to ...byte) []byte {
		p = bytes.Clone(p)
		copy(p[at:], to)
		return p
	}
	for _, test := range []struct {
		name                string
		packet              []byte
		noIPv6, noMulticast bool // whether they keep it off
	}{
		{"IPv4", to(udp(60, 1), 16, 10, 77, 0, 1), false, false},
		{"IPv4 to a group", to(udp(60, 1), 16, 224, 0, 0, 251), false, true},
		{"IPv4 to the last group", to(udp(60, 1), 16, 239, 255, 255, 255), false, true},
		{"IPv4 to 223", to(udp(60, 1), 16, 223, 255, 255, 255), false, false},
		{"IPv4 to 240", to(udp(60, 1), 16, 240, 0, 0, 1), false, false},
		{"IPv4 to all", to(udp(60, 1), 16, 255, 255, 255, 255), false, true},
		{"IPv4 to nearly all", to(udp(60, 1), 16, 255, 255, 255, 254), false, false},
		{"IPv6", to(ipv6(17, nil), 24, 0xfd), true, false},
		{"IPv6 to a group", to(ipv6(17, nil), 24, 0xff, 2), true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i := range 4 {
				c := Config{NoIPv6: i&1 != 0, NoMulticast: i&2 != 0}
				want := c.NoIPv6 && test.noIPv6 || c.NoMulticast && test.noMulticast
				if got := c.unwanted(test.packet); got != want {
					t.Errorf("noipv6 %v, nomulticast %v: %v, want %v", c.NoIPv6, c.NoMulticast, got, want)
				}
			}
		})
	}
}

// TestUnwantedAreCounted keeps packets off a link.
func TestUnwantedAreCounted(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		c := testConfig(t)
		c.NoIPv6 = true
		s, client, _ := simPair(t, testConfig(t), c)
		client.device.in <- ipv6(17, nil)
		passes(t, s, client)
		if n := client.Stats().DropsOut["unwanted"]; n != 1 {
			t.Errorf("%d packets counted", n)
		}
		conserved(t, client)
	})
}
