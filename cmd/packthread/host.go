package main

import (
	"net/netip"
	"slices"

	"vpnd/cmd/internal/mesh"
	"vpnd/cmd/internal/registry"
)

// hostView is the networks that the host is in without the mesh.
type hostView struct {
	// addrs are its addresses.
	addrs []netip.Addr
	// direct are the networks at its interfaces, routed those behind other routers.
	direct, routed []mesh.Local
}

// locals returns the networks that win over those of the table. A network behind a router
// that is larger than one of the table does not: the route into the mesh is more specific.
func (h *hostView) locals(t *registry.Table) []mesh.Local {
	list := slices.Clone(h.direct)
	for _, l := range h.routed {
		larger := func(p netip.Prefix) bool { return l.Prefix.Bits() < p.Bits() && l.Prefix.Overlaps(p) }
		if !slices.ContainsFunc(t.Gateways, func(g registry.Gateway) bool { return slices.ContainsFunc(g.Subnets, larger) }) {
			list = append(list, l)
		}
	}
	return list
}
