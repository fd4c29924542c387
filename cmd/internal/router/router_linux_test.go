package router

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"vpnd/cmd/internal/lab"
)

// course is two hosts with a router between them.
type course struct {
	*lab.Path
	router *Router
	a, b   *lab.Namespace
	dst    netip.Addr // B
}

func newCourse(t *testing.T, up, down Way) course {
	t.Helper()
	l, err := lab.New()
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	c := course{dst: netip.MustParseAddr("192.0.2.129")}
	c.a, err = l.Namespace("a")
	check(t, err)
	c.b, err = l.Namespace("b")
	check(t, err)
	c.Path, err = l.Path(c.a, c.b, lab.Prefixes("192.0.2.1/25"), lab.Prefixes("192.0.2.129/25"))
	check(t, err)
	c.router, err = Insert(c.Path, up, down)
	check(t, err)
	t.Cleanup(func() { check(t, c.router.Close()) })
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestPath pings over a slow and long path and fills it: nothing is ever faster than
// the router allows, and once the machine has time for it hardly slower.
func TestPath(t *testing.T) {
	const rate, delay = 4_000_000, 20 * time.Millisecond
	c := newCourse(t, Way{Rate: rate, Delay: delay}, Way{Rate: 2 * rate, Delay: delay / 2})
	const bits = (20 + 8 + 1000) * 8 * time.Second
	base := delay + delay/2 + bits/rate + bits/(2*rate)
	until(t, func() bool {
		stats, err := c.a.Ping(timeout(t), c.dst, lab.PingOptions{Size: 1000, Count: 10, Interval: 50 * time.Millisecond})
		check(t, err)
		fastest := stats.Percentile(0)
		if len(stats.RTT) > 0 && fastest < base {
			t.Errorf("round trip of %v, less than %v", fastest, base)
		}
		return len(stats.RTT) == 10 && fastest < base+20*time.Millisecond
	})
	until(t, func() bool {
		before, _, err := c.router.Counters()
		check(t, err)
		flow, err := lab.Ends{Client: c.a, Server: c.b, Dst: c.dst}.Pour(timeout(t), lab.Bulk{Time: time.Second, Payload: [][]byte{make([]byte, 64<<10)}})
		check(t, err)
		up, down, err := c.router.Counters()
		check(t, err)
		t.Logf("%.2f Mbit/s of payload; up %+v, down %+v", flow.Rate()*8/1e6, up, down)
		most := flow.Elapsed.Seconds()*rate/8 + 1500
		if float64(flow.Bytes) > most*1448/1500 {
			t.Errorf("%d bytes of payload in %v", flow.Bytes, flow.Elapsed)
		}
		if up.In < up.Out+up.Dropped || up.Lost != 0 || up.Refused != 0 {
			t.Errorf("counters up %+v", up)
		}
		return float64(flow.Bytes) > most*3/4 && float64(up.OutBytes-before.OutBytes) > most*3/4
	})
}

// until measures until it is good, as a busy machine has its moments.
func until(t *testing.T, good func() bool) {
	t.Helper()
	for ctx := timeout(t); !good(); {
		if t.Failed() || ctx.Err() != nil {
			t.Fatal("never any good")
		}
	}
}

// TestPathEnds cuts the path and heals it, has it lose everything, and takes the
// router out of it.
func TestPathEnds(t *testing.T) {
	c := newCourse(t, Way{}, Way{})
	reached := func() bool {
		t.Helper()
		stats, err := c.a.Ping(timeout(t), c.dst, lab.PingOptions{Count: 1})
		check(t, err)
		return len(stats.RTT) == 1
	}
	passed := func(want int64) { // a packet is counted a little after it has passed
		t.Helper()
		until(t, func() bool {
			up, _, err := c.router.Counters()
			check(t, err)
			if up.Out > want {
				t.Errorf("%d packets passed, want %d", up.Out, want)
			}
			return up.Out == want
		})
	}
	if !reached() {
		t.Error("no reply")
	}
	passed(1)
	check(t, c.Cut())
	if reached() {
		t.Error("a reply through a cut")
	}
	check(t, c.Heal())
	if !reached() {
		t.Error("no reply after it was healed")
	}
	passed(2)
	check(t, c.router.Close())
	if !reached() {
		t.Error("no reply without the router")
	}
	lossy, err := Insert(c.Path, Way{Loss: 1}, Way{})
	check(t, err)
	if reached() {
		t.Error("a reply where all is lost")
	}
	check(t, lossy.Close())
}

func TestInsertRefuses(t *testing.T) {
	if _, err := Insert(nil, Way{}, Way{Loss: 2}); err == nil {
		t.Error("a loss of 2 is taken")
	}
}
