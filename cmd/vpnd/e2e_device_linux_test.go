package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
)

// change does something to an interface of the site, as somebody else would.
func (s *site) change(name string, do func(netlink.Link) error) {
	s.t.Helper()
	must(s.t, s.ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		return do(l)
	}))
}

func (s *site) setLink(name string, up bool) {
	s.t.Helper()
	s.change(name, func(l netlink.Link) error {
		if up {
			return netlink.LinkSetUp(l)
		}
		return netlink.LinkSetDown(l)
	})
}

// becomes waits until the host has what it should have.
func (s *site) becomes(want string) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); s.dump() != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: the host has\n%s\nwant\n%s", s.name, s.dump(), want)
		}
	}
}

// hears waits for a line in the daemon's log that comes after what do does.
func (s *site) hears(pattern string, do func()) {
	s.t.Helper()
	mark := s.Stderr.Mark()
	do()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if _, err := s.Stderr.WaitAfter(ctx, mark, pattern); err != nil {
		s.t.Fatalf("%s does not say %q: %v", s.name, pattern, err)
	}
}

// route is a route of the main table, as far as that tells it from others.
func route(dst string) *netlink.Route {
	_, n, err := net.ParseCIDR(dst)
	if err != nil {
		panic(err)
	}
	return &netlink.Route{Dst: n, Scope: netlink.SCOPE_NOWHERE}
}

func sortLines(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// outerLink returns the name of the interface to the router.
func (s *site) outerLink() (name string) {
	s.t.Helper()
	must(s.t, s.ns.Do(func() error {
		routes, err := netlink.RouteGet(serverOuter.AsSlice())
		if err != nil {
			return err
		}
		l, err := netlink.LinkByIndex(routes[0].LinkIndex)
		if err == nil {
			name = l.Attrs().Name
		}
		return err
	}))
	return name
}

// TestDeviceSpoilt takes one thing after the other away from the interface of a
// client whose link is up. All comes back at once, and the link does not end.
func TestDeviceSpoilt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.client
	c.also("route 10.90.0.0/16", "route 192.0.2.0/25") // the second covers the server: it brings a pin
	w.up()
	inner := w.talk()
	up := c.dump()
	eth := c.outerLink()
	for _, tt := range []struct {
		name  string
		spoil func(vpn netlink.Link) error
	}{
		{"address", func(l netlink.Link) error { return delAddr(l, clientInner) }},
		{"IPv6 address", func(l netlink.Link) error { return delAddr(l, clientIPv6) }},
		{"route", func(netlink.Link) error { return netlink.RouteDel(route("10.90.0.0/16")) }},
		{"route to the remote end", func(netlink.Link) error { return netlink.RouteDel(route("10.77.0.1/32")) }},
		{"IPv6 route", func(netlink.Link) error { return netlink.RouteDel(route("fd00:77::1/128")) }},
		{"pin", func(netlink.Link) error { return netlink.RouteDel(route("192.0.2.1/32")) }},
		{"smaller mtu", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1300) }},
		{"mtu too small for IPv6", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 500) }},
		{"larger mtu", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 9000) }},
		{"down and up", func(l netlink.Link) error {
			if err := netlink.LinkSetDown(l); err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		}},
	} {
		began := time.Now()
		c.hears(`msg="somebody changed the interface or its routes, putting them back" interface=vpn0`, func() {
			c.change("vpn0", tt.spoil)
		})
		c.becomes(up)
		t.Logf("%s: back after %v", tt.name, time.Since(began))
		c.reaches(serverInner)
		c.reaches(serverIPv6)
	}

	// An address more than there was is not ours to remove.
	second := netip.MustParseAddr("10.66.0.1")
	c.change("vpn0", func(l netlink.Link) error {
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: netlink.NewIPNet(clientInner.AsSlice()), Peer: netlink.NewIPNet(serverInner.AsSlice())}); err != unix.EEXIST {
			return fmt.Errorf("add the address again: %v", err)
		}
		return netlink.AddrAdd(l, &netlink.Addr{IPNet: netlink.NewIPNet(second.AsSlice())})
	})
	// Nor is what stands in the way of ours.
	c.hears(`error="route 10\.90\.0\.0/16 \(\S+client\.conf:\d+\): this host already has 10\.90\.0\.0/16 via 198\.51\.100\.2 dev `+eth, func() {
		c.change(eth, func(l netlink.Link) error {
			r := route("10.90.0.0/16")
			r.LinkIndex, r.Gw, r.Scope = l.Attrs().Index, []byte{198, 51, 100, 2}, netlink.SCOPE_UNIVERSE
			return netlink.RouteReplace(r)
		})
	})
	c.hears(`local address 10\.77\.0\.2: interface `+eth+` has it already`, func() {
		c.change(eth, func(l netlink.Link) error {
			return netlink.AddrAdd(l, &netlink.Addr{IPNet: netlink.NewIPNet(clientInner.AsSlice())})
		})
	})
	c.hears(`msg="interface is as it should be again" interface=vpn0`, func() {
		c.change(eth, func(l netlink.Link) error { return delAddr(l, clientInner) })
		c.change(eth, func(l netlink.Link) error { return netlink.RouteDel(route("10.90.0.0/16")) })
	})
	c.change("vpn0", func(l netlink.Link) error { return delAddr(l, second) })
	c.becomes(up)
	inner.goesOn()
	if n := c.until("up", isUp).Links; n != 1 {
		t.Errorf("%d links: it has ended meanwhile", n)
	}
	w.client.conserved()
}

