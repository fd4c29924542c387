package tunnel

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"

	"vpnd/crypto"
)

// What the hub of the tests looks like: client n has the address 10.9.0.n and fd09::n
// and the network 10.n.0.0/16 behind it.
func hubAddrs(n int) []netip.Addr {
	return []netip.Addr{
		netip.AddrFrom4([4]byte{10, 9, 0, byte(n)}),
		netip.AddrFrom16([16]byte{0xfd, 9, 15: byte(n)}),
	}
}

func hubPeer(n int) HubPeer {
	return HubPeer{
		Name: fmt.Sprintf("client%d", n), Addrs: hubAddrs(n),
		Subnets: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n), 0, 0}), 16)},
	}
}

// hubBench is a hub with clients.
type hubBench struct {
	t       *testing.T
	hub     *end
	road    *road
	clients []*end
}

// from is where client n calls from.
func hubFrom(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }

func (b *hubBench) config(n int) Config {
	c := testConfig(b.t)
	c.Client, c.Auto = crypto.ClientID{byte(n)}, true
	c.Servers = []Dial{b.road.from(hubFrom(n))}
	return c
}

// guestOf knows client n by its id.
func guestOf(id crypto.ClientID, _ []netip.Addr, _ func(string) bool) (HubPeer, error) {
	if id[0] == 0 {
		return HubPeer{}, errTest
	}
	return hubPeer(int(id[0])), nil
}

// lengthened is a packet of IPv4 with its length in the header.
func lengthened(p []byte) []byte {
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	return p
}

// newHubBench starts a hub whose clients 1 to n are there.
func newHubBench(t *testing.T, n int, change func(*Config)) *hubBench {
	t.Helper()
	b := &hubBench{t: t, road: newRoad()}
	c := testConfig(t)
	c.Listener, c.Local = b.road, hubAddrs(100)
	c.Hub = &Hub{Guest: guestOf}
	if change != nil {
		change(&c)
	}
	b.hub = start(t, c)
	for i := range n {
		b.clients = append(b.clients, start(t, b.config(i+1)))
		await(t, b.clients[i].up, "link of a client")
		await(t, b.hub.up, "link of the hub")
	}
	return b
}

// peer returns what the hub says of client n.
func (b *hubBench) peer(n int) PeerStats {
	b.t.Helper()
	synctest.Wait()
	for _, p := range b.hub.Stats().Peers {
		if p.Name == hubPeer(n).Name {
			return p
		}
	}
	b.t.Fatalf("no client %d", n)
	panic("not reached")
}

// from returns the way of a client to a road.
func (r *road) from(a netip.Addr) Dial {
	return func(ctx context.Context) (net.Conn, error) { return r.dialFrom(ctx, a) }
}

// between returns a packet from one address to another.
func between(from, to netip.Addr) []byte {
	if from.Is4() {
		p := udp(100, byte(from.As4()[3]))
		copy(p[12:], from.AsSlice())
		copy(p[16:], to.AsSlice())
		return p
	}
	p := ipv6(17, make([]byte, 60))
	copy(p[8:], from.AsSlice())
	copy(p[24:], to.AsSlice())
	return p
}

func address(s string) netip.Addr { return netip.MustParseAddr(s) }

// arrives sees that a packet, and no other, comes out of a device.
func arrives(t *testing.T, e *end, want []byte) {
	t.Helper()
	if got := e.device.take(t); !bytes.Equal(got, want) {
		t.Errorf("packet is %x, want %x", got, want)
	}
}

// pingPong sees that packets go both ways between the host and a client.
func pingPong(t *testing.T, b *hubBench, i int) {
	t.Helper()
	there := between(address("10.200.0.1"), hubAddrs(i + 1)[0])
	b.hub.device.in <- there
	arrives(t, b.clients[i], there)
	back := between(hubAddrs(i + 1)[0], address("10.200.0.1"))
	b.clients[i].device.in <- back
	arrives(t, b.hub, back)
}
