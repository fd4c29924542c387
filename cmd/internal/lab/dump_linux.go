package lab

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dumpTries bounds the readings of a table that changes meanwhile.
const dumpTries = 10

// Dump returns links, addresses, routes and rules of the namespace as
// sorted lines, to compare or to show. Left out is what the kernel adds by
// itself: local and link-local routes, link-local addresses, default rules.
func (n *Namespace) Dump() (string, error) {
	for range dumpTries {
		lines, err := n.dumpLines()
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("dump namespace %s: %w", n.name, err)
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n") + "\n", nil
	}
	return "", fmt.Errorf("dump namespace %s: it keeps changing", n.name)
}

func (n *Namespace) dumpLines() ([]string, error) {
	links, err := n.nl.LinkList()
	if err != nil {
		return nil, err
	}
	names := make(map[int]string)
	var lines []string
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		lines = append(lines, linkLine(l))
	}
	addrs, err := n.nl.AddrList(nil, unix.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if !a.IP.IsLinkLocalUnicast() {
			lines = append(lines, addrLine(a, names))
		}
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		more, err := n.dumpRoutes(family, names)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	return lines, nil
}

func (n *Namespace) dumpRoutes(family int, names map[int]string) ([]string, error) {
	var lines []string
	all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	routes, err := n.nl.RouteListFiltered(family, all, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		if r.Table != unix.RT_TABLE_LOCAL && !linkLocalRoute(r) {
			lines = append(lines, routeLine(r, names))
		}
	}
	rules, err := n.nl.RuleList(family)
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		if r.Protocol != unix.RTPROT_KERNEL {
			lines = append(lines, ruleLine(r))
		}
	}
	return lines, nil
}

func linkLine(l netlink.Link) string {
	state := "down"
	if l.Attrs().Flags&net.FlagUp != 0 {
		state = "up"
	}
	return fmt.Sprintf("link %s %s mtu %d %s", l.Attrs().Name, l.Type(), l.Attrs().MTU, state)
}

func addrLine(a netlink.Addr, names map[int]string) string {
	line := fmt.Sprintf("addr %s %s", names[a.LinkIndex], a.IPNet)
	if a.Peer != nil && !a.Peer.IP.Equal(a.IP) {
		line += " peer " + a.Peer.String()
	}
	return line
}

func routeLine(r netlink.Route, names map[int]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "route %s", r.Dst)
	if r.Type != unix.RTN_UNICAST {
		fmt.Fprintf(&b, " type %d", r.Type)
	}
	if r.Gw != nil {
		fmt.Fprintf(&b, " via %s", r.Gw)
	}
	if dev := names[r.LinkIndex]; dev != "" {
		fmt.Fprintf(&b, " dev %s", dev)
	}
	if r.Src != nil {
		fmt.Fprintf(&b, " src %s", r.Src)
	}
	if r.Priority != 0 {
		fmt.Fprintf(&b, " metric %d", r.Priority)
	}
	if r.MTU != 0 {
		fmt.Fprintf(&b, " mtu %d", r.MTU)
	}
	if r.Table != unix.RT_TABLE_MAIN {
		fmt.Fprintf(&b, " table %d", r.Table)
	}
	fmt.Fprintf(&b, " proto %s", r.Protocol)
	return b.String()
}

func ruleLine(r netlink.Rule) string {
	family := "inet"
	if r.Family == unix.AF_INET6 {
		family = "inet6"
	}
	text := strings.TrimPrefix(r.String(), "ip rule ")
	return fmt.Sprintf("rule %s %s", family, strings.TrimSpace(text))
}

func linkLocalRoute(r netlink.Route) bool {
	return r.Protocol == unix.RTPROT_KERNEL && r.Dst.IP.IsLinkLocalUnicast()
}
