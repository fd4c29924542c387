package tunnel

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vpnd/compress"
	"vpnd/crypto"
)

const (
	bf     = crypto.Blowfish
	aes    = crypto.AES256GCM
	chacha = crypto.ChaCha20Poly1305
)

// speaker returns a tunnel that only says hello.
func speaker(c Config) *Tunnel {
	t := &Tunnel{config: c}
	t.tuning.Store(&c.Tuning)
	return t
}

// addrs are comparable for cmp.
var addrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestNegotiation(t *testing.T) {
	type ciphers []crypto.Cipher
	for _, test := range []struct {
		name                   string
		server, client         ciphers
		serverBits, clientBits int
		cipher                 crypto.Cipher
		reason                 reason
	}{
		{"default", ciphers{bf}, ciphers{bf}, 448, 448, bf, reasonNone},
		{"server's order", ciphers{chacha, aes, bf}, ciphers{bf, aes, chacha}, 448, 448, chacha, reasonNone},
		{"first that the client has", ciphers{chacha, aes, bf}, ciphers{bf, aes}, 448, 448, aes, reasonNone},
		{"none", ciphers{aes}, ciphers{bf, chacha}, 448, 448, 0, reasonCipher},
		{"none the other way", ciphers{bf, chacha}, ciphers{aes}, 448, 448, 0, reasonCipher},
		{"other keysize", ciphers{bf}, ciphers{bf}, 448, 128, 0, reasonCipher},
		{"other keysize, but another cipher", ciphers{bf, aes}, ciphers{bf, aes}, 448, 128, aes, reasonNone},
		{"keysize of no matter", ciphers{chacha}, ciphers{chacha}, 448, 128, chacha, reasonNone},
		{"small keys", ciphers{bf}, ciphers{bf}, 128, 128, bf, reasonNone},
	} {
		t.Run(test.name, func(t *testing.T) {
			cs, cc := testConfig(t), testConfig(t)
			cs.Ciphers, cs.KeyBits = test.server, test.serverBits
			cc.Ciphers, cc.KeyBits = test.client, test.clientBits
			h := speaker(cc).hello()
			a := speaker(cs).choose(h)
			if a.reason != test.reason || a.cipher != test.cipher || a.version != version {
				t.Errorf("answer is %+v", a)
			}
			if err := h.check(a); (err == nil) != (test.reason == reasonNone) {
				t.Errorf("client says %v", err)
			}
		})
	}
}

func TestVersions(t *testing.T) {
	const later = version + 1
	server := speaker(testConfig(t))
	for _, test := range []struct {
		low, high uint8
		want      reason
	}{
		{version, version, reasonNone}, {1, version, reasonNone}, {version, later, reasonNone}, {0, 255, reasonNone},
		{0, version - 1, reasonVersion}, {later, later, reasonVersion}, {later, 255, reasonVersion},
		{0, 0, reasonVersion}, {later, version - 1, reasonVersion},
	} {
		h := speaker(testConfig(t)).hello()
		h.minVersion, h.maxVersion = test.low, test.high
		if a := server.choose(h); a.reason != test.want {
			t.Errorf("versions %d to %d: reason %v, want %v", test.low, test.high, a.reason, test.want)
		}
	}
}

func TestNegotiatedKeyTTL(t *testing.T) {
	for _, test := range []struct{ server, client, want time.Duration }{
		{600, 600, 600}, {600, 60, 60}, {60, 600, 60}, {600, 0, 1}, {600, 1, 1},
	} {
		cs, cc := testConfig(t), testConfig(t)
		cs.KeyTTL, cc.KeyTTL = test.server*time.Second, test.client*time.Second
		if a := speaker(cs).choose(speaker(cc).hello()); a.terms.keyTTL != test.want*time.Second {
			t.Errorf("server %d, client %d: keyttl is %v, want %d s", test.server, test.client, a.terms.keyTTL, test.want)
		}
	}
}

