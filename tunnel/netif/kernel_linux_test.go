package netif

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestWays pins by ways of all kinds that Linux has.
func TestWays(t *testing.T) {
	for _, c := range []struct{ name, way, want string }{
		{"on link", "onlink via 172.31.1.1 dev eth0", "198.51.100.7/32 via 172.31.1.1 dev eth0 onlink metric 30000"},
		{"source", "via 192.0.2.1 dev eth0 src 192.0.2.2", "198.51.100.7/32 via 192.0.2.1 dev eth0 src 192.0.2.2 metric 30000"},
		{"ipv6 gateway", "via 2001:db8::9 dev eth0", "198.51.100.7/32 via 2001:db8::9 dev eth0 metric 30000"},
		{"device", "dev eth0", "198.51.100.7/32 dev eth0 metric 30000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNamespace(t)
			n.edit("link eth0 1500 up\naddr eth0 192.0.2.2/24\naddr eth0 2001:db8::2/64\nlink vpn0 1500 up\n")
			n.edit("route 0.0.0.0/0 metric 100 " + c.way + "\n")
			before := n.dump()
			s, err := Open(t.TempDir(), "x", discard())
			check(t, err)
			check(t, s.Apply("vpn0", parseState("route 0.0.0.0/0\nouter 198.51.100.7\n")))
			h := n.host()
			pin, ok := best(h.routes, s.want.Outer[0], all)
			if dev, _ := h.link(pin.Dev); !ok || pin.text(dev) != c.want {
				t.Errorf("pin %s, want %s", pin.text(dev), c.want)
			}
			check(t, s.Pin(s.want.Outer[0]))
			check(t, s.Close())
			if diff := cmp.Diff(before, n.dump()); diff != "" {
				t.Errorf("namespace before and after:\n%s", diff)
			}
		})
	}
}

// TestMultipath takes the first hop that is alive.
func TestMultipath(t *testing.T) {
	n := newNamespace(t)
	n.edit("link eth0 1500 up\naddr eth0 192.0.2.2/24\nlink eth1 1500 up\naddr eth1 203.0.113.2/24\nlink vpn0 1500 up\n")
	h := n.host()
	n.check(n.nl.RouteAdd(&netlink.Route{
		Dst:      toNet(netip.MustParsePrefix("0.0.0.0/0")),
		Priority: 100,
		MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: h.index("eth0"), Gw: []byte{192, 0, 2, 1}},
			{LinkIndex: h.index("eth1"), Gw: []byte{203, 0, 113, 1}},
		},
	}))
	s, err := Open(t.TempDir(), "x", discard())
	check(t, err)
	check(t, s.Apply("vpn0", parseState("route 0.0.0.0/0\n")))
	server := parseState("outer 198.51.100.7\n").Outer[0]
	for _, want := range []string{"192.0.2.1", "203.0.113.1"} {
		check(t, s.Pin(server))
		if pin, _ := best(n.host().routes, server, all); pin.Gateway.String() != want {
			t.Errorf("pin via %s, want %s", pin.Gateway, want)
		}
		n.edit("link eth0 1500 down\n")
	}
	check(t, s.Close())
}

// TestTypeOfService: a route for some packets only is no way to the server.
func TestTypeOfService(t *testing.T) {
	n := newNamespace(t)
	n.edit("link eth0 1500 up\naddr eth0 192.0.2.2/24\nlink vpn0 1500 up\n")
	n.check(n.nl.RouteAdd(&netlink.Route{Dst: toNet(netip.MustParsePrefix("0.0.0.0/0")), Gw: []byte{192, 0, 2, 1}, Tos: 16}))
	s, err := Open(t.TempDir(), "x", discard())
	check(t, err)
	check(t, s.Apply("vpn0", parseState("route 0.0.0.0/0\n")))
	if err := s.Pin(netip.MustParseAddr("198.51.100.7")); !errors.Is(err, errNoWay) {
		t.Errorf("pin: %v", err)
	}
	check(t, s.Close())
}

