package registry

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
)

// TestEndpoints has the ways to be published.
func TestEndpoints(t *testing.T) {
	w := newWorld(t, "a", "b", "off")
	w.edit("b", func(n *settings.Network) { n.Subnets = append(n.Subnets, netip.MustParsePrefix("203.0.113.0/24")) })
	w.edit("off", func(n *settings.Network) {
		n.Disabled, n.Subnets = true, []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}
	})
	s := w.settings()
	s.Port = 2003
	a := w.clientWith("a", w.keys["a"], s)
	for _, tt := range []struct {
		name, from string
		network    func(*settings.Network)
		want       string
	}{
		{"seen", "192.0.2.1:1", func(*settings.Network) {}, "192.0.2.1:2003"},
		{"nexus's own host", "127.0.0.1:1", func(*settings.Network) {}, "invalid AddrPort"},
		{"private", "192.168.7.1:1", func(*settings.Network) {}, "192.168.7.1:2003"},
		{"in its own network", "10.0.0.1:1", func(*settings.Network) {}, "invalid AddrPort"},
		{"in the network of another one", "10.0.1.7:1", func(*settings.Network) {}, "invalid AddrPort"},
		{"in its own public network", "198.51.100.1:1", func(n *settings.Network) {
			n.Subnets = append(n.Subnets, netip.MustParsePrefix("198.51.100.0/24"))
		}, "198.51.100.1:2003"},
		{"in the public network of another one", "203.0.113.1:1", func(*settings.Network) {}, "invalid AddrPort"},
		{"of the network file", "192.0.2.1:1", func(n *settings.Network) { n.Address = netip.MustParseAddr("203.0.113.1") }, "203.0.113.1:2003"},
		{"port of the network file", "192.0.2.1:1", func(n *settings.Network) { n.Port = 4000 }, "203.0.113.1:4000"},
		{"only the port", "192.0.2.1:1", func(n *settings.Network) { n.Address = netip.Addr{} }, "192.0.2.1:4000"},
		{"of one link only", "[fe80::1%eth0]:1", func(n *settings.Network) { n.Port = 0 }, "invalid AddrPort"},
	} {
		w.from.Store(tt.from)
		w.edit("a", tt.network)
		if got := w.register(a).Gateway("a").Endpoint; got.String() != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
	if e := w.state().entries[0].endpoint; e.IsValid() {
		t.Errorf("the state has %v, which is of one link only", e)
	}
}

// declare registers a gateway that declares an address, and returns it with the check
// that nexus sends.
func (w *world) declare(address string) (*Client, []byte) {
	w.t.Helper()
	s := w.settings()
	s.Address = netip.MustParseAddr(address)
	a := w.clientWith("a", w.keys["a"], s)
	w.register(a)
	parcels, _ := w.handler.mail.take()
	if len(parcels) != 1 || parcels[0].to != netip.AddrPortFrom(s.Address, 2002) {
		w.t.Fatalf("parcels %v", parcels)
	}
	return a, parcels[0].datagram
}

