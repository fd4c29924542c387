package pool

import (
	"fmt"
	"net/netip"
	"testing"
)

// TestMostClients has more clients than are remembered, in a range that has room for
// them: who comes has to take what another one loses, since that is how the hub learns
// whom to forget, too.
func TestMostClients(t *testing.T) {
	p := open(t, place(t), "10.0.0.0/8", "fd09::/64")
	for i := range maxClients {
		p.add(lease{fmt.Sprint(i), []netip.Addr{
			netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), netip.AddrFrom16([16]byte{0xfd, 9, 13: 1, 14: byte(i >> 8), 15: byte(i)})}})
	}
	takes(t, p, "new", "10.1.0.0 fd09::1:0", nobody, "10.77.0.1", "fd09::77:1")
	takes(t, p, "next", "10.1.0.1 fd09::1:1", nobody)
	takes(t, p, "new", "10.1.0.0 fd09::1:0", nobody)
	takes(t, p, "last", "", func(string) bool { return true })
}