// TestCompressionSet sees that the common methods are what both accept.
func TestCompressionSet(t *testing.T) {
	const none = 1 << compress.Stored
	for _, test := range []struct {
		server, client string
		offered, want  compress.Set
	}{
		{"auto", "auto", compress.All, compress.All},
		{"asym", "zstd", compress.All, compress.All},
		{"off", "auto", compress.All, none},
		{"auto", "off", none, none},
	} {
		cs, cc := testConfig(t), testConfig(t)
		cs.Tuning.Compress, cc.Tuning.Compress = test.server, test.client
		h := speaker(cc).hello()
		a := speaker(cs).choose(h)
		if h.compression != test.offered || a.compression != test.want {
			t.Errorf("server %s, client %s: offered %04b, common %04b", test.server, test.client, h.compression, a.compression)
		}
	}
	h := speaker(testConfig(t)).hello()
	for _, offered := range []compress.Set{0, 1, 3, 0xff, 0xf0, 1<<compress.Zstd | 1} {
		h.compression = offered
		if a := speaker(testConfig(t)).choose(h); a.compression != offered&compress.All {
			t.Errorf("offered %08b: common are %08b", offered, a.compression)
		}
	}
}

// choices are what a server with the key may choose when choosy calls, one thing
// at a time.
var choices = []struct {
	name   string
	change func(*answer)
	want   string // of the error; empty: none
}{
	{"good", func(*answer) {}, ""},
	{"less compression", func(a *answer) { a.compression = 1 }, ""},
	{"no compression", func(a *answer) { a.compression = 0 }, ""},
	{"shorter keyttl", func(a *answer) { a.terms.keyTTL = time.Second }, ""},
	{"the other cipher", func(a *answer) { a.cipher = chacha }, ""},
	{"key bits of no matter", func(a *answer) { a.cipher, a.terms.keyBits = chacha, 1 }, ""},
	{"no common version", func(a *answer) { a.reason = reasonVersion }, "server refuses: no common version"},
	{"no common cipher", func(a *answer) { a.reason = reasonCipher }, "server refuses: no common cipher, or blowfish with another keysize"},
	{"later reason", func(a *answer) { a.reason = 200 }, "server refuses: reason 200"},
	{"version 1", func(a *answer) { a.version = 1 }, "server chose version 1, which was not offered"},
	{"version 3", func(a *answer) { a.version = 3 }, "server chose version 3, which was not offered"},
	{"cipher not offered", func(a *answer) { a.cipher = aes }, "server chose aes-256-gcm, which was not offered"},
	{"cipher 3", func(a *answer) { a.cipher = 3 }, "server chose cipher 3, which was not offered"},
	{"cipher 8", func(a *answer) { a.cipher = 8 }, "server chose cipher 8, which was not offered"},
	{"cipher 255", func(a *answer) { a.cipher = 255 }, "server chose cipher 255, which was not offered"},
	{"fewer key bits", func(a *answer) { a.terms.keyBits = 128 }, "server chose a key of 128 bits, which was not offered"},
	{"compression not offered", func(a *answer) { a.compression |= 1 << compress.Zstd }, "server chose a compression that was not offered"},
	{"unknown compression", func(a *answer) { a.compression |= 0x80 }, "server chose a compression that was not offered"},
	{"keyttl 0", func(a *answer) { a.terms.keyTTL = 0 }, "server chose a keyttl of 0s, more than was offered"},
	{"longer keyttl", func(a *answer) { a.terms.keyTTL = 10*time.Minute + time.Second }, "server chose a keyttl of 10m1s, more than was offered"},
}

// choosy is the configuration of a client that does not offer everything.
func choosy(t testing.TB) Config {
	c := testConfig(t)
	c.Ciphers, c.Tuning.Compress = []crypto.Cipher{bf, chacha}, "off"
	return c
}

