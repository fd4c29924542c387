package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vpnd/cmd/internal/mesh"
	"vpnd/cmd/internal/registry"
	"vpnd/crypto"
)

func addrs(list ...string) (all []netip.Addr) {
	for _, s := range list {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func locals(list ...string) (all []mesh.Local) {
	for _, s := range list {
		all = append(all, mesh.Local{Prefix: netip.MustParsePrefix(s), Interface: "eth0"})
	}
	return all
}

// entry returns a gateway that is there.
func entry(name, inner string, subnets ...string) registry.Gateway {
	g := registry.Gateway{Name: name, Key: crypto.PublicKey{name[0]}, State: registry.Live, Inner: netip.MustParseAddr(inner)}
	for _, s := range subnets {
		g.Subnets = append(g.Subnets, netip.MustParsePrefix(s))
	}
	return g
}

// TestDecide makes routes of tables and hosts. The own network is a.
func TestDecide(t *testing.T) {
	b := entry("b", "10.2.0.1", "10.2.0.0/24", "fd02::/64")
	for _, test := range []struct {
		name     string
		own      registry.Gateway
		host     hostView
		routes   string
		addrs    string // on the interface of the mesh
		inner    string
		conflict string
	}{
		{"as nexus says", entry("a", "10.1.0.1", "10.1.0.0/24"), hostView{addrs: addrs("192.0.2.1", "10.1.0.7", "10.1.0.1"), direct: locals("192.0.2.0/24", "10.1.0.0/24")},
			"10.2.0.0/24 src 10.1.0.1, fd02::/64", "", "10.1.0.1", ""},
		{"both families", entry("a", "fd01::1", "10.1.0.0/24", "fd01::/64"), hostView{addrs: addrs("10.1.0.7", "fe80::1", "fd01::1")},
			"10.2.0.0/24 src 10.1.0.7, fd02::/64 src fd01::1", "", "fd01::1", ""},
		{"no address of its network", entry("a", "10.1.0.1", "10.1.0.1/32"), hostView{addrs: addrs("192.0.2.1")},
			"10.2.0.0/24 src 10.1.0.1, fd02::/64", "10.1.0.1", "10.1.0.1", ""},
		{"another inner address", entry("a", "10.1.0.1", "10.1.0.0/24"), hostView{addrs: addrs("10.1.0.254")},
			"10.2.0.0/24 src 10.1.0.254, fd02::/64", "", "", "say inner=10.1.0.254 in the network file"},
		{"a local network is the same", entry("a", "10.1.0.1", "10.1.0.0/24"), hostView{addrs: addrs("10.1.0.1"), direct: locals("10.2.0.0/24")},
			"fd02::/64", "", "10.1.0.1", "10.2.0.0/24 of b is not reached: it lies in 10.2.0.0/24, which is local here (eth0); renumber one of them"},
		{"it is larger", entry("a", "10.1.0.1", "10.1.0.0/24"), hostView{addrs: addrs("10.1.0.1"), direct: locals("10.0.0.0/8")},
			"fd02::/64", "", "10.1.0.1", "it lies in 10.0.0.0/8"},
		{"it is smaller", entry("a", "10.1.0.1", "10.1.0.0/24"), hostView{addrs: addrs("10.1.0.1"), direct: locals("10.2.0.128/25")},
			"10.2.0.0/24 src 10.1.0.1, fd02::/64", "", "10.1.0.1", "reached but for 10.2.0.128/25"},
		{"another router has the same", entry("a", "10.1.0.1", "10.1.0.0/24"), hostView{addrs: addrs("10.1.0.1"), routed: locals("10.2.0.0/24")},
			"fd02::/64", "", "10.1.0.1", "is not reached"},
		{"another router has a larger one", entry("a", "10.1.0.1", "10.1.0.0/24"), hostView{addrs: addrs("10.1.0.1"), routed: locals("10.0.0.0/8")},
			"10.2.0.0/24 src 10.1.0.1, fd02::/64", "", "10.1.0.1", ""},
		{"not in the table", entry("c", "10.1.0.1", "10.1.0.0/24"), hostView{addrs: addrs("10.1.0.1")}, "", "", "", "the table has no network a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := &gateway{name: "a"}
			a := g.decide(&registry.Table{Gateways: []registry.Gateway{test.own, b}}, &test.host)
			var routes, given []string
			for _, r := range a.state.Routes {
				text := r.Dest.String()
				if r.Source.IsValid() {
					text += " src " + r.Source.String()
				}
				routes = append(routes, text)
			}
			for _, x := range a.state.Addrs {
				given = append(given, x.Local.String())
			}
			inner := ""
			if a.inner.IsValid() {
				inner = a.inner.String()
			}
			if got := strings.Join(routes, ", "); got != test.routes {
				t.Errorf("routes %q, want %q", got, test.routes)
			}
			if got := strings.Join(given, " "); got != test.addrs || inner != test.inner {
				t.Errorf("addresses %q, inner %q", got, inner)
			}
			if found := slices.ContainsFunc(a.conflicts, func(c string) bool { return strings.Contains(c, test.conflict) }); found != (test.conflict != "") || !found && len(a.conflicts) > 0 {
				t.Errorf("conflicts %q, want %q", a.conflicts, test.conflict)
			}
		})
	}
}