// A declared address is published once somebody there has answered, and no longer.
func TestDeclared(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.from.Store("192.0.2.1:4000")
	endpoint := func(c *Client, want string) {
		t.Helper()
		if got := w.register(c).Gateway("a").Endpoint; got != netip.MustParseAddrPort(want) {
			t.Errorf("endpoint %v, want %s", got, want)
		}
	}
	_, recorded := w.declare("203.0.113.2")
	a, check := w.declare("203.0.113.1")
	endpoint(a, "192.0.2.1:2002")
	if b := w.client("b"); b.Receive(check) {
		t.Error("another gateway takes the check")
	}
	plain := w.client("a")
	plain.Resume(w.register(a))
	if w.register(plain); plain.Receive(check) {
		t.Error("a gateway that declares nothing takes the check")
	}
	w.handler.mail.take()
	a.Resume(w.register(plain))
	if !a.Receive(check) {
		t.Fatal("the check is not taken")
	}
	if a.Receive(check) {
		t.Error("the same check is taken again")
	}
	w.handler.mail.take()
	endpoint(a, "203.0.113.1:2002")
	if parcels, _ := w.handler.mail.take(); len(parcels) != 0 {
		t.Errorf("%d checks of what was proved", len(parcels))
	}
	if a.Receive(recorded) {
		t.Error("a recorded check of another address is taken, and the proof forgotten")
	}
	w.from.Store("203.0.113.1:4000")
	endpoint(w.clientWith("a", w.keys["a"], &settings.Packthread{URL: w.server.URL, ServerKey: w.own.Public(), Password: testPassword,
		Port: 2002, Address: netip.MustParseAddr("203.0.113.1")}), "203.0.113.1:2002")
	if parcels, _ := w.handler.mail.take(); len(parcels) != 0 {
		t.Errorf("%d checks of what nexus has seen", len(parcels))
	}
	w.from.Store("192.0.2.1:4000")
	// The proof is that of one address, one port, one gateway and one epoch.
	for name, change := range map[string]func(*Client){
		"another address": func(c *Client) { c.declared = netip.MustParseAddr("203.0.113.2") },
		"another port":    func(c *Client) { c.port = 2003 },
		"another proof":   func(c *Client) { c.proof[15] ^= 1 },
		"no address":      func(c *Client) { c.declared = netip.Addr{} },
	} {
		c := w.clientWith("a", w.keys["a"], w.settings())
		c.Resume(w.register(a))
		c.proof, c.port, c.declared = a.proof, a.port, a.declared
		change(c)
		if got := w.register(c).Gateway("a").Endpoint.Addr(); got != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("%s: endpoint %v", name, got)
		}
	}
	w.mu.Lock()
	w.now.boot = secondBoot
	w.mu.Unlock()
	endpoint(a, "192.0.2.1:2002")
	if a.Receive(check) {
		t.Error("a check of an earlier epoch is taken")
	}
	w.edit("a", func(n *settings.Network) { n.Address = netip.MustParseAddr("203.0.113.9") })
	w.handler.mail.take()
	endpoint(a, "203.0.113.9:2002")
	if parcels, _ := w.handler.mail.take(); len(parcels) != 0 {
		t.Error("a check of what does not matter")
	}
	w.edit("a", func(n *settings.Network) { n.Address = netip.Addr{} })
	w.handler.mail.take()
	if err := a.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if parcels, _ := w.handler.mail.take(); len(parcels) != 0 {
		t.Error("a check for one who leaves")
	}
}

// The largest network file fits into an answer.
func TestLargest(t *testing.T) {
	var text strings.Builder
	for i := range 300 {
		key := crypto.PublicKey{byte(i), byte(i >> 8), 5}
		fmt.Fprintf(&text, "%s%03d\n key=%v\n", strings.Repeat("n", 59), i, key)
		for j := range 4 {
			fmt.Fprintf(&text, " subnet=2001:db8:%x:%x::/64\n", i+1, j)
		}
	}
	networks, err := settings.ParseNetworks("networks", text.String())
	if err != nil {
		t.Fatal(err)
	}
	for i := range networks {
		networks[i].Address = netip.MustParseAddr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")
	}
	full := func(n int) int {
		s, err := newState(rand.Reader, moment{firstBoot, 0})
		if err != nil {
			t.Fatal(err)
		}
		return len((&answer{Table: Table{Gateways: s.gateways(networks[:n])}}).encode())
	}
	if per := full(2) - full(1); per*300+answerHead != full(300) || full(300) > MaxAnswer-crypto.AnswerOverhead || full(300)-answerHead < settings.MaxTable*9/10 {
		t.Errorf("300 networks need %d bytes, %d each", full(300), per)
	}
	_, err = settings.ParseNetworks("networks", text.String()+strings.ReplaceAll(strings.ReplaceAll(text.String(), "2001:db8", "2001:db9"), "nnn", "mmm"))
	if want := fmt.Sprintf("names and subnets need %d bytes", 2*(full(300)-answerHead)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("600 networks: %v, want %q", err, want)
	}
}
