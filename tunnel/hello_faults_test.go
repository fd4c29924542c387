package tunnel

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vpnd/serial/serialtest"
)

// TestInnerOfNone sees that an end without an address of a family has none there,
// and not one of zeros.
func TestInnerOfNone(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, in := range []inner{{}, {v4}, {1: v6}, {v4, v6}} {
		if got := parseInner(in.append(nil)); got != in {
			t.Errorf("%v came back as %v", in, got)
		}
	}
}

// givings are what a server may say of addresses to a client that has none of its own.
var givings = []struct {
	name         string
	inner, yours inner
	want         string // of the error; empty: none
}{
	{"IPv4", inner{address("10.9.0.1")}, inner{address("10.9.0.2")}, ""},
	{"IPv6", inner{1: address("fd09::1")}, inner{1: address("fd09::2")}, ""},
	{"both", inner{address("10.9.0.1"), address("fd09::1")}, inner{address("10.9.0.2"), address("fd09::2")}, ""},
	{"less than the server has", inner{address("10.9.0.1"), address("fd09::1")}, inner{1: address("fd09::2")}, ""},
	{"none", inner{address("10.9.0.1"), address("fd09::1")}, inner{}, "server gives no address"},
	{"none to a server without", inner{}, inner{}, "server gives no address"},
	{"loopback", inner{address("10.9.0.1")}, inner{address("127.9.0.2")}, "the address 127.9.0.2, which cannot be"},
	{"loopback of IPv6", inner{1: address("fd09::1")}, inner{1: address("::1")}, "the address ::1, which cannot be"},
	{"multicast", inner{address("10.9.0.1")}, inner{address("224.0.0.5")}, "the address 224.0.0.5, which cannot be"},
	{"multicast of IPv6", inner{1: address("fd09::1")}, inner{1: address("ff02::1")}, "the address ff02::1, which cannot be"},
	{"good and bad", inner{address("10.9.0.1"), address("fd09::1")}, inner{address("10.9.0.2"), address("ff02::1")}, "the address ff02::1, which cannot be"},
	{"the server's own", inner{address("10.9.0.1")}, inner{address("10.9.0.1")}, "the address 10.9.0.1, which cannot be"},
	{"the server's own of IPv6", inner{address("10.9.0.1"), address("fd09::1")}, inner{address("10.9.0.2"), address("fd09::1")}, "the address fd09::1, which cannot be"},
	{"IPv4 of a server without", inner{1: address("fd09::1")}, inner{address("10.9.0.2"), address("fd09::2")}, "an IPv4 address and has none itself"},
	{"IPv6 of a server without", inner{address("10.9.0.1")}, inner{address("10.9.0.2"), address("fd09::2")}, "an IPv6 address and has none itself"},
}

// TestGivenAddrs has a client look at the addresses that it is to take. One that has its
// own does not care.
func TestGivenAddrs(t *testing.T) {
	for _, test := range givings {
		t.Run(test.name, func(t *testing.T) {
			c := testConfig(t)
			a := answer{inner: test.inner, yours: test.yours}
			if err := speaker(c).checkAddrs(a); err != nil {
				t.Errorf("with addresses of its own: %v", err)
			}
			c.Auto = true
			if err := speaker(c).checkAddrs(a); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
		})
	}
}

// TestAnswerRate reads how much the caller may send from what stands behind an answer.
func TestAnswerRate(t *testing.T) {
	limited, free := vectorAnswer(t), vectorAnswer(t)
	limited.rate = 0x01020304
	text := limited.append(nil)
	for _, test := range []struct {
		name string
		text []byte
		want answer
	}{
		{"limited", text, limited},
		{"limited by a later version", append(bytes.Clone(text), 5), limited},
		{"free", free.append(nil), free},
		{"less than a number", text[:len(text)-1], free},
	} {
		if got, err := parseAnswer(test.text); err != nil || got != test.want {
			t.Errorf("%s: %+v, %v, want %+v", test.name, got, err, test.want)
		}
	}
	if n := len(free.append(nil)); n != answerSize {
		t.Errorf("an answer without a limit has %d bytes, want %d", n, answerSize)
	}
	told := vectorTold(t)
	told.rate = limited.rate // there is room for one of both
	if got, err := parseAnswer(told.append(nil)); err != nil || got != vectorTold(t) {
		t.Errorf("with a number: %+v, %v", got, err)
	}
}

// TestGivenAddrsRefused has a server give an address that cannot be: there is no link, and
// the client says why.
func TestGivenAddrsRefused(t *testing.T) {
	for name, ends := range map[string]func(t *testing.T, server, client func(*Config)) (*end, *end){
		"tcp": func(t *testing.T, server, client func(*Config)) (*end, *end) {
			cs, cc, r := testConfig(t), testConfig(t), newRoad()
			server(&cs)
			client(&cc)
			cs.Listener, cc.Servers = r, []Dial{r.dial}
			return start(t, cs), start(t, cc)
		},
		"line": func(t *testing.T, server, client func(*Config)) (*end, *end) {
			l := newTappedLine(t, serialtest.Wire{}, nil)
			server(&l.config[0])
			client(&l.config[1])
			l.server, l.client = start(t, l.config[0]), start(t, l.config[1])
			return l.server, l.client
		},
	} {
		for given, good := range map[string]bool{"10.9.0.2": true, "127.0.0.1": false} {
			sim(t, name+", "+given, func(t *testing.T) {
				_, client := ends(t, func(c *Config) {
					c.Local, c.Remote = []netip.Addr{address("10.9.0.1")}, []netip.Addr{address(given)}
				}, func(c *Config) { c.Auto = true })
				settled(10 * time.Second)
				if s := client.Stats(); (s.Links > 0) != good || !good && !strings.Contains(s.Reason, "the address "+given+", which cannot be") {
					t.Errorf("%d links, reason %q", s.Links, s.Reason)
				}
			})
		}
	}
}
