package netif

import (
	"fmt"
	"strings"
)

type op uint8

const (
	opMTU op = iota
	opUp
	opDown
	opAddAddr
	opDelAddr
	opAddRoute
	opReplaceRoute
	opDelRoute
)

// step is one change of the host. Which of its fields count depends on op.
type step struct {
	op    op
	dev   link // the interface concerned, with its new MTU for opMTU
	addr  hostAddr
	route hostRoute
}

// adds reports whether the step leaves something behind, which must be recorded
// beforehand.
func (s step) adds() bool {
	return s.op != opDelAddr && s.op != opDelRoute
}

// String returns the command of ip(8) that does the same. It does not mention
// the protocol number: what root prepares by hand is root's.
func (s step) String() string {
	switch s.op {
	case opMTU:
		return fmt.Sprintf("ip link set dev %s mtu %d", s.dev.name, s.dev.mtu)
	case opUp:
		return "ip link set dev " + s.dev.name + " up"
	case opDown:
		return "ip link set dev " + s.dev.name + " down"
	case opAddAddr:
		return "ip addr add " + s.addr.text(s.dev) + s.addr.flagText()
	case opDelAddr:
		return "ip addr del " + s.addr.text(s.dev)
	case opAddRoute:
		return "ip route add " + s.route.text(s.dev)
	case opReplaceRoute:
		return "ip route replace " + s.route.text(s.dev)
	default:
		return "ip route del " + s.route.text(s.dev)
	}
}

// commands lists steps for a person who will type them.
func commands(steps []step) string {
	lines := make([]string, len(steps))
	for i, s := range steps {
		lines[i] = s.String()
	}
	return strings.Join(lines, "; ")
}
