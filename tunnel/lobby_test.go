package tunnel

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
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
			l := newLobby(test.size, test.size)
			var gone []string
			places := make(map[string]*place)
			for _, who := range test.come {
				if name, leaves := strings.CutPrefix(who, "-"); leaves {
					l.leave(places[name])
					continue
				}
				if name, known := strings.CutPrefix(who, "+"); known {
					l.know(places[name])
					continue
				}
				from := netip.AddrPortFrom(netip.MustParseAddr(who), 1)
				places[who] = l.enter(from, func() { gone = append(gone, who) })
			}
			if !slices.Equal(gone, test.gone) {
				t.Errorf("%v gave way, want %v", gone, test.gone)
			}
			for who, p := range places {
				in := slices.Contains(l.strangers.places, p) || slices.Contains(l.known.places, p)
				if out := slices.Contains(gone, who) || slices.Contains(test.come, "-"+who); in == out {
					t.Errorf("%s is in the lobby: %v", who, in)
				}
				l.leave(p)
			}
			for _, r := range []room{l.strangers, l.known} {
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
		"::ffff:192.0.2.77":       "::/56", // callers are unmapped before
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

// TestLogLimit warns at given times, in seconds.
func TestLogLimit(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}}))
	l := &logLimit{}
	for _, at := range []float64{0, 0, 1, 9.999, 10, 19, 29, 1000, 1001, 1010} {
		l.warn(log, time.Duration(at*float64(time.Second)), fmt.Sprint("at ", at), "k", "v")
	}
	want := `msg="at 0" k=v
msg="at 10" k=v "others not logged"=3
msg="at 29" k=v "others not logged"=1
msg="at 1000" k=v
msg="at 1010" k=v "others not logged"=1
`
	if text.String() != want {
		t.Errorf("log is\n%s, want\n%s", text.String(), want)
	}
}
