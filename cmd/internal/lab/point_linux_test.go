package lab

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
)

func TestPointToPoint(t *testing.T) {
	l := newLab(t)
	n, other := newNamespaceIn(t, l, "a"), newNamespaceIn(t, l, "b")
	local, remote := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	err := n.PointToPoint(timeout(t, 10*time.Millisecond), "eth0", local, remote, 0)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without an interface: %v", err)
	}
	link, err := l.Connect(n, other, nil, nil)
	check(t, err)
	check(t, link.Down())
	check(t, n.PointToPoint(timeout(t), "eth0", local, remote, 1420))
	check(t, other.PointToPoint(timeout(t), "eth0", remote, local, 0))
	_, err = n.WaitPing(timeout(t), remote, time.Millisecond)
	check(t, err)
	k, err := n.nl.LinkByName("eth0")
	check(t, err)
	if mtu := k.Attrs().MTU; mtu != 1420 {
		t.Errorf("mtu %d", mtu)
	}
}
