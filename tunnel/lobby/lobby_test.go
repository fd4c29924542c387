package lobby

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestLobby lets callers enter, named by their address, and sees who gives way.
func TestLobby(t *testing.T) {
	for _, test := range []struct {
		name string
		size int      // of each room
		come []string // a - in front: leaves, a + in front: is known
		gone []string
	}{
		{"room for all", 3, []string{"10.0.0.1", "10.0.0.2", "10.0.1.1"}, nil},
		{"oldest of one network", 2, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, []string{"10.0.0.1"}},
		{"busiest network", 3, []string{"10.9.9.9", "10.0.0.1", "10.0.0.2", "10.8.8.8"}, []string{"10.0.0.1"}},
		{"newcomer makes his own busiest", 3, []string{"10.9.9.9", "10.0.0.1", "10.0.0.2", "10.0.0.3"}, []string{"10.0.0.1"}},
		{"first of equals", 2, []string{"10.0.0.1", "10.0.1.1", "10.0.2.1"}, []string{"10.0.0.1"}},
		{"again and again", 2, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}, []string{"10.0.0.1", "10.0.0.2"}},
		{"who left is not counted", 2, []string{"10.0.0.1", "-10.0.0.1", "10.0.0.2", "10.0.0.3"}, nil},
		{"who stayed is", 4, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "-10.0.0.1", "10.0.1.1", "10.0.1.2", "10.0.2.1"}, []string{"10.0.0.2"}},
		{"leave twice", 2, []string{"10.0.0.1", "10.0.0.2", "-10.0.0.1", "-10.0.0.1", "10.0.0.3"}, nil},
		{"leave after giving way", 1, []string{"10.0.0.1", "10.0.0.2", "-10.0.0.1", "10.0.0.3"}, []string{"10.0.0.1", "10.0.0.2"}},
		{"IPv6 customer", 3, []string{"2001:db8:9::1", "2001:db8:0:1::1", "2001:db8:0:ff::2", "2001:db8:8::1"}, []string{"2001:db8:0:1::1"}},
		{"mixed", 3, []string{"2001:db8::1", "10.0.0.1", "10.0.0.2", "2001:db8:1::1"}, []string{"10.0.0.1"}},
		{"strangers do not push out known callers", 1, []string{"10.0.0.1", "+10.0.0.1", "10.0.0.2", "10.0.0.3"}, []string{"10.0.0.2"}},
		{"known callers do not push out strangers", 2,
			[]string{"10.9.9.9", "10.0.0.1", "+10.0.0.1", "10.0.0.2", "+10.0.0.2", "10.0.0.3", "+10.0.0.3"}, []string{"10.0.0.1"}},
		{"known callers do not make a crowd of strangers", 2,
			[]string{"10.0.0.1", "+10.0.0.1", "10.0.0.2", "+10.0.0.2", "10.0.1.1", "10.0.0.3", "10.0.2.1"}, []string{"10.0.1.1"}},
		{"known callers of the busiest network give way", 3,
			[]string{"10.9.9.9", "+10.9.9.9", "10.0.0.1", "+10.0.0.1", "10.0.0.2", "+10.0.0.2", "10.0.0.3", "+10.0.0.3"}, []string{"10.0.0.1"}},
		{"who is known and left is not counted", 1, []string{"10.0.0.1", "+10.0.0.1", "-10.0.0.1", "10.0.0.2", "+10.0.0.2"}, nil},
		{"known twice, and after giving way", 1, []string{"10.0.0.1", "10.0.0.2", "+10.0.0.1", "+10.0.0.2", "+10.0.0.2"}, []string{"10.0.0.1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := New(test.size, test.size)
			var gone []string
			places := make(map[string]*Place)
			for _, who := range test.come {
				if name, leaves := strings.CutPrefix(who, "-"); leaves {
					l.Leave(places[name])
					continue
				}
				if name, known := strings.CutPrefix(who, "+"); known {
					l.Know(places[name])
					continue
				}
				places[who] = l.Enter(netip.MustParseAddr(who), func() { gone = append(gone, who) })
			}
			if !slices.Equal(gone, test.gone) {
				t.Errorf("%v gave way, want %v", gone, test.gone)
			}
			for who, p := range places {
				in := slices.Contains(l.strangers.places, p) || slices.Contains(l.known.places, p)
				if out := slices.Contains(gone, who) || slices.Contains(test.come, "-"+who); in == out {
					t.Errorf("%s is in the lobby: %v", who, in)
				}
				l.Leave(p)
			}
			for _, r := range []Room{l.strangers, l.known} {
				if len(r.places) != 0 || len(r.crowd) != 0 {
					t.Errorf("%d places and %d networks are left", len(r.places), len(r.crowd))
				}
			}
		})
	}
}

func TestNetworkOf(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.77":              "192.0.2.0/24",
		"2001:db8:1:2345::77":     "2001:db8:1:2300::/56",
		"::ffff:192.0.2.77":       "192.0.2.0/24",
		"fe80::1%eth0":            "fe80::/56",
		"2001:db8:1:23ff:ffff::1": "2001:db8:1:2300::/56",
	} {
		if got := networkOf(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s is in %s, want %s", in, got, want)
		}
	}
	if got := networkOf(netip.Addr{}); got.IsValid() {
		t.Errorf("no address is in %v", got)
	}
}
