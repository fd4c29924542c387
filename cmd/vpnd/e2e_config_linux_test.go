package main

import (
	"fmt"
	"net/netip"
	"testing"

	"vpnd/cmd/internal/lab"
)

// lan adds a computer behind a gateway, in a network of its own, and makes the
// gateway forward.
func (w *world) lan(gateway *site, subnet, gatewayAddr, hostAddr string) *site {
	gateway.t.Helper()
	host := newSite(gateway.t, w.Lab, "behind "+gateway.name)
	p := netip.MustParsePrefix(subnet)
	with := func(a string) []netip.Prefix {
		return []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr(a), p.Bits())}
	}
	_, err := w.Connect(gateway.ns, host.ns, with(gatewayAddr), with(hostAddr))
	must(gateway.t, err)
	must(gateway.t, host.ns.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr(gatewayAddr)))
	must(gateway.t, gateway.ns.Forward(true))
	return host
}

// TestEndToEndArticle is the set-up of the article that introduced the original:
// two networks behind gateways that forward.
func TestEndToEndArticle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	office := w.lan(w.server, "192.168.1.0/26", "192.168.1.1", "192.168.1.10")
	branch := w.lan(w.client, "192.168.2.0/24", "192.168.2.1", "192.168.2.10")
	w.server.write("mode server", "server 24741", "client 0.0.0.0 0", "local 10.1.0.1", "remote 10.1.0.2",
		"route1 192.168.2.0 255.255.255.0 10.1.0.2",
		"keepalive 20", "noanswer 6", "randomdev /dev/urandom", "keyfile vpnd.key", "pidfile vpnd.pid")
	hook := w.client.script("linkup", `echo "linkup $*"`)
	w.client.write("mode client", fmt.Sprintf("server %v 24741", serverOuter), "client 0.0.0.0 0", "local 10.1.0.2", "remote 10.1.0.1",
		"route1 192.168.1.0 255.255.255.192 10.1.0.1",
		"keepalive 20", "noanswer 6", "randomdev /dev/urandom", "keyfile vpnd.key", "pidfile vpnd.pid", "linkup "+hook)
	w.up()
	t.Logf("office to branch %v", office.reaches(netip.MustParseAddr("192.168.2.10")))
	t.Logf("branch to office %v", branch.reaches(netip.MustParseAddr("192.168.1.10")))
	ends := lab.Ends{Client: branch.ns, Server: office.ns, Dst: netip.MustParseAddr("192.168.1.10")}
	_, err := ends.Transfer(t.Context(), lab.Load{Up: 1 << 20, Down: 1 << 20})
	must(t, err)
	w.client.says(`linkup vpn0 192\.0\.2\.1:24741 0 10\.1\.0\.2 10\.1\.0\.1 client`)
	w.client.stop()
	w.server.stop()
}

// TestEndToEndOldConfiguration runs files as they were written for the original.
func TestEndToEndOldConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Keywords in any order, mode last, the same port on both ends, an address
	// that only the NAT in front of the client has.
	w.server.write("# server side", "autoroute", "mtu 1600", "keyfile vpnd.key", "remote 10.1.0.2", "noanswer 3", "keepalive 10",
		fmt.Sprintf("client %v 4711", clientOuter), fmt.Sprintf("server %v 4711", serverOuter), "local 10.1.0.1", "mode server")
	w.client.write("autoroute", "mtu 1600", "keyfile vpnd.key", "remote 10.1.0.1", "noanswer 3", "keepalive 10",
		"client 203.0.113.77 4711", fmt.Sprintf("server %v 4711", serverOuter), "local 10.1.0.2", "mode client")
	w.up()
	w.client.reaches(netip.MustParseAddr("10.1.0.1"))
	w.server.reaches(netip.MustParseAddr("10.1.0.2"))
	w.client.says(`local address is not one of this host, using any.*203\.0\.113\.77`)
	if r := w.server.tells(); r.Link.Peer != clientOuter.String()+":4711" || r.MTU != 1600 {
		t.Errorf("peer %s, mtu %d", r.Link.Peer, r.MTU)
	}
	// The port is free again at once.
	w.client.stop()
	w.client.start()
	w.client.until("up", isUp)
	w.client.reaches(netip.MustParseAddr("10.1.0.1"))
}

// TestEndToEndSideBySide runs two links between the same hosts, ends one and
// kills the other, and looks whether each touches only its own.
func TestEndToEndSideBySide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.client.dump()
	w.configure("route 10.90.0.0/16")
	other := *w
	other.server, other.client = w.server.sibling("other-server"), w.client.sibling("other-client")
	other.server.write("mode server", "server 24742", "local 10.78.0.1", "remote 10.78.0.2")
	other.client.write("mode client", fmt.Sprintf("server %v 24742", serverOuter), "local 10.78.0.2", "remote 10.78.0.1", "route 10.91.0.0/16")
	w.client.start()
	one := func() string { w.client.tells(); return w.client.dump() }()
	w.server.start()
	w.client.until("up", isUp)
	other.up()
	w.client.reaches(serverInner)
	other.client.reaches(netip.MustParseAddr("10.78.0.1"))
	other.client.kill()
	other.client.start()
	other.client.until("up", isUp)
	other.client.reaches(netip.MustParseAddr("10.78.0.1"))
	w.client.reaches(serverInner)
	other.client.stop()
	if after := w.client.dump(); after != one {
		t.Errorf("the second instance touched what is not its own:\nbefore\n%s\nafter\n%s", one, after)
	}
	w.client.stop()
	if after := w.client.dump(); after != before {
		t.Errorf("left behind:\nbefore\n%s\nafter\n%s", before, after)
	}
}

// sibling is another configuration on the same host. State and key are shared.
func (s *site) sibling(name string) *site {
	c := *s
	c.name, c.Process = name, nil
	return &c
}

// TestEndToEndClamp checks that TCP finds out that the tunnel is narrower than
// the networks at its ends, although nothing tells it.
func TestEndToEndClamp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	host := w.lan(w.client, "192.168.2.0/24", "192.168.2.1", "192.168.2.10")
	w.configure("mtu 1300")
	must(t, appendLine(w.server.config(), "route 192.168.2.0/24"))
	w.up()
	host.reaches(serverInner)
	// Without the clamp both ends believe in 1460: the host's interface has 1500,
	// and the packets too big are what path MTU discovery would be needed for.
	ends := lab.Ends{Client: host.ns, Server: w.server.ns, Dst: serverInner}
	must(t, w.client.ns.Sysctl("ipv4/icmp_ratelimit", "1000000"))
	mss := host.mss(w.server, serverInner)
	if mss != 1300-40 {
		t.Errorf("mss %d, want %d", mss, 1300-40)
	}
	_, err := ends.Transfer(t.Context(), lab.Load{Up: 1 << 20, Down: 1 << 20})
	must(t, err)
}

// TestEndToEndOverIPv6 has IPv6 outside the tunnel, and a first server in the
// list that is not there.
func TestEndToEndOverIPv6(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.write("mode server", "server :: 24741", "client 2001:db8:2::1", "local 10.77.0.1", "remote 10.77.0.2")
	w.client.write("mode client", "server 2001:db8:1::1 4", "server 2001:db8:1::1 24741", "local 10.77.0.2", "remote 10.77.0.1",
		"route 2001:db8:1::/65", "ipopts 12")
	w.up()
	w.client.reaches(serverInner)
	if r := w.client.tells(); r.Link.Peer != "[2001:db8:1::1]:24741" {
		t.Errorf("peer %s", r.Link.Peer)
	}
	w.client.stop()
}
