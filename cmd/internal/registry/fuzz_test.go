package registry

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
)

func FuzzRequest(f *testing.F) {
	for _, q := range []request{
		{number: 1, kind: register, port: 2002, name: "a"},
		{epoch: Epoch{1}, number: 1<<64 - 1, kind: leave, port: 65535, declared: netip.MustParseAddr("192.0.2.1"), proof: [16]byte{2}, name: "lahm-2.x"},
		{number: 1, kind: register, port: 2002, name: "../a"},
	} {
		f.Add(q.encode())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		q, err := parseRequest(text)
		if err != nil {
			return
		}
		if settings.CheckName(q.name) != nil || q.port == 0 || q.kind != register && q.kind != leave || q.declared.IsValid() && !reachable(q.declared) {
			t.Errorf("question %+v", q)
		}
		if !bytes.Equal(q.encode(), text) {
			t.Errorf("%x is written as %x", text, q.encode())
		}
	})
}

func FuzzAnswer(f *testing.F) {
	full := answer{Table: Table{Epoch: Epoch{1}, Number: 2, Serial: 3, Seen: netip.MustParseAddr("192.0.2.1"), Gateways: []Gateway{
		{Name: "a", Key: crypto.PublicKey{1}, Inner: netip.MustParseAddr("10.0.0.1"), Endpoint: netip.MustParseAddrPort("192.0.2.1:2002"),
			State: Live, Left: 300 * time.Second, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8::/32")}},
		{Name: "b", Inner: netip.MustParseAddr("2001:db9::1"), State: Unheard, Subnets: []netip.Prefix{netip.MustParsePrefix("2001:db9::/32")}},
	}}}
	f.Add(full.encode())
	f.Add((&answer{status: again, Table: Table{Number: 9}}).encode())
	f.Add((&answer{status: disabled}).encode())
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := parseAnswer(text)
		if err != nil {
			return
		}
		last := ""
		for _, g := range a.Gateways {
			if settings.CheckName(g.Name) != nil || g.Name <= last || g.State > Unheard || len(g.Subnets) == 0 || g.Endpoint.IsValid() && (g.Endpoint.Port() == 0 || !reachable(g.Endpoint.Addr())) {
				t.Errorf("gateway %+v behind %s", g, last)
			}
			last = g.Name
			for _, p := range g.Subnets {
				if !p.IsValid() || p != p.Masked() || settings.CheckSubnet(p) != nil {
					t.Errorf("subnet %v", p)
				}
			}
		}
		if b := a.encode(); !bytes.Equal(b, text) {
			t.Errorf("%x is written as %x", text, b)
		}
	})
}

func FuzzReceive(f *testing.F) {
	own, err := crypto.NewIdentity(bytes.NewReader(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		f.Fatal(err)
	}
	sign := signOf(own, crypto.PublicKey{1}, Epoch{1})
	f.Add(nudge(sign, 6), true)
	f.Add(check(sign, [16]byte{1}), true)
	f.Add(nudge(sign, 5), false)
	f.Add([]byte{nudgeLetter}, true)
	f.Fuzz(func(t *testing.T, datagram []byte, right bool) {
		c := &Client{serial: 5, sign: &sign, declared: netip.MustParseAddr("203.0.113.1")}
		if end := len(datagram) - crypto.SignSize; right && end >= 0 {
			copy(datagram[end:], sign.Tag(datagram[:end])) // what stands behind the tag
		}
		before := c.proof
		if ask := c.Receive(datagram); !ask && c.proof != before {
			t.Error("a proof is taken from what does not count")
		}
		if c.Receive(datagram) && len(datagram) == checkSize && datagram[0] != nudgeLetter {
			t.Error("a check is taken twice")
		}
	})
}

func FuzzState(f *testing.F) {
	s, _ := testState(f)
	f.Add(s.format())
	s.entries = nil
	f.Add(s.format())
	f.Add([]byte("vpnd-nexus-1\nsum\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, text := range [][]byte{text, append(bytes.Clone(text), "sum "+sumOf(text)+"\n"...)} { // what stands before the sum
			s, err := parseState(text)
			if err == nil && !bytes.Equal(s.format(), text) {
				t.Errorf("%q is written as %q", text, s.format())
			}
		}
	})
}

func FuzzTable(f *testing.F) {
	own, server := crypto.PublicKey{1}, crypto.PublicKey{2}
	f.Add(AppendTable(&Table{Number: 7}, own, server), false)
	f.Add(AppendTable(&Table{Number: 7}, own, server), true)
	f.Add([]byte(tableTag), true)
	f.Fuzz(func(t *testing.T, saved []byte, right bool) {
		if at := len(tableTag) + 32; right && len(saved) >= at {
			sum := tableSum(own, server, saved[at:])
			copy(saved[len(tableTag):], sum[:])
		}
		table, err := ParseTable(saved, own, server)
		if (err == nil) != (table != nil) {
			t.Errorf("table %v, error %v", table, err)
		}
	})
}
