package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/mesh"
)

const (
	// maxDumps bounds how often a list is read again that changed meanwhile.
	maxDumps = 5
	// protoVPN and protoPin mark the routes of this program and of vpnd.
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
		if a := l.Attrs(); a.Name != device && a.Flags&net.FlagLoopback == 0 {
			names[a.Index] = a.Name
		}
	}
	h := &hostView{}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok && names[a.LinkIndex] != "" {
			h.addrs = append(h.addrs, addr.Unmap())
		}
	}
	routes, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		h.add(r, names[r.LinkIndex])
	}
	return h, nil
}

// add takes a route of the main table that leads to an interface with a name.
func (h *hostView) add(r netlink.Route, name string) {
	if r.Dst == nil || name == "" || r.Type != unix.RTN_UNICAST || r.Protocol == protoVPN || r.Protocol == protoPin {
		return
	}
	addr, ok := netip.AddrFromSlice(r.Dst.IP)
	bits, _ := r.Dst.Mask.Size()
	if addr = addr.Unmap(); !ok || bits == 0 || addr.IsLinkLocalUnicast() || addr.IsMulticast() {
		return
	}
	l := mesh.Local{Prefix: netip.PrefixFrom(addr, bits), Interface: name}
	if r.Gw == nil && r.Via == nil {
		h.direct = append(h.direct, l)
	} else {
		h.routed = append(h.routed, l)
	}
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
