package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
)

// hubInner is the hub's inner address, otherOuter where its second client is.
var (
	hubInner   = netip.MustParseAddr("10.99.0.1")
	hubIPv6    = netip.MustParseAddr("fd00:99::1")
	otherOuter = netip.MustParseAddr("203.0.113.1")
)

// hubWorld is a hub with two clients that share its key.
type hubWorld struct {
	*world
	other *site
}

func newHubWorld(t *testing.T, hub ...string) *hubWorld {
	t.Helper()
	w := &hubWorld{world: newWorld(t)}
	w.other = newSite(t, w.Lab, "other")
	_, err := w.Path(w.server.ns, w.other.ns, lab.Prefixes("192.0.3.1/24"), lab.Prefixes("203.0.113.1/24"))
	must(t, err)
	key, err := os.ReadFile(w.server.file("vpnd.key"))
	must(t, err)
	must(t, os.WriteFile(w.other.file("vpnd.key"), key, 0o600))
	w.server.write(append(hub, "mode server", "server 24741", fmt.Sprintf("local %v", hubInner), fmt.Sprintf("local %v", hubIPv6),
		"pool 10.99.0.0/24", "pool fd00:99::/64")...)
	w.client.write("mode client", fmt.Sprintf("server %v 24741", serverOuter), "local auto", "retry 1")
	w.other.write("mode client", "server 192.0.3.1 24741", "local auto", "retry 1")
	return w
}

// begin starts all and returns the inner addresses of the two clients.
func (w *hubWorld) begin() (client, other netip.Addr) {
	w.server.start()
	return w.arrive(w.client), w.arrive(w.other)
}

// arrive starts a client and returns the inner address that it is given.
func (w *hubWorld) arrive(s *site) netip.Addr {
	s.t.Helper()
	s.start()
	r := s.until("up with an address", func(r report) bool { return isUp(r) && len(r.Local) == 2 })
	if len(r.Remote) != 2 || r.Remote[0] != hubInner.String() || r.Remote[1] != hubIPv6.String() {
		s.t.Errorf("%s: the other end is %v", s.name, r.Remote)
	}
	s.reaches(hubIPv6)
	return netip.MustParseAddr(r.Local[0])
}

// TestHubPool has clients that share a key get their addresses, and keep them.
func TestHubPool(t *testing.T) {
	t.Parallel()
	w := newHubWorld(t)
	before := w.server.dump() + w.client.dump() + w.other.dump()
	client, other := w.begin()
	pool := netip.MustParsePrefix("10.99.0.0/24")
	if client == other || !pool.Contains(client) || !pool.Contains(other) {
		t.Fatalf("addresses are %v and %v", client, other)
	}
	for _, s := range []*site{w.client, w.other} {
		s.reaches(hubInner)
	}
	w.server.reaches(client)
	w.server.reaches(other)
	_, err := lab.Ends{Client: w.client.ns, Server: w.server.ns, Dst: hubInner}.Transfer(t.Context(), lab.Load{Up: 20 << 20, Down: 20 << 20})
	must(t, err)
	text := w.server.run("--status", "-f", w.server.config()).stdout
	for _, want := range []string{"2 of 2 clients", client.String(), other.String(), clientOuter.String() + ":", otherOuter.String() + ":"} {
		if !strings.Contains(text, want) {
			t.Errorf("--status does not say %q:\n%s", want, text)
		}
	}
	w.server.conserved()
	// The clients come back in another order, to a hub that was killed.
	w.client.stop()
	w.other.stop()
	w.server.stop()
	w.server.start()
	if again := w.arrive(w.other); again != other {
		t.Errorf("the other client had %v and has %v", other, again)
	}
	if again := w.arrive(w.client); again != client {
		t.Errorf("the client had %v and has %v", client, again)
	}
	for _, s := range []*site{w.client, w.other, w.server} {
		s.stop()
	}
	if after := w.server.dump() + w.client.dump() + w.other.dump(); after != before {
		t.Errorf("left behind:\nbefore\n%s\nafter\n%s", before, after)
	}
}

// TestHubClients sees whether clients reach each other.
func TestHubClients(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		name := map[bool]string{false: "off", true: "on"}[on]
		t.Run(name, func(t *testing.T) {
			w := newHubWorld(t, "clienttoclient "+name)
			must(t, w.server.ns.Forward(true))
			client, other := w.begin()
			must(t, w.client.ns.AddRoute(netip.MustParsePrefix("10.99.0.0/24"), hubInner))
			must(t, w.other.ns.AddRoute(netip.MustParsePrefix("10.99.0.0/24"), hubInner))
			if on {
				w.client.reaches(other)
				w.other.reaches(client)
				_, err := lab.Ends{Client: w.client.ns, Server: w.other.ns, Dst: other}.Transfer(t.Context(), lab.Load{Up: 5 << 20, Down: 5 << 20})
				must(t, err)
			} else {
				stats, err := w.client.ns.Ping(t.Context(), other, lab.PingOptions{Count: 3})
				must(t, err)
				if len(stats.RTT) > 0 {
					t.Error("one client reaches the other")
				}
				w.server.until("counting them", func(r report) bool { return r.DropsIn["client_to_client"] >= 3 })
			}
			w.server.conserved()
		})
	}
}

// TestHubHooks has the scripts of two clients told who came.
func TestHubHooks(t *testing.T) {
	t.Parallel()
	w := newHubWorld(t, "linkup "+"hook.sh", "linkdown hook.sh")
	script := "#!/bin/sh\necho \"$VPND_EVENT $VPND_CLIENT $VPND_REMOTE $VPND_REMOTE6 $IPREMOTE $5 $VPND_PEER_ADDR\" >>" + w.server.file("events") + "\n"
	must(t, os.WriteFile(w.server.file("hook.sh"), []byte(script), 0o755))
	client, _ := w.begin()
	w.other.stop()
	w.server.until("alone", func(r report) bool { return strings.HasPrefix(r.remote(), "1 of 2") })
	w.client.stop()
	w.server.stop()
	text, err := os.ReadFile(w.server.file("events"))
	must(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != 4 {
		t.Fatalf("events are\n%s", text)
	}
	counts := make(map[string]int)
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) != 7 || len(words[1]) != 16 || words[2] != words[4] || words[2] != words[5] {
			t.Errorf("event is %q", line)
			continue
		}
		counts[words[0]]++
		if from := map[string]netip.Addr{client.String(): clientOuter}[words[2]]; from.IsValid() && words[6] != from.String() {
			t.Errorf("client is elsewhere: %q", line)
		}
	}
	if counts["linkup"] != 2 || counts["linkdown"] != 2 {
		t.Errorf("events are\n%s", text)
	}
}

// TestHubFull has more clients than addresses, and a file of addresses that is
// damaged.
func TestHubFull(t *testing.T) {
	t.Parallel()
	w := newHubWorld(t)
	w.server.write("mode server", "server 24741", "local 10.99.0.1", "pool 10.99.0.0/30")
	w.server.start()
	w.client.start()
	w.client.until("up", isUp)
	w.other.start()
	w.other.until("refused", func(r report) bool { return strings.Contains(r.Reason, "server refuses") })
	w.server.says(`no address for a client.*no address is free`)
	w.client.stop()
	w.other.until("up", isUp) // the first one is away
	w.server.stop()
	must(t, os.WriteFile(filepath.Join(w.server.file("state"), "server.pool"), []byte("garbage\n"), 0o600))
	e := w.server.run("-n", "-f", w.server.config())
	checkEnded(t, "damaged pool", e, exit.Config, `server\.pool: it does not begin with "vpnd pool 1": move it away`)
}
