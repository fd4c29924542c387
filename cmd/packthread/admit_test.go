package main

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"

	"vpnd/cmd/internal/registry"
	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
	"vpnd/tunnel"
)

type noDevice struct{ tunnel.Device }

func (noDevice) BatchSize() int { return 1 }

// TestAdmitNoLocals has a peer with a network and an inner address that are local here: its
// packets must not pass for those of hosts here.
func TestAdmitNoLocals(t *testing.T) {
	own, err := crypto.NewIdentity(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	log := slog.New(slog.DiscardHandler)
	g := &gateway{Packthread: &settings.Packthread{Password: "correct horse battery"}, name: "a", own: own, log: log, door: tunnel.NewMeshDoor(rand.Reader, own)}
	config := g.config(device{}, l)
	config.Device = noDevice{}
	if g.tunnel, err = tunnel.New(config); err != nil {
		t.Fatal(err)
	}
	a := entry("a", "10.1.0.1", "10.1.0.0/24")
	view := &hostView{addrs: addrs("10.1.0.1", "192.168.1.7"), direct: locals("10.1.0.0/24", "192.168.1.0/24")}
	for _, test := range []struct {
		name  string
		inner string
		want  string
	}{
		{"a network", "10.2.0.1", "[10.2.0.0/24 10.2.0.1/32]"},
		{"the inner address, too", "192.168.1.1", "[10.2.0.0/24]"},
	} {
		b := entry("b", test.inner, "10.2.0.0/24", "192.168.1.0/24", "10.1.0.128/25")
		if err := g.admit(g.decide(&registry.Table{Gateways: []registry.Gateway{a, b}}, view)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range g.tunnel.Stats().Peers[0].Networks {
			got = append(got, p.String())
		}
		slices.Sort(got)
		if text := "[" + strings.Join(got, " ") + "]"; text != test.want {
			t.Errorf("%s: packets may come from %s, want %s", test.name, text, test.want)
		}
	}
}

// TestTellKeys has nexus, compromised or not, tell of other keys.
func TestTellKeys(t *testing.T) {
	var log bytes.Buffer
	g := &gateway{name: "a", log: slog.New(slog.NewTextHandler(&log, nil))}
	host := &hostView{addrs: addrs("10.1.0.1")}
	own, b, c := entry("a", "10.1.0.1", "10.1.0.0/24"), entry("b", "10.2.0.1", "10.2.0.0/24"), entry("c", "10.3.0.1", "10.3.0.0/24")
	other := b
	other.Key = crypto.PublicKey{77}
	var last *applied
	for _, test := range []struct {
		name  string
		table []registry.Gateway
		want  string
	}{
		{"the first table", []registry.Gateway{own, b}, ""},
		{"the same", []registry.Gateway{own, b}, ""},
		{"one more", []registry.Gateway{own, b, c}, "new gateway"},
		{"another key", []registry.Gateway{own, other, c}, "another key"},
		{"one less", []registry.Gateway{own, c}, ""},
		{"it comes back", []registry.Gateway{own, other, c}, "new gateway"},
	} {
		log.Reset()
		next := g.decide(&registry.Table{Gateways: test.table}, host)
		g.tell(next, last)
		last = next
		if got := log.String(); !strings.Contains(got, test.want) || test.want == "" && got != "" || strings.Count(got, "\n") > 1 {
			t.Errorf("%s: the log says %q", test.name, got)
		}
	}
}
