package lab

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Counters is what the kernel has counted at an interface. To is towards the
// interface, away from the host.
type Counters struct {
	To, From               uint64 // packets
	ToDropped, FromDropped uint64
	// Own packets are those among these with which the two kernels talk about
	// IPv6: groups, routers, and addresses that are not in use yet.
	OwnTo, OwnFrom uint64
}

// Counters reads the counters of an interface.
func (n *Namespace) Counters(link string) (Counters, error) {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return Counters{}, fmt.Errorf("read counters of %s in %s: %w", link, n.name, err)
	}
	s := l.Attrs().Statistics
	c := Counters{To: s.TxPackets, From: s.RxPackets, ToDropped: s.TxDropped, FromDropped: s.RxDropped}
	err = n.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/dev_snmp6/" + link)
		if err != nil {
			return err
		}
		var groups, errs uint64
		for name, value := range map[string]*uint64{"Icmp6OutMsgs": &c.OwnTo, "Ip6InMcastPkts": &groups, "Icmp6InDestUnreachs": &errs} {
			if *value, err = snmp6(string(text), name); err != nil {
				return err
			}
		}
		c.OwnFrom = groups + errs
		return nil
	})
	if err != nil {
		return c, fmt.Errorf("read counters of %s in %s: %w", link, n.name, err)
	}
	return c, nil
}

// snmp6 returns one of the lines "name value".
func snmp6(text, name string) (uint64, error) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			return strconv.ParseUint(f[1], 10, 64)
		}
	}
	return 0, errors.New("no counter " + name)
}
