package lab

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// PointToPoint waits until a program has made the interface link in the
// namespace, and gives it its addresses and MTU, if not 0, and sets it up.
func (n *Namespace) PointToPoint(ctx context.Context, link string, local, remote netip.Addr, mtu int) error {
	var l netlink.Link
	err := poll(ctx, func() (err error) {
		l, err = n.nl.LinkByName(link)
		return err
	})
	if err == nil && mtu > 0 {
		err = n.nl.LinkSetMTU(l, mtu)
	}
	if err == nil {
		addr := &netlink.Addr{IPNet: netlink.NewIPNet(local.AsSlice()), Peer: netlink.NewIPNet(remote.AsSlice())}
		err = n.nl.AddrAdd(l, addr)
	}
	if err == nil {
		err = n.nl.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("set up %s in %s: %w", link, n.name, err)
	}
	return nil
}
