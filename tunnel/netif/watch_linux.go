package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// watcher hears what changes in the host's network configuration.
type watcher struct{ socket *nl.NetlinkSocket }

func openWatcher() (*watcher, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("watch the network configuration: %w", err)
	}
	return &watcher{socket}, nil
}

func (w *watcher) close() { w.socket.Close() }

// run calls hear for every change, until close.
func (w *watcher) run(hear func(change)) {
	for {
		messages, _, err := w.socket.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			hear(change{unknown: true}) // there were more than the socket could hold
		case err != nil:
			return
		}
		for _, m := range messages {
			hear(parseChange(m))
		}
	}
}

// parseChange returns what a message is about. One that is too short for what it
// says to be is about nothing.
func parseChange(m syscall.NetlinkMessage) (c change) {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(m.Data) >= 8 { // the index stands at the same place in both kinds
			c.dev = int(nl.NativeEndian().Uint32(m.Data[4:]))
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		c.dest = parseDest(m.Data)
	}
	return c
}

// parseDest returns the destination of a route.
func parseDest(data []byte) netip.Prefix {
	if len(data) < unix.SizeofRtMsg {
		return netip.Prefix{}
	}
	attrs, err := nl.ParseRouteAttr(data[unix.SizeofRtMsg:])
	if err != nil {
		return netip.Prefix{}
	}
	family, bits := data[0], int(data[1])
	dest := netip.IPv4Unspecified() // a default route does not name it
	if family == unix.AF_INET6 {
		dest = netip.IPv6Unspecified()
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.RTA_DST {
			dest, _ = netip.AddrFromSlice(a.Value)
		}
	}
	return netip.PrefixFrom(dest, bits)
}
