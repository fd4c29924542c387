package lab

import (
	"errors"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func newTraffic(t *testing.T, r route) *Traffic {
	t.Helper()
	oneCPU(t)
	var all []Ends
	for _, w := range [][2]string{{"192.0.2.1", "198.51.100.1"}, {"2001:db8:a::1", "2001:db8:b::1"}} {
		a, b := netip.MustParseAddr(w[0]), netip.MustParseAddr(w[1])
		all = append(all, Ends{Client: r.a, Server: r.b, Src: a, Dst: b}, Ends{Client: r.b, Server: r.a, Src: b, Dst: a})
	}
	traffic, err := NewTraffic(1500, all...)
	check(t, err)
	t.Cleanup(func() { check(t, traffic.Close()) })
	return traffic
}

// oneCPU has this process use one CPU until the end of the test. A veth pair has a queue
// for each: when a sender moves to another one, a packet may overtake those before it.
func oneCPU(t *testing.T) {
	t.Helper()
	var all, one unix.CPUSet
	check(t, unix.SchedGetaffinity(0, &all))
	for n := 0; one.Count() == 0; n++ {
		if all.IsSet(n) {
			one.Set(n)
		}
	}
	setAffinity(t, &one)
	t.Cleanup(func() { setAffinity(t, &all) })
}

// setAffinity gives all threads of this process the CPUs, until no new one is seen: it may
// have been started by one that did not have them yet.
func setAffinity(t *testing.T, cpus *unix.CPUSet) {
	t.Helper()
	for seen := map[string]bool{}; ; {
		threads, err := os.ReadDir("/proc/self/task")
		check(t, err)
		known := len(seen)
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			check(t, err)
			if err := unix.SchedSetaffinity(id, cpus); err != nil && err != unix.ESRCH {
				t.Fatal(err)
			}
			seen[thread.Name()] = true
		}
		if len(seen) == known {
			return
		}
	}
}

// received waits until that many datagrams have arrived on each way.
func (tr *Traffic) received(t *testing.T, n uint64) []TrafficCounts {
	t.Helper()
	var counts []TrafficCounts
	check(t, poll(timeout(t), func() (err error) {
		if counts, err = tr.Counts(); err != nil {
			return err
		}
		for _, c := range counts {
			if c.Received < n {
				return errTooFew
			}
		}
		return nil
	}))
	return counts
}

// TestTraffic sees every size arrive on a good path, and counts that agree with
// the kernel's.
func TestTraffic(t *testing.T) {
	r := newRoute(t)
	traffic := newTraffic(t, r)
	before, err := r.b.Counters("eth0")
	check(t, err)
	traffic.Rate(16)
	traffic.received(t, 3*1500)
	check(t, traffic.Settle(timeout(t)))
	counts, err := traffic.Counts()
	check(t, err)
	for i, c := range counts {
		sizes := 1473
		if i > 1 {
			sizes = 1453
		}
		want := TrafficCounts{Sent: c.Sent, Received: c.Sent, Bytes: c.Bytes, Sizes: sizes}
		if c != want || c.Bytes < 1500*700 {
			t.Errorf("way %d: %+v, want %+v", i, c, want)
		}
	}
	after, err := r.b.Counters("eth0")
	check(t, err)
	sent, came := counts[1].Sent+counts[3].Sent, counts[0].Received+counts[2].Received
	if after.To-before.To < sent || after.From-before.From < came { // neighbours talk, too
		t.Errorf("%d sent and %d received, the kernel has %+v and %+v", sent, came, before, after)
	}
}