func TestClientChecks(t *testing.T) {
	server, client := speaker(choosy(t)), speaker(choosy(t))
	h := client.hello()
	h.compression |= 1 << compress.S2
	good := server.choose(h)
	for _, test := range choices {
		t.Run(test.name, func(t *testing.T) {
			a := good
			test.change(&a)
			err := h.check(a)
			if got := fmt.Sprint(err); got != test.want && (test.want != "" || err != nil) {
				t.Errorf("error is %q, want %q", got, test.want)
			}
		})
	}
}

// TestPayloadLengths cuts hello and answer off at every place.
func TestPayloadLengths(t *testing.T) {
	h, a, told := vectorHello(t).append(nil), vectorAnswer(t).append(nil), vectorTold(t).append(nil)
	for n := range len(h) {
		if _, err := parseHello(h[:n]); err == nil {
			t.Errorf("a hello of %d bytes is taken", n)
		}
	}
	for n := range len(a) {
		if _, err := parseAnswer(a[:n]); err == nil {
			t.Errorf("an answer of %d bytes is taken", n)
		}
	}
	for n := range len(told) {
		if _, err := parseAnswer(told[:n]); err == nil {
			t.Errorf("an answer of %d bytes with a number is taken", n)
		}
	}
	for _, later := range []string{"", "bytes of a later version"} {
		if _, err := parseHello(append(h, later...)); err != nil {
			t.Errorf("hello and %q: %v", later, err)
		}
		if got, err := parseAnswer(append(a, later...)); err != nil || got.number != 0 {
			t.Errorf("answer and %q: number %d, %v", later, got.number, err)
		}
		if got, err := parseAnswer(append(told, later...)); err != nil || got != vectorTold(t) {
			t.Errorf("answer with a number and %q: %+v, %v", later, got, err)
		}
	}
	if len(h) > crypto.StrongHelloSize || len(told) > crypto.AnswerSize {
		t.Errorf("hello of %d bytes, answer of %d", len(h), len(told))
	}
}

// TestCompare sees what the log says of settings that work against each other,
// and what comes of them.
func TestCompare(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for _, test := range []struct {
		name           string
		server, client func(*Config)
		log            []string // of the client
		clamp          int
	}{
		{"equal", func(c *Config) {}, func(c *Config) {}, nil, 0},
		{"smaller there", func(c *Config) { c.MTU = 1300 }, func(c *Config) {}, []string{"mtu differs"}, 1300},
		{"smaller here", func(c *Config) {}, func(c *Config) { c.MTU = 1300 }, []string{"mtu differs"}, 1300},
		{"both small", func(c *Config) { c.MTU = 1400 }, func(c *Config) { c.MTU = 1400 }, nil, 1400},
		{"both large", func(c *Config) { c.MTU = 9000 }, func(c *Config) { c.MTU = 1600 }, []string{"mtu differs"}, 0},
		{"addresses agree",
			func(c *Config) { c.Local = []netip.Addr{four, six} }, func(c *Config) { c.Remote = []netip.Addr{six, four} }, nil, 0},
		{"no addresses there",
			func(c *Config) {}, func(c *Config) { c.Remote = []netip.Addr{four, six} },
			[]string{"remote=10.0.0.1", "remote=fd00::1"}, 0},
		{"other address",
			func(c *Config) { c.Local = []netip.Addr{four.Next(), six} }, func(c *Config) { c.Remote = []netip.Addr{four, six} },
			[]string{`remote=10.0.0.1 "local there"=10.0.0.2`}, 0},
		{"this end's addresses are known",
			func(c *Config) { c.Remote = []netip.Addr{six, four} }, func(c *Config) { c.Local = []netip.Addr{four, six} }, nil, 0},
		{"this end has another address",
			func(c *Config) { c.Remote = []netip.Addr{four.Next(), six} }, func(c *Config) { c.Local = []netip.Addr{four, six} },
			[]string{`local=10.0.0.1 "remote there"=10.0.0.2`}, 0},
	} {
		sim(t, test.name, func(t *testing.T) {
			cs, cc := testConfig(t), testConfig(t)
			test.server(&cs)
			test.client(&cc)
			_, client, _ := simPair(t, cs, cc)
			client.log.says(t, len(test.log), "level=WARN")
			for _, want := range test.log {
				client.log.says(t, 1, want)
			}
			if s := client.point.link.Load(); s.clamp != test.clamp || s.maxPacket != cc.MTU {
				t.Errorf("clamp %d, longest packet %d", s.clamp, s.maxPacket)
			}
		})
	}
}

