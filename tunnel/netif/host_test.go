package netif

import (
	"net/netip"
	"testing"
)

func TestBest(t *testing.T) {
	h := foreign([]section{{"host", `link eth0 1500 up
route 0.0.0.0/0 dev eth0 via 192.0.2.1 metric 5
route 0.0.0.0/0 dev eth0 via 192.0.2.2 metric 4
route 10.0.0.0/8 dev eth0 via 192.0.2.3 metric 9
route 10.1.0.0/16 dev eth0 via 192.0.2.4 dead
route 10.2.0.0/16 dev eth0 via 192.0.2.5 reject
`}})
	for _, c := range []struct{ name, goal, gateway string }{
		{"lower metric", "1.1.1.1", "192.0.2.2"},
		{"longer prefix", "10.9.9.9", "192.0.2.3"},
		{"not a dead one", "10.1.1.1", "192.0.2.3"},
		{"even a refusal", "10.2.2.2", "192.0.2.5"},
		{"none", "fd00::1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, ok := best(h.routes, netip.MustParseAddr(c.goal), all)
			if ok != (c.gateway != "") || ok && r.Gateway.String() != c.gateway {
				t.Errorf("to %s via %s, %v", c.goal, r.Gateway, ok)
			}
		})
	}
	not := func(r hostRoute) bool { return r.Metric != 4 }
	if r, ok := best(h.routes, netip.MustParseAddr("1.1.1.1"), not); !ok || r.Metric != 5 {
		t.Errorf("without the best: %v %v", r, ok)
	}
}
