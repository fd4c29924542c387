package mesh

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vpnd/cmd/internal/registry"
	"vpnd/crypto"
)

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// gateway returns a live gateway.
func gateway(name, endpoint string, subnets ...string) registry.Gateway {
	g := registry.Gateway{Name: name, Key: crypto.PublicKey{name[0]}, State: registry.Live, Subnets: prefixes(subnets...)}
	g.Inner = g.Subnets[0].Addr().Next()
	if endpoint != "" {
		g.Endpoint = netip.MustParseAddrPort(endpoint)
	}
	return g
}

func table(list ...registry.Gateway) *registry.Table { return &registry.Table{Gateways: list} }

// text returns a plan in lines.
func text(p *Plan) string {
	var b strings.Builder
	for _, peer := range p.Peers {
		b.WriteString(peer.Name + " " + peer.Endpoint.String() + " " + peer.Inner.String())
		for _, r := range peer.Routes {
			b.WriteString(" " + r.String())
		}
		b.WriteString("\n")
	}
	for _, addr := range p.Outer {
		b.WriteString("outside " + addr.String() + "\n")
	}
	return b.String() + strings.Join(p.Conflicts, "\n")
}

func TestPlan(t *testing.T) {
	a := gateway("a", "192.0.2.1:2002", "10.0.0.0/24")
	gone := gateway("c", "192.0.2.3:2002", "10.0.2.0/24")
	gone.State = registry.Gone
	unheard := gateway("d", "192.0.2.4:2002", "10.0.3.0/24")
	unheard.State = registry.Unheard
	for _, tt := range []struct {
		name   string
		table  *registry.Table
		locals []Local
		want   string
	}{
		{"peers", table(gateway("b", "192.0.2.2:2003", "10.0.1.0/24", "2001:db8::/32"), a, gone, unheard, gateway("e", "", "10.0.4.0/24")), nil,
			"b 192.0.2.2:2003 10.0.1.1 10.0.1.0/24 2001:db8::/32\ne invalid AddrPort 10.0.4.1 10.0.4.0/24\n"},
		{"alone", table(a), nil, ""},
		{"not in the table", table(gone), nil, "the table has no network a"},
		{"empty table", table(), nil, "the table has no network a"},
		{"the same network is local", table(a, gateway("b", "192.0.2.2:1", "10.0.1.0/24", "10.0.9.0/24")), []Local{{prefixes("10.0.1.0/24")[0], "eth1"}},
			"b 192.0.2.2:1 10.0.1.1 10.0.9.0/24\n10.0.1.0/24 of b is not reached: it lies in 10.0.1.0/24, which is local here (eth1); renumber one of them"},
		{"a larger network is local", table(a, gateway("b", "192.0.2.2:1", "10.0.1.0/24")), []Local{{prefixes("10.0.0.0/15")[0], "eth1"}},
			"b 192.0.2.2:1 10.0.1.1\n10.0.1.0/24 of b is not reached: it lies in 10.0.0.0/15, which is local here (eth1); renumber one of them"},
		{"a part is local", table(a, gateway("b", "192.0.2.2:1", "172.16.0.0/12")), []Local{{prefixes("172.17.0.0/16")[0], "docker0"}},
			"b 192.0.2.2:1 172.16.0.1 172.16.0.0/12\n172.16.0.0/12 of b is reached but for 172.17.0.0/16, which is local here (docker0)"},
		{"the own network", table(a, gateway("b", "192.0.2.2:1", "10.0.0.128/25")), nil,
			"b 192.0.2.2:1 10.0.0.129\n10.0.0.128/25 of b is not reached: it lies in 10.0.0.0/24, which is local here; renumber one of them"},
		{"others are not in the way", table(a, gateway("b", "192.0.2.2:1", "10.0.1.0/24")), []Local{{prefixes("10.0.2.0/24")[0], "eth1"}, {prefixes("fd00::/64")[0], "eth1"}},
			"b 192.0.2.2:1 10.0.1.1 10.0.1.0/24\n"},
		{"an endpoint in the mesh", table(a, gateway("b", "10.0.2.7:1", "10.0.1.0/24"), gateway("c", "192.0.2.3:1", "10.0.2.0/24")), nil,
			"b invalid AddrPort 10.0.1.1 10.0.1.0/24\nc 192.0.2.3:1 10.0.2.1 10.0.2.0/24\nb is not called at 10.0.2.7:1: this address is in the network of c"},
		{"an endpoint in its own network", table(a, gateway("b", "10.0.1.7:1", "10.0.1.0/24")), nil,
			"b invalid AddrPort 10.0.1.1 10.0.1.0/24\nb is not called at 10.0.1.7:1: this address is in the network of b"},
		{"a public endpoint in its own network", table(a, gateway("b", "198.51.100.7:1", "198.51.100.0/24")), nil,
			"b 198.51.100.7:1 198.51.100.1 198.51.100.0/24\noutside 198.51.100.7\n"},
		{"it has a network for itself", table(a, gateway("b", "198.51.100.7:1", "198.51.100.0/24", "198.51.100.7/32")), nil,
			"b invalid AddrPort 198.51.100.1 198.51.100.0/24 198.51.100.7/32\nb is not called at 198.51.100.7:1: this address is in the network of b"},
		{"it is in another one, too", table(a, gateway("b", "198.51.100.7:1", "198.51.100.0/24"), gateway("c", "", "198.51.100.0/28")), nil,
			"b invalid AddrPort 198.51.100.1 198.51.100.0/24\nc invalid AddrPort 198.51.100.1 198.51.100.0/28\nb is not called at 198.51.100.7:1: this address is in the network of c"},
		{"an endpoint in a network that has no route", table(a, gateway("b", "10.0.0.7:1", "10.0.0.0/25")), nil,
			"b 10.0.0.7:1 10.0.0.1\n10.0.0.0/25 of b is not reached: it lies in 10.0.0.0/24, which is local here; renumber one of them"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			locals := slices.Clone(tt.locals)
			p := NewPlan(tt.table, "a", locals)
			if diff := cmp.Diff(tt.want, text(p)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			if own := tt.table.Gateway("a"); own != nil && (p.Inner != own.Inner || !slices.Equal(p.Own, own.Subnets)) {
				t.Errorf("own %v %v", p.Inner, p.Own)
			}
			for _, peer := range p.Peers {
				g := tt.table.Gateway(peer.Name)
				if peer.Key != g.Key {
					t.Errorf("peer %+v", peer)
				}
			}
			if !slices.Equal(locals, tt.locals) {
				t.Error("the local networks were changed")
			}
		})
	}
}

