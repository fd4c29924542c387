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
		name   string
		size   int
		come   []string // a - in front: leaves, a + in front: is known
		gone   []string
		remain int
	}{
		{"room for all", 3, []string{"10.0.0.1", "10.0.0.2", "10.0.1.1"}, nil, 3},
		{"oldest of one network", 2, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, []string{"10.0.0.1"}, 2},
		{"busiest network", 3, []string{"10.9.9.9", "10.0.0.1", "10.0.0.2", "10.8.8.8"}, []string{"10.0.0.1"}, 3},
		{"newcomer makes his own busiest", 3, []string{"10.9.9.9", "10.0.0.1", "10.0.0.2", "10.0.0.3"}, []string{"10.0.0.1"}, 3},
		{"first of equals", 2, []string{"10.0.0.1", "10.0.1.1", "10.0.2.1"}, []string{"10.0.0.1"}, 2},
		{"again and again", 2, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}, []string{"10.0.0.1", "10.0.0.2"}, 2},
		{"who left is not counted", 2, []string{"10.0.0.1", "-10.0.0.1", "10.0.0.2", "10.0.0.3"}, nil, 2},
		{"leave twice", 2, []string{"10.0.0.1", "10.0.0.2", "-10.0.0.1", "-10.0.0.1", "10.0.0.3"}, nil, 2},
		{"leave after giving way", 1, []string{"10.0.0.1", "10.0.0.2", "-10.0.0.1", "10.0.0.3"}, []string{"10.0.0.1", "10.0.0.2"}, 1},
		{"IPv6 customer", 3, []string{"2001:db8:9::1", "2001:db8:0:1::1", "2001:db8:0:ff::2", "2001:db8:8::1"}, []string{"2001:db8:0:1::1"}, 3},
		{"mixed", 3, []string{"2001:db8::1", "10.0.0.1", "10.0.0.2", "2001:db8:1::1"}, []string{"10.0.0.1"}, 3},
		{"known callers stay", 2, []string{"10.0.0.1", "+10.0.0.1", "10.0.1.1", "10.0.2.1"}, []string{"10.0.1.1"}, 2},
		{"known callers do not make a crowd", 3, []string{"10.0.0.1", "+10.0.0.1", "10.0.0.2", "+10.0.0.2", "10.0.0.3", "10.0.1.1"}, []string{"10.0.0.3"}, 3},
		{"known ones give way last", 2, []string{"10.0.0.1", "+10.0.0.1", "10.0.1.1", "+10.0.1.1", "10.0.2.1", "10.0.3.1"}, []string{"10.0.0.1", "10.0.2.1"}, 2},
		{"known twice, and after giving way", 1, []string{"10.0.0.1", "10.0.0.2", "+10.0.0.1", "+10.0.0.2", "+10.0.0.2"}, []string{"10.0.0.1"}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLobby(test.size)
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
			if !slices.Equal(gone, test.gone) || len(l.places) != test.remain {
				t.Errorf("%v gave way, want %v; %d remain, want %d", gone, test.gone, len(l.places), test.remain)
			}
			for _, p := range places {
				l.leave(p)
			}
			if len(l.places) != 0 || len(l.crowd) != 0 {
				t.Errorf("%d places and %d networks are left", len(l.places), len(l.crowd))
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
