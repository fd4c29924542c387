package main

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vpnd/cmd/internal/lab"
)

// TestLongDatagrams has a route into the tunnel with a larger MTU than the tunnel's
// own: any user of the host can then send what does not fit. It is dropped and
// counted, and the link goes on.
func TestLongDatagrams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("tundev vpn0")
	w.up()
	const datagrams = 300
	must(t, w.client.ns.Do(func() error {
		dev, err := netlink.LinkByName("vpn0")
		if err != nil {
			return err
		}
		dest := net.IPNet{IP: net.IPv4(10, 99, 0, 1), Mask: net.CIDRMask(32, 32)}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: dev.Attrs().Index, Dst: &dest, MTU: 9000}); err != nil {
			return err
		}
		c, err := net.Dial("udp4", "10.99.0.1:9")
		if err != nil {
			return err
		}
		defer c.Close()
		for range datagrams {
			c.Write(make([]byte, 4000))
		}
		return nil
	}))
	w.client.until("counting what does not fit", func(r report) bool { return r.DropsOut["too_long"] == datagrams })
	w.client.reaches(serverInner)
	if r := w.client.conserved(); r.Links != 1 {
		t.Errorf("%d links", r.Links)
	}
}

// TestReloadPatience makes the ends more patient while they run: an outage that
// would have ended the link does not.
func TestReloadPatience(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("keepalive 1", "noanswer 1")
	w.up()
	w.configure("keepalive 20", "noanswer 6")
	for _, s := range []*site{w.server, w.client} {
		must(t, s.Signal(syscall.SIGHUP))
		s.says("configuration reloaded")
	}
	links := make(map[*site]uint64) // on a busy machine the impatient ends may have had more than one
	for s, to := range map[*site]netip.Addr{w.client: serverInner, w.server: clientInner} {
		s.reaches(to)
		links[s] = s.until("up", isUp).Links
	}
	must(t, w.path.Cut())
	began := time.Now()
	go w.client.ns.Ping(t.Context(), serverInner, lab.PingOptions{Count: 100, Interval: 50 * time.Millisecond})
	// (noanswer + 2) x keepalive of before, and a second: the time is what is tested.
	for time.Since(began) < 4*time.Second {
		w.client.until("waiting", isUp)
		time.Sleep(50 * time.Millisecond)
	}
	must(t, w.path.Heal())
	for s, to := range map[*site]netip.Addr{w.client: serverInner, w.server: clientInner} {
		s.reaches(to)
		if r := s.until("up", isUp); r.Links != links[s] {
			t.Errorf("%s: %d links, had %d", s.name, r.Links, links[s])
		}
	}
}
