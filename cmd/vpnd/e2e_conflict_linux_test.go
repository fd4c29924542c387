package main

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"vpnd/cmd/internal/exit"
)

// TestConflictsAtStart starts on hosts that have already what the tunnel wants. What
// belongs to others is never changed: the start fails, names both, and leaves the
// host as it was, or there is room for both.
func TestConflictsAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client
	eth := c.outerLink()
	elsewhere := func(metric int) func(netlink.Link) error {
		return func(l netlink.Link) error {
			r := route("10.90.0.0/16")
			r.LinkIndex, r.Gw, r.Priority, r.Scope = l.Attrs().Index, net.IPv4(198, 51, 100, 2).To4(), metric, netlink.SCOPE_UNIVERSE
			return netlink.RouteAdd(r)
		}
	}
	noRoute := func(netlink.Link) error { return netlink.RouteDel(route("10.90.0.0/16")) }
	nothing := func(netlink.Link) error { return nil }
	for _, tt := range []struct {
		name       string
		make, undo func(netlink.Link) error
		local      string
		remote     string
		says       string // "": it starts
		has        string // and then the host has
	}{
		{"route, same metric", elsewhere(0), noRoute, "10.77.0.2", "10.77.0.1",
			`route 10\.90\.0\.0/16 \(\S+client\.conf:\d+\): this host already has 10\.90\.0\.0/16 via 198\.51\.100\.2 dev ` + eth, ""},
		{"route, other metric", elsewhere(7), noRoute, "10.77.0.2", "10.77.0.1", "", "route 10.90.0.0/16 dev vpn0 proto 118\nroute 10.90.0.0/16 via 198.51.100.2 dev " + eth + " metric 7"},
		{"local address", func(l netlink.Link) error {
			return netlink.AddrAdd(l, &netlink.Addr{IPNet: netlink.NewIPNet(clientInner.AsSlice())})
		}, func(l netlink.Link) error { return delAddr(l, clientInner) }, "10.77.0.2", "10.77.0.1",
			`local address 10\.77\.0\.2: interface ` + eth + ` has it already`, ""},
		{"remote address is local", nothing, nothing, "10.77.0.2", "198.51.100.1",
			`remote address 198\.51\.100\.1: it is this host's own, on interface ` + eth, ""},
		{"remote address is the server", nothing, nothing, "10.77.0.2", "192.0.2.1",
			`remote address 192\.0\.2\.1 is also the address of the server: the tunnel cannot run through itself`, ""},
		{"inside the outer network", nothing, nothing, "198.51.100.77", "198.51.100.78", "", "route 198.51.100.78/32 dev vpn0 src 198.51.100.77 proto 118"},
	} {
		c.change(eth, tt.make)
		c.write("mode client", "server 192.0.2.1 24741", "local "+tt.local, "remote "+tt.remote, "route 10.90.0.0/16")
		host := c.dump()
		if tt.says != "" {
			checkEnded(t, tt.name, c.run("-n", "-f", c.config()), exit.Unavailable, `(?m)^vpnd: configure vpn0: `+tt.says+`$`)
		} else {
			c.start()
			c.says("no link") // there is no server
			if now := c.dump(); !strings.Contains(now, tt.has) {
				t.Errorf("%s: the host lacks %q:\n%s", tt.name, tt.has, now)
			}
			c.stop()
		}
		if after := c.dump(); after != host {
			t.Errorf("%s: before\n%s\nafter\n%s", tt.name, host, after)
		}
		if left, err := os.ReadDir(c.file("state")); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v %v", tt.name, left, err)
		}
		c.change(eth, tt.undo)
	}
}
