package main

import (
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestHostRoutes takes routes of the host. The mesh is interface 9, which has no name here.
func TestHostRoutes(t *testing.T) {
	names := map[int]string{1: "lo", 2: "eth0"}
	via := net.IPv4(192, 0, 2, 1)
	for _, test := range []struct {
		name  string
		dst   string
		route netlink.Route
		want  string
	}{
		{"direct", "10.1.0.0/24", netlink.Route{LinkIndex: 2}, "direct 10.1.0.0/24 eth0"},
		{"routed", "10.1.0.0/24", netlink.Route{LinkIndex: 2, Gw: via}, "routed 10.1.0.0/24 eth0"},
		{"several ways", "10.1.0.0/24", netlink.Route{MultiPath: []*netlink.NexthopInfo{{LinkIndex: 2, Gw: via}, {LinkIndex: 9}}}, "routed 10.1.0.0/24 eth0"},
		{"unreachable", "10.1.0.0/24", netlink.Route{Type: unix.RTN_UNREACHABLE}, "routed 10.1.0.0/24 unreachable"},
		{"unreachable, IPv6", "fd01::/64", netlink.Route{LinkIndex: 1, Type: unix.RTN_BLACKHOLE, Priority: 1024}, "routed fd01::/64 unreachable"},
		{"unreachable where all else fails", "10.1.0.0/24", netlink.Route{Type: unix.RTN_UNREACHABLE, Priority: 1}, ""},
		{"another instance", "10.1.0.0/24", netlink.Route{LinkIndex: 2, Protocol: protoVPN}, "routed 10.1.0.0/24 eth0"},
		{"another instance, if all else fails", "10.1.0.0/24", netlink.Route{LinkIndex: 2, Protocol: protoVPN, Priority: 1}, ""},
		{"a pin", "198.51.100.1/32", netlink.Route{LinkIndex: 2, Gw: via, Protocol: protoPin}, ""},
		{"the mesh", "10.1.0.0/24", netlink.Route{LinkIndex: 9}, ""},
		{"default", "0.0.0.0/0", netlink.Route{LinkIndex: 2, Gw: via}, ""},
		{"link-local", "fe80::/64", netlink.Route{LinkIndex: 2}, ""},
		{"this host", "::1/128", netlink.Route{LinkIndex: 1}, ""},
		{"an address on lo", "fd01::1/128", netlink.Route{LinkIndex: 1}, "direct fd01::1/128 lo"},
	} {
		_, dst, err := net.ParseCIDR(test.dst)
		must(t, err)
		test.route.Dst = dst
		if test.route.Type == 0 {
			test.route.Type = unix.RTN_UNICAST
		}
		h := &hostView{}
		h.add(test.route, names)
		var got string
		for _, l := range h.direct {
			got += fmt.Sprintf("direct %v %s", l.Prefix, l.Interface)
		}
		for _, l := range h.routed {
			got += fmt.Sprintf("routed %v %s", l.Prefix, l.Interface)
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
