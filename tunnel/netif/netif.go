// Package netif makes the host's interface, addresses and routes equal to a
// declared state, and restores them.
//
// The caller says what it wants (State) and a Set brings the host there. It
// always works the same way, for the first Apply as for the hundredth:
//
//	        +-----------------------------------------+
//	        v                                         |
//	look at the host -> compute the difference -> record it -> change the host
//	                         | none
//	                         v
//	                       done
//
// What is there already is left alone and stays: a device that root prepared
// completely needs no privilege. What is added is written to the state file
// before it is added, so that after kill -9 the next Open can sweep it. What
// belongs to somebody else is never changed, except the MTU and the up flag of
// the device, which are put back at the end.
//
// All routes carry a protocol number of their own (118, and 119 for pins), and a
// route is removed only when it is exactly the recorded one. Only the main table
// is looked at.
//
// Keep goes through the same circle whenever the kernel says that something of this
// has changed, and leaves out what others have put in the way.
//
// # Pins
//
// A route into the tunnel can cover the address of the tunnel's own server. The
// Set then installs a pin: a host route to the server by the way the host would
// take if the tunnel were not there. Pins go in before the routes that need them
// and out after them.
//
// Only Linux is supported.
package netif

import (
	"errors"
	"net/netip"
	"slices"
)

var (
	// ErrRunning says that another process holds the instance.
	ErrRunning = errors.New("already running")
	// ErrPermission says that a privilege is missing. The message names it and
	// what root could prepare instead.
	ErrPermission = errors.New("missing privilege")
	// ErrUnavailable says that the device is not there or cannot be had.
	ErrUnavailable = errors.New("not available")
)

// Addr is the inner address of this end and of the other one. Without a Remote
// the device gets the local address alone.
type Addr struct {
	Local, Remote netip.Addr
}

// Route is a wanted route.
type Route struct {
	Dest netip.Prefix
	// Gateway is invalid or a Remote for a route into the tunnel. Any other
	// must be directly reachable; the way there decides the interface.
	Gateway netip.Addr
	// Source, when valid, is the address that packets of this host get. It
	// must be one of the host's.
	Source netip.Addr
	// Metric orders routes to the same destination. For IPv6 0 means 1024, as
	// everywhere on Linux.
	Metric int
	// Where says who asked for the route ("vpnd.conf:9"), for messages.
	Where string
}

// State is what a device and the routes around it shall be.
type State struct {
	MTU       int // 0 leaves it as it is
	Addrs     []Addr
	AutoRoute bool // a host route to each Remote
	Routes    []Route
	// Outer lists the addresses that must stay reachable outside the tunnel:
	// those of the servers, as far as they are known beforehand. One that the
	// host has no way to just now is left to Pin: a daemon may start before its
	// network.
	Outer []netip.Addr
}

func (s State) clone() State {
	s.Addrs = slices.Clone(s.Addrs)
	s.Routes = slices.Clone(s.Routes)
	s.Outer = slices.Clone(s.Outer)
	for i, o := range s.Outer {
		s.Outer[i] = plain(o)
	}
	return s
}

// plain returns the address as it stands in routes: no zone, no IPv4 in IPv6.
func plain(a netip.Addr) netip.Addr {
	return a.Unmap().WithZone("")
}

// single returns the prefix that holds nothing but a.
func single(a netip.Addr) netip.Prefix {
	return netip.PrefixFrom(a, a.BitLen())
}