func TestMerge(t *testing.T) {
	unheard := func(name string) registry.Gateway {
		g := gateway(name, "", "10.0.0.0/24")
		g.State = registry.Unheard
		return g
	}
	old := table(gateway("a", "192.0.2.1:1", "10.0.0.0/24"), gateway("b", "192.0.2.2:1", "10.0.0.0/24"), gateway("c", "192.0.2.3:1", "10.0.0.0/24"))
	changed := unheard("c")
	changed.Key[0]++
	now := table(gateway("a", "192.0.2.9:1", "10.0.0.0/24"), unheard("b"), changed, unheard("d"))
	got := merge(now, old)
	want := "a live 192.0.2.9:1, b live 192.0.2.2:1, c unheard invalid AddrPort, d unheard invalid AddrPort"
	var s []string
	for _, g := range got.Gateways {
		s = append(s, g.Name+" "+g.State.String()+" "+g.Endpoint.String())
	}
	if got := strings.Join(s, ", "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if now.Gateways[1].State != registry.Unheard {
		t.Error("what nexus sent was changed")
	}
	if got := merge(now, nil); got.Gateways[1].State != registry.Unheard {
		t.Error("somebody is known from nowhere")
	}
}

// The plan keeps its promises, whatever the table says.
func FuzzPlan(f *testing.F) {
	own, server := crypto.PublicKey{1}, crypto.PublicKey{2}
	f.Add(registry.AppendTable(table(gateway("a", "192.0.2.1:1", "10.0.0.0/24"), gateway("b", "10.0.0.7:1", "10.0.0.0/8"), gateway("c", "", "10.0.0.0/25", "2001:db8::/32")), own, server), "10.0.0.0/16")
	f.Fuzz(func(t *testing.T, saved []byte, local string) {
		table, err := registry.ParseTable(saved, own, server)
		if err != nil {
			return
		}
		var locals []Local
		if p, err := netip.ParsePrefix(local); err == nil {
			locals = append(locals, Local{p.Masked(), "eth0"})
		}
		p := NewPlan(table, "a", locals)
		for _, l := range p.Own {
			locals = append(locals, Local{Prefix: l})
		}
		for _, peer := range p.Peers {
			if peer.Name == "a" || table.Gateway(peer.Name).State != registry.Live {
				t.Errorf("peer %+v", peer)
			}
			for _, r := range peer.Routes {
				for _, l := range locals {
					if l.Prefix.Bits() <= r.Bits() && l.Prefix.Overlaps(r) {
						t.Errorf("a route to %v, which is in %v", r, l.Prefix)
					}
				}
				for _, other := range p.Peers {
					addr := other.Endpoint.Addr()
					own := other.Name == peer.Name && slices.Contains(p.Outer, addr) && !r.IsSingleIP()
					if r.Contains(addr) && !own {
						t.Errorf("%v is called through the mesh", other.Endpoint)
					}
				}
			}
		}
	})
}
