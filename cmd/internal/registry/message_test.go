package registry

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
)

// fullAnswer has every sort of gateway.
func fullAnswer() *answer {
	return &answer{signKey: [32]byte{9}, Table: Table{Epoch: Epoch{1}, Number: 2, Serial: 3, Seen: netip.MustParseAddr("192.0.2.1"), Gateways: []Gateway{
		{Name: "a", Key: crypto.PublicKey{1}, Inner: netip.MustParseAddr("10.0.0.1"), Endpoint: netip.MustParseAddrPort("192.0.2.1:2002"),
			State: Live, Left: 300 * time.Second, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8::/32")}},
		{Name: "b", Inner: netip.MustParseAddr("2001:db9::1"), State: Unheard, Subnets: []netip.Prefix{netip.MustParsePrefix("2001:db9::/32")}},
	}}}
}

func TestAnswerText(t *testing.T) {
	a := fullAnswer()
	text := a.encode()
	got, err := parseAnswer(text)
	if err != nil || !bytes.Equal(got.encode(), text) || got.signKey != a.signKey || got.Seen != a.Seen || states(&got.Table) != states(&a.Table) {
		t.Fatalf("read %+v, %v", got, err)
	}
	for i, g := range got.Gateways {
		want := a.Gateways[i]
		if g.Name != want.Name || g.Key != want.Key || g.Inner != want.Inner || g.Endpoint != want.Endpoint || !slices.Equal(g.Subnets, want.Subnets) {
			t.Errorf("gateway %+v, want %+v", g, want)
		}
	}
	if got.Gateway("b") != &got.Gateways[1] || got.Gateway("c") != nil {
		t.Error("the wrong gateway has the name")
	}
	for n := range text {
		if _, err := parseAnswer(text[:n]); !errors.Is(err, errForm) {
			t.Errorf("%d bytes of %d: %v", n, len(text), err)
		}
	}
}

// What nexus never says is not taken from it.
func TestAnswerForms(t *testing.T) {
	for name, change := range map[string]func(*answer){
		"status":                    func(a *answer) { a.status = 4 },
		"gateways of another state": func(a *answer) { a.status = again },
		"order":                     func(a *answer) { slices.Reverse(a.Gateways) },
		"one name twice":            func(a *answer) { a.Gateways[1].Name = "a" },
		"climbing name":             func(a *answer) { a.Gateways[1].Name = "b/../c" },
		"no name":                   func(a *answer) { a.Gateways[0].Name = "" },
		"state":                     func(a *answer) { a.Gateways[1].State = Unheard + 1 },
		"port without address":      func(a *answer) { a.Gateways[1].Endpoint = netip.AddrPortFrom(netip.Addr{}, 5) },
		"address without port":      func(a *answer) { a.Gateways[1].Endpoint = netip.MustParseAddrPort("192.0.2.1:0") },
		"inner address elsewhere":   func(a *answer) { a.Gateways[1].Inner = netip.MustParseAddr("10.9.0.1") },
		"no inner address":          func(a *answer) { a.Gateways[1].Inner = netip.Addr{} },
		"no subnet":                 func(a *answer) { a.Gateways[1].Subnets = nil },
		"bits behind the end":       func(a *answer) { a.Gateways[1].Subnets[0] = netip.MustParsePrefix("2001:db9::1/32") },
		"IPv4 as IPv6": func(a *answer) {
			a.Gateways[1].Subnets = append(a.Gateways[1].Subnets, netip.MustParsePrefix("::ffff:0:0/96"))
		},
		"everything": func(a *answer) {
			a.Gateways[1].Subnets = append(a.Gateways[1].Subnets, netip.MustParsePrefix("0.0.0.0/0"))
		},
		"everything of IPv6": func(a *answer) { a.Gateways[1].Subnets = append(a.Gateways[1].Subnets, netip.MustParsePrefix("::/0")) },
		"loopback network": func(a *answer) {
			a.Gateways[1].Subnets = append(a.Gateways[1].Subnets, netip.MustParsePrefix("127.0.0.0/8"))
		},
		"groups": func(a *answer) {
			a.Gateways[1].Subnets = append(a.Gateways[1].Subnets, netip.MustParsePrefix("224.0.0.0/4"))
		},
		"network of one link": func(a *answer) {
			a.Gateways[1].Subnets = append(a.Gateways[1].Subnets, netip.MustParsePrefix("169.254.0.0/16"))
		},
		"loopback endpoint":       func(a *answer) { a.Gateways[1].Endpoint = netip.MustParseAddrPort("127.0.0.1:22") },
		"loopback endpoint, IPv6": func(a *answer) { a.Gateways[1].Endpoint = netip.MustParseAddrPort("[::1]:22") },
		"group as endpoint":       func(a *answer) { a.Gateways[1].Endpoint = netip.MustParseAddrPort("224.0.0.1:22") },
		"endpoint of one link":    func(a *answer) { a.Gateways[1].Endpoint = netip.MustParseAddrPort("[fe80::1]:22") },
		"too many":                func(a *answer) { a.Gateways = make([]Gateway, settings.MaxNetworks+1) },
	} {
		a := fullAnswer()
		change(a)
		if got, err := parseAnswer(a.encode()); !errors.Is(err, errForm) || got != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	text := fullAnswer().encode()
	at := bytes.LastIndex(text, []byte{6, 32})
	for name, b := range map[string][2]byte{"family": {5, 32}, "bits": {6, 129}, "family of another length": {4, 32}} {
		odd := slices.Clone(text)
		copy(odd[at:], b[:])
		if _, err := parseAnswer(odd); !errors.Is(err, errForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseAnswer(append(text, 0)); !errors.Is(err, errForm) {
		t.Errorf("a byte behind the end: %v", err)
	}
}

func TestAnswerBound(t *testing.T) {
	a := fullAnswer()
	for n := range settings.MaxNetworks + 1 {
		g := a.Gateways[0]
		g.Name = fmt.Sprintf("n%04d", n)
		a.Gateways = append(a.Gateways, g)
	}
	a.Gateways = a.Gateways[2:]
	if _, err := parseAnswer(a.encode()); !errors.Is(err, errForm) {
		t.Errorf("%d gateways: %v", len(a.Gateways), err)
	}
	a.Gateways = a.Gateways[1:]
	if got, err := parseAnswer(a.encode()); err != nil || len(got.Gateways) != settings.MaxNetworks {
		t.Errorf("%d gateways: %v", len(a.Gateways), err)
	}
}

func TestRequestText(t *testing.T) {
	q := request{epoch: Epoch{1}, number: 5, kind: leave, port: 2002, declared: netip.MustParseAddr("2001:db8::1"), proof: [proofSize]byte{7}, name: "a"}
	text := q.encode()
	if got, err := parseRequest(text); err != nil || *got != q {
		t.Errorf("read %+v, %v", got, err)
	}
	for n := range text {
		if _, err := parseRequest(text[:n]); err == nil {
			t.Errorf("%d bytes are a question", n)
		}
	}
	if _, err := parseRequest(append(slices.Clone(text), 0)); err == nil {
		t.Error("more bytes are a question")
	}
	for n := 53; n < len(text); n++ {
		text[n] = 1
		if _, err := parseRequest(text); err == nil {
			t.Errorf("byte %d behind the name is taken", n)
		}
		text[n] = 0
	}
}

// A saved table belongs to one gateway of one nexus.
func TestSavedForms(t *testing.T) {
	own, server := crypto.PublicKey{1}, crypto.PublicKey{2}
	saved := AppendTable(&fullAnswer().Table, own, server)
	for name, keys := range map[string][2]crypto.PublicKey{"gateway": {{3}, server}, "nexus": {own, {3}}} {
		if got, err := ParseTable(saved, keys[0], keys[1]); !errors.Is(err, errSaved) || got != nil {
			t.Errorf("another %s: %v", name, err)
		}
	}
	// What follows a right sum.
	with := func(tag string, text []byte) []byte {
		sum := tableSum(own, server, text)
		return slices.Concat([]byte(tag), sum[:], text)
	}
	refused := (&answer{status: again}).encode()
	for name, bad := range map[string][]byte{
		"another tag": with("vpnd-table-2\n", saved[len(tableTag)+sha256.Size:]), "no answer": with(tableTag, nil), "refused": with(tableTag, refused),
		"more": with(tableTag, append(slices.Clone(saved[len(tableTag)+sha256.Size:]), 0)),
	} {
		if got, err := ParseTable(bad, own, server); err == nil || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := ParseTable(with(tableTag, saved[len(tableTag)+sha256.Size:]), own, server); err != nil {
		t.Error(err)
	}
}
