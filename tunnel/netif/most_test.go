package netif

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestApplyMost wants routes one after the other of a host that has a network of its own.
func TestApplyMost(t *testing.T) {
	for _, test := range []struct {
		name   string
		states []string // each replaces the one before
		routes string   // into the tunnel in the end
		errors []string // of the last one
	}{
		{"all can be had", []string{"route 10.1.0.0/16\nroute 10.2.0.0/16\n"}, "10.1.0.0/16 10.2.0.0/16", nil},
		{"the network of the host", []string{"route 10.1.0.0/16\nroute 192.168.9.0/24\nroute 10.2.0.0/16\nroute 10.3.0.0/16\n"},
			"10.1.0.0/16 10.2.0.0/16 10.3.0.0/16", []string{"192.168.9.0/24"}},
		{"two that cannot be had", []string{"route 192.168.9.0/24\nroute 10.1.0.0/16 src 192.0.2.1\nroute 10.2.0.0/16\n"},
			"10.2.0.0/16", []string{"192.168.9.0/24", "10.1.0.0/16"}},
		{"what is there stays before what is new", []string{"route 10.2.0.0/16\n", "route 10.2.0.0/16 # ann\nroute 10.2.0.0/16\n"},
			"10.2.0.0/16", []string{"the same as"}},
		{"some are withdrawn", []string{"route 10.1.0.0/16\nroute 10.2.0.0/16\n", "route 10.2.0.0/16\nroute 192.168.9.0/24\n"},
			"10.2.0.0/16", []string{"192.168.9.0/24"}},
		{"nothing can be had", []string{"route 10.1.0.0/16\n", "addr 192.168.9.1\nroute 10.2.0.0/16\n"},
			"10.1.0.0/16", []string{"interface eth0 has it already", "interface eth0 has it already"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := foreign([]section{{"host", "link vpn0 1500 up\nlink eth0 1500 up\naddr eth0 192.168.9.1/24\nroute 192.168.9.0/24 dev eth0\n"}})
			k := &fakeKernel{*h}
			_, s := openLogged(t, t.TempDir(), k)
			var got []Route
			var err error
			for _, text := range test.states {
				got, err = s.ApplyMost("vpn0", parseState(text))
			}
			var said []string
			if err != nil {
				said = strings.Split(err.Error(), "\n")
			}
			if !slices.EqualFunc(said, test.errors, strings.Contains) {
				t.Errorf("error %v, want %q", err, test.errors)
			}
			var returned, there []string
			for _, r := range got {
				returned = append(returned, r.Dest.String())
			}
			for _, r := range k.host.routes {
				if r.Proto == protoRoute {
					there = append(there, r.Dest.String())
				}
			}
			if strings.Join(returned, " ") != test.routes || strings.Join(there, " ") != test.routes {
				t.Errorf("returned are %v, the host has %v, want %s", returned, there, test.routes)
			}
		})
	}
}

// TestApplyMostAgain wants a route again when nothing is in its way any more.
func TestApplyMostAgain(t *testing.T) {
	k := preparedKernel()
	k.host.edit("link eth0 1500 up")
	k.host.edit("route 10.2.0.0/16 dev eth0")
	_, s := openLogged(t, t.TempDir(), k)
	state := parseState("route 10.1.0.0/16\nroute 10.2.0.0/16\n")
	if got, err := s.ApplyMost("vpn0", state); err == nil || len(got) != 1 {
		t.Errorf("has %v, error %v", got, err)
	}
	k.host.edit("del route 10.2.0.0/16 dev eth0")
	got, err := s.ApplyMost("vpn0", state)
	check(t, err)
	if want := netip.MustParsePrefix("10.2.0.0/16"); len(got) != 2 || got[1].Dest != want {
		t.Errorf("has %v", got)
	}
}

// TestApplyMostStays has routes that cannot be had beside others that the host has already:
// at no moment it is without these.
func TestApplyMostStays(t *testing.T) {
	const had = "route 10.1.0.0/16\nroute 10.2.0.0/16\nroute 10.3.0.0/16\nroute 10.4.0.0/16\n"
	for _, test := range []struct{ name, edit, want, says string }{
		{"somebody has taken one", "route 10.2.0.0/16 dev eth0", had + "route 10.5.0.0/16\n", "already has 10.2.0.0/16"},
		{"new sources", "addr eth0 10.9.0.1/32",
			"route 10.1.0.0/16 src 10.9.0.1\nroute 10.2.0.0/16 src 10.9.0.2\nroute 10.3.0.0/16 src 10.9.0.1\nroute 10.4.0.0/16 src 10.9.0.1\nroute 10.5.0.0/16\n",
			"10.9.0.2 is not an address of this host"},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := &spyKernel{kernel: preparedKernel()}
			h := &k.kernel.(*fakeKernel).host
			h.edit("link eth0 1500 up")
			_, s := openLogged(t, t.TempDir(), k)
			check(t, s.Apply("vpn0", parseState(had)))
			h.routes = slices.DeleteFunc(h.routes, func(r hostRoute) bool { return r.Dest == netip.MustParsePrefix("10.2.0.0/16") })
			h.edit(test.edit)
			k.log = nil
			got, err := s.ApplyMost("vpn0", parseState(test.want))
			if err == nil || !strings.Contains(err.Error(), test.says) || len(got) != 4 {
				t.Errorf("has %v, error %v", got, err)
			}
			for _, step := range k.log {
				if strings.Contains(step, " del ") && !strings.Contains(step, "10.2.0.0") {
					t.Errorf("%s", step)
				}
			}
		})
	}
}
