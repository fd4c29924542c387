package main

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/mesh"
)

const (
	// maxDumps bounds how often a list is read again that changed meanwhile.
	maxDumps = 5
	// defaultMetric6 is that of an IPv6 route for which none is said.
	defaultMetric6 = 1024
	// protoVPN and protoPin mark the routes of vpnd and this program, and those to where
	// they call.
	protoVPN, protoPin = 118, 119
)

// readHost looks at the host, but for the interface of the mesh.
func readHost(device string) (*hostView, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := make(map[int]string)
	for _, l := range links {
		if a := l.Attrs(); a.Name != device {
			names[a.Index] = a.Name
		}
	}
	h := &hostView{}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok && names[a.LinkIndex] != "" && !addr.IsLoopback() {
			h.addrs = append(h.addrs, addr.Unmap())
		}
	}
	routes, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		h.add(r, names)
	}
	return h, nil
}

// add takes a route of the main table, if it does not lead to the mesh. names are those of
// the interfaces.
func (h *hostView) add(r netlink.Route, names map[int]string) {
	if len(r.MultiPath) > 0 {
		hop := r.MultiPath[0]
		r.LinkIndex, r.Gw, r.Via = hop.LinkIndex, hop.Gw, hop.Via
	}
	refuses, other := r.Type != unix.RTN_UNICAST, r.Protocol == protoVPN // another instance
	name := names[r.LinkIndex]
	if refuses {
		name = "unreachable"
	}
	if r.Dst == nil || name == "" || r.Protocol == protoPin {
		return
	}
	addr, ok := netip.AddrFromSlice(r.Dst.IP)
	bits, _ := r.Dst.Mask.Size()
	if addr = addr.Unmap(); !ok || bits == 0 || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() {
		return
	}
	l := mesh.Local{Prefix: netip.PrefixFrom(addr, bits), Interface: name}
	switch {
	case (refuses || other) && r.Priority > metricOf(addr): // for when the mesh has no route
	case refuses || other || r.Gw != nil || r.Via != nil:
		h.routed = append(h.routed, l)
	default:
		h.direct = append(h.direct, l)
	}
}

// metricOf returns the metric of routes into the mesh.
func metricOf(addr netip.Addr) int {
	if addr.Is6() {
		return defaultMetric6
	}
	return 0
}

func dump[T any](list func() ([]T, error)) (items []T, err error) {
	for range maxDumps {
		items, err = list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return items, err
}