func delAddr(l netlink.Link, a netip.Addr) error {
	addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, have := range addrs {
		if have.IP.Equal(a.AsSlice()) {
			return netlink.AddrDel(l, &have)
		}
	}
	return fmt.Errorf("%s has no address %v", l.Attrs().Name, a)
}

// TestDeviceSetDown sets the interface down: it stays so, nothing passes, the
// link stays up, and all that does not pass is counted. Set up, it is as before.
func TestDeviceSetDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("keepalive 1", "noanswer 2")
	c := w.client
	w.up()
	inner := w.talk()
	up := c.dump()
	before := c.until("up", isUp)
	c.hears(`msg="interface is not as it should be" interface=vpn0 error="it was set down: nothing passes until it is set up"`, func() {
		c.setLink("vpn0", false)
	})
	inner.speaksIntoTheVoid()
	sent := w.server.sends(clientInner)
	c.until("dropping", func(r report) bool { return r.DropsIn["device_write"] >= uint64(sent) })
	// Longer than a link lives without an answer.
	now := c.until("alive", func(r report) bool { return isUp(r) && r.Link.LastPacket.Sub(before.Link.LastPacket) > 4*time.Second })
	if now.Links != 1 {
		t.Errorf("%d links: it has ended", now.Links)
	}
	if strings.Contains(c.dump(), "link vpn0 tuntap mtu 1500 up") {
		t.Error("the interface was set up again")
	}
	c.hears(`msg="interface is as it should be again"`, func() { c.setLink("vpn0", true) })
	c.becomes(up)
	c.reaches(serverInner)
	c.reaches(serverIPv6)
	inner.goesOn()
	c.conserved()
}

// sends sends some datagrams that nobody waits for and returns how many.
func (s *site) sends(to netip.Addr) int {
	s.t.Helper()
	const count = 5
	must(s.t, s.ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for range count {
			if err := unix.Sendto(fd, []byte("anybody there?"), 0, &unix.SockaddrInet4{Port: 9, Addr: to.As4()}); err != nil {
				return err
			}
		}
		return nil
	}))
	return count
}

// TestDeviceRenamed gives the interface another name. A link that is made after
// that needs the interface, too, and hooks and status are told its name.
func TestDeviceRenamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.client
	c.also("route 192.0.2.0/25", "linkup "+c.script("linkup", `echo "$1 $VPND_IFNAME $IFNAME" >> `+c.file("hooks")))
	host := c.dump()
	w.up()
	up := c.dump()
	c.hears(`msg="interface was renamed" from=vpn0 to=office`, func() {
		c.change("vpn0", func(l netlink.Link) error {
			if err := netlink.LinkSetDown(l); err != nil { // old kernels rename nothing that is up
				return err
			}
			if err := netlink.LinkSetName(l, "office"); err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		})
	})
	c.becomes(sortLines(strings.ReplaceAll(up, "vpn0", "office")))
	must(t, c.Signal(syscall.SIGUSR1))
	r := c.until("up again", func(r report) bool { return isUp(r) && r.Links == 2 })
	if r.Interface != "office" {
		t.Errorf("status names interface %s", r.Interface)
	}
	c.reaches(serverInner)
	c.stop()
	c.becomes(host)
	if got := c.hookText(); got != "vpn0 vpn0 vpn0\noffice office office\n" {
		t.Errorf("hooks were told %q", got)
	}
}

// TestDeviceMoved puts the interface into another network namespace, where the
// daemon cannot look after it.
func TestDeviceMoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("pidfile vpnd.pid", "route 10.99.0.0/16")
	c := w.client
	elsewhere, err := w.Namespace("elsewhere")
	must(t, err)
	host := c.dump()
	w.up()
	var ns *os.File
	must(t, elsewhere.Do(func() (err error) {
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	}))
	defer ns.Close()
	c.change("vpn0", func(l netlink.Link) error { return netlink.LinkSetNsFd(l, int(ns.Fd())) })
	c.exits(exit.Unavailable)
	c.says(`(?m)^vpnd: interface vpn0 was deleted or moved to another network namespace: `)
	c.leftNothing(host)
	if d, err := elsewhere.Dump(); err != nil || strings.Contains(d, "vpn0") {
		t.Errorf("still there: %v\n%s", err, d)
	}
	w.server.says(`msg="link is down".*cause="peer closed the link: shutdown"`)
	c.start()
	c.until("up", isUp)
	c.reaches(serverInner)
}

// TestDeviceFight takes a route away as often as it comes back. After a while it
// does so rarely, and neither the log nor the processor is flooded.
func TestDeviceFight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.client
	c.also("route 10.90.0.0/16")
	w.up()
	before, err := c.Usage()
	must(t, err)
	const most = 60
	rounds, waited := 0, time.Duration(0)
	for ; rounds < most && waited < 5*time.Second; rounds++ {
		waited = c.takeAway("10.90.0.0/16")
	}
	after, err := c.Usage()
	must(t, err)
	t.Logf("after %d removals the route comes back after %v; all cost %v of CPU", rounds-1, waited, after.CPU-before.CPU)
	if rounds == most {
		t.Errorf("after %d removals the route still comes back in %v", rounds, waited)
	}
	c.reaches(serverInner)
}

// takeAway removes a route as soon as it is there and returns how long that took.
func (s *site) takeAway(dst string) time.Duration {
	s.t.Helper()
	began := time.Now()
	for s.ns.Do(func() error { return netlink.RouteDel(route(dst)) }) != nil {
		if time.Since(began) > patience {
			s.t.Fatalf("%s: route %s does not come back", s.name, dst)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}