// TestCompareAgain has a client whose settings do not fit call again and again: the log
// names each setting once in a while.
func TestCompareAgain(t *testing.T) {
	sim(t, "in a moment", func(t *testing.T) {
		cs, cc := testConfig(t), testConfig(t)
		cs.Remote, cc.MTU = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, 1400
		server, r := simServer(t, cs)
		for range 20 {
			puppetCaller(t, r.caller(t), cc).confirmed(server).drain()
		}
		server.log.says(t, 1, "mtu differs")
		server.log.says(t, 1, "remote=10.0.0.1")
		server.log.says(t, 1, "remote=fd00::1")
	})
}

// TestClampOnTheWay sends a SYN through a link that is smaller than Ethernet.
func TestClampOnTheWay(t *testing.T) {
	for name, mtu := range map[string][2]int{"at the sender": {1500, 1400}, "at the receiver": {1400, 1500}} {
		sim(t, name, func(t *testing.T) {
			cs, cc := testConfig(t), testConfig(t)
			cs.MTU, cc.MTU = mtu[0], mtu[1]
			server, client, _ := simPair(t, cs, cc)
			client.device.in <- summed(ipv4(protocolTCP, 0, tcp(syn, mss(1460), "")))
			p := server.device.take(t)
			if got := p[len(p)-2:]; got[0] != 1360>>8 || got[1] != 1360&0xff || tcpSum(p) != 0xffff {
				t.Errorf("packet is %x", p)
			}
		})
	}
}

func FuzzParseHello(f *testing.F) {
	f.Add([]byte{})
	f.Add(vectorHello(f).append(nil))
	c := testConfig(f)
	c.Ciphers = []crypto.Cipher{chacha, aes, bf}
	server := speaker(c)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err != nil {
			return
		}
		if got, _ := parseHello(h.append(nil)); !cmp.Equal(h, got, cmp.AllowUnexported(hello{}, terms{}), addrs) {
			t.Errorf("hello is %+v, and again %+v", h, got)
		}
		if !strings.HasPrefix(string(b), string(h.append(nil))) {
			t.Errorf("%x became %x", b, h.append(nil))
		}
		// A caller that offers a keyttl at all takes what the server chooses.
		if a := server.choose(h); a.reason == reasonNone && h.terms.keyTTL > 0 {
			if err := h.check(a); err != nil {
				t.Errorf("%+v is the answer to %+v: %v", a, h, err)
			}
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte{})
	f.Add(vectorAnswer(f).append(nil))
	f.Add(vectorTold(f).append(nil))
	f.Add(append(vectorAnswer(f).append(nil), 0, 1, 2, 3)) // a limit
	h := vectorHello(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b)
		if err != nil {
			return
		}
		if !strings.HasPrefix(string(b), string(a.append(nil))) {
			t.Errorf("%x became %x", b, a.append(nil))
		}
		if h.check(a) == nil && (a.reason != 0 || a.version != version || a.cipher != bf && a.cipher != chacha ||
			a.cipher == bf && a.terms.keyBits != h.terms.keyBits || a.compression&^h.compression != 0 ||
			a.terms.keyTTL <= 0 || a.terms.keyTTL > h.terms.keyTTL) {
			t.Errorf("%+v is taken for %+v", a, h)
		}
	})
}