// TestTrafficLoss cuts the path: what is lost is neither received nor taken for
// altered, duplicate or out of order.
func TestTrafficLoss(t *testing.T) {
	r := newRoute(t)
	traffic := newTraffic(t, r)
	traffic.Rate(8)
	traffic.received(t, 100)
	check(t, r.Cut())
	counts, err := traffic.Counts() // not earlier: what is sent before the cut arrives
	check(t, err)
	sent := counts[0].Sent
	check(t, poll(timeout(t), func() error {
		counts, err := traffic.Counts()
		if err == nil && counts[0].Sent < sent+1000 {
			err = errTooFew
		}
		return err
	}))
	check(t, r.Heal())
	check(t, traffic.Settle(timeout(t)))
	counts, err = traffic.Counts()
	check(t, err)
	if c := counts[0]; c.Received+500 > c.Sent || c.Altered+c.Duplicate+c.Reordered > 0 {
		t.Errorf("over a path that was cut: %+v", c)
	}
}

// TestCutFrom loses what one end sends, nothing of the other's.
func TestCutFrom(t *testing.T) {
	r := newRoute(t)
	var ways []Ends
	for _, from := range []*Namespace{r.a, r.b} {
		e := r.ends("198.51.100.1")
		if from == r.b {
			e = Ends{Client: r.b, Server: r.a, Src: e.Dst, Dst: netip.MustParseAddr("192.0.2.1")}
		}
		ways = append(ways, e)
	}
	traffic, err := NewTraffic(1500, ways...)
	check(t, err)
	defer func() { check(t, traffic.Close()) }()
	traffic.Rate(1)
	counts := func() [2]uint64 {
		c, err := traffic.Counts()
		check(t, err)
		return [2]uint64{c[0].Received, c[1].Received}
	}
	both := func(more [2]uint64) {
		t.Helper()
		before := counts()
		check(t, poll(timeout(t), func() error {
			if now := counts(); now[0] < before[0]+more[0] || now[1] < before[1]+more[1] {
				return errTooFew
			}
			return nil
		}))
	}
	for i, from := range []*Namespace{r.a, r.b} {
		both([2]uint64{10, 10})
		check(t, r.CutFrom(from))
		both([2]uint64{10 * uint64(i), 10 * uint64(1-i)}) // what was on its way has come
		before := counts()[i]
		both([2]uint64{10 * uint64(i), 10 * uint64(1-i)})
		if now := counts()[i]; now != before {
			t.Errorf("%d packets of %s pass", now-before, from.name)
		}
		check(t, r.Heal())
	}
	both([2]uint64{10, 10})
	if r.CutFrom(r.Router) == nil {
		t.Error("the router is an end")
	}
}

// TestTrafficRefused sends without a route.
func TestTrafficRefused(t *testing.T) {
	r := newRoute(t)
	traffic := newTraffic(t, r)
	check(t, r.a.nl.RouteDel(mustRoute(t, r.a, "198.51.100.0/24")))
	traffic.Rate(1)
	check(t, poll(timeout(t), func() error {
		counts, err := traffic.Counts()
		if err == nil && counts[0].Refused < 10 {
			err = errTooFew
		}
		return err
	}))
	traffic.Rate(0)
	counts, err := traffic.Counts()
	check(t, err)
	if c := counts[0]; c.Sent != 0 || c.Received != 0 {
		t.Errorf("without a route: %+v", c)
	}
}

// TestTrafficOverflow keeps a receiver from reading.
func TestTrafficOverflow(t *testing.T) {
	r := newRoute(t)
	traffic := newTraffic(t, r)
	k := traffic.ways[0][0]
	k.receiving.Lock()
	k.send(func() int { return 40000 })
	k.receiving.Unlock()
	check(t, traffic.Settle(timeout(t)))
	counts, err := traffic.Counts()
	check(t, err)
	if c := counts[0]; c.Overflow == 0 || c.Sent != c.Received+c.Overflow {
		t.Errorf("to a receiver that did not read: %+v", c)
	}
}

var errTooFew = errors.New("too few datagrams")

// mustRoute finds a route of a namespace.
func mustRoute(t *testing.T, n *Namespace, dst string) *netlink.Route {
	t.Helper()
	routes, err := n.nl.RouteList(nil, unix.AF_INET)
	check(t, err)
	for _, r := range routes {
		if r.Dst != nil && r.Dst.String() == dst {
			return &r
		}
	}
	t.Fatalf("no route to %s", dst)
	return nil
}