func TestDumpInterrupted(t *testing.T) {
	for times, works := range map[int]bool{0: true, maxDumps - 1: true, maxDumps: false} {
		calls := 0
		items, err := dump(func() ([]int, error) {
			if calls++; calls <= times {
				return nil, netlink.ErrDumpInterrupted
			}
			return []int{7}, nil
		})
		if works != (err == nil) || works && len(items) != 1 {
			t.Errorf("interrupted %d times: %v, %v", times, items, err)
		}
	}
	failure := errors.New("failure")
	if _, err := dump(func() ([]int, error) { return nil, failure }); err != failure {
		t.Errorf("error %v", err)
	}
}

func TestExplain(t *testing.T) {
	v4 := hostRoute{Dest: netip.MustParsePrefix("10.0.0.0/8")}
	v6 := hostRoute{Dest: netip.MustParsePrefix("fd00::/8")}
	addr6 := hostAddr{Local: netip.MustParsePrefix("fd00::1/128")}
	for _, c := range []struct {
		step step
		err  syscall.Errno
		want error
		text string
	}{
		{step{op: opDelRoute, route: v4}, unix.ESRCH, nil, ""},
		{step{op: opDelAddr, addr: addr6}, unix.EADDRNOTAVAIL, nil, ""},
		{step{op: opDelAddr, addr: addr6}, unix.ENXIO, nil, ""},
		{step{op: opDelRoute, route: v4}, unix.EPERM, ErrPermission, "operation not permitted"},
		{step{op: opDelRoute, route: v4}, unix.EINVAL, unix.EINVAL, "invalid argument"},
		{step{op: opAddRoute, route: v4}, unix.ESRCH, unix.ESRCH, "no such process"},
		{step{op: opAddRoute, route: v4}, unix.EEXIST, errChanged, "file exists"},
		{step{op: opUp}, unix.ENODEV, errChanged, "no such device"},
		{step{op: opAddRoute, route: v4}, unix.ENETDOWN, errChanged, "network is down"},
		{step{op: opAddRoute, route: v6}, unix.EACCES, unix.EACCES, "IPv6 is disabled"},
		{step{op: opAddAddr, addr: addr6}, unix.EOPNOTSUPP, unix.EOPNOTSUPP, "IPv6 is disabled"},
		{step{op: opAddRoute, route: v4}, unix.EACCES, unix.EACCES, "permission denied"},
		{step{op: opAddAddr, addr: addr6}, unix.EINVAL, unix.EINVAL, "invalid argument"},
	} {
		err := explain(c.err, c.step)
		if !errors.Is(err, c.want) || c.want != nil && !strings.HasPrefix(strings.TrimPrefix(err.Error(), c.want.Error()+": "), c.text) {
			t.Errorf("%s of %v: %v", c.step, c.err, err)
		}
	}
}

func TestIPv6Disabled(t *testing.T) {
	n := newNamespace(t)
	n.edit("link vpn0 1500 down\n")
	before := n.dump()
	check(t, os.WriteFile("/proc/sys/net/ipv6/conf/vpn0/disable_ipv6", []byte("1"), 0))
	s, err := Open(t.TempDir(), "x", discard())
	check(t, err)
	err = s.Apply("vpn0", parseState("addr 10.0.0.1 10.0.0.2\naddr fd00::1 fd00::2\n"))
	if err == nil || !strings.Contains(err.Error(), "IPv6 is disabled") || errors.Is(err, ErrPermission) {
		t.Errorf("apply: %v", err)
	}
	if diff := cmp.Diff(before, n.dump()); diff != "" {
		t.Errorf("left half installed:\n%s", diff)
	}
	check(t, s.Close())
}

func TestPlace(t *testing.T) {
	newNamespace(t)
	one := currentPlace()
	if one != currentPlace() {
		t.Error("the place of one namespace changes")
	}
	newNamespace(t)
	if one == currentPlace() {
		t.Errorf("two namespaces are the same place: %s", one)
	}
}
