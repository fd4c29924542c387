package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
	"vpnd/conf"
	"vpnd/crypto"
	"vpnd/tunnel"
)

// peersWorld is a hub whose clients have keys of their own, and three hosts that can
// be clients.
type peersWorld struct {
	*hubWorld
	third *site
	hub   crypto.PublicKey
}

// cutOff is how long a client that is taken out may stay.
const cutOff = time.Second

func newPeersWorld(t *testing.T, hub ...string) *peersWorld {
	t.Helper()
	w := &peersWorld{hubWorld: newHubWorld(t)}
	w.third = newSite(t, w.Lab, "third")
	_, err := w.Path(w.server.ns, w.third.ns, lab.Prefixes("192.0.4.1/24"), lab.Prefixes("203.0.114.1/24"))
	must(t, err)
	w.strongKeys(nil)
	w.hub = keyAt(t, w.server.file(crypto.ServerFile), "").Identity().Public()
	must(t, os.Mkdir(w.server.file("peers"), 0o700))
	w.server.write(append(hub, "mode server", "server 24741", "auth strong", "peers peers",
		fmt.Sprintf("local %v", hubInner), fmt.Sprintf("local %v", hubIPv6), "pool 10.99.0.0/24", "pool fd00:99::/64")...)
	return w
}

// outer is where the hub is, as a client sees it.
func (w *peersWorld) outer(s *site) string {
	switch s {
	case w.other:
		return "192.0.3.1"
	case w.third:
		return "192.0.4.1"
	}
	return serverOuter.String()
}

// peer is the path of a client's file.
func (w *peersWorld) peer(name string) string { return w.server.file("peers/" + name + ".peer") }

// enrol gives a client a key by hand, and the hub what it has to know.
func (w *peersWorld) enrol(s *site, lines ...string) *crypto.StrongKey {
	s.t.Helper()
	key, err := crypto.NewClientKey(rand.Reader, w.hub)
	must(s.t, err)
	w.knows(s, key, lines...)
	w.brings(s, key)
	return key
}

// knows gives the hub what it has to know of a client.
func (w *peersWorld) knows(s *site, key *crypto.StrongKey, lines ...string) {
	s.t.Helper()
	text := fmt.Sprintf("publickey %v\nsecret %s\n%s\n", key.Identity().Public(), key.Secret().Text(), strings.Join(lines, "\n"))
	must(s.t, os.WriteFile(w.peer(s.name)+"~", []byte(text), 0o600))
	must(s.t, os.Rename(w.peer(s.name)+"~", w.peer(s.name)))
}

// brings gives a host the configuration of a client with a key.
func (w *peersWorld) brings(s *site, key *crypto.StrongKey) {
	s.t.Helper()
	s.write("mode client", fmt.Sprintf("server %s 24741", w.outer(s)), "local auto", "retry 1", "auth strong", "key "+key.Words())
	must(s.t, os.Chmod(s.config(), 0o600))
}

// client returns what the hub says of a client.
func (r report) client(name string) (p tunnel.PeerStats) {
	for _, p = range r.Peers {
		if p.Name == name {
			return p
		}
	}
	return tunnel.PeerStats{}
}

// leaves takes a key out, and returns how long its client stayed.
func (w *peersWorld) leaves(s *site, take func()) time.Duration {
	s.t.Helper()
	r := w.server.until("up", func(r report) bool { return r.client(s.name).Link != nil })
	key := r.client(s.name).Link.KeyID
	take()
	took := w.cutsOff(func(r report) bool {
		l := r.client(s.name).Link
		return l == nil || l.KeyID != key
	})
	s.says(`key revoked`)
	return took
}

// cutsOff waits until a client is cut off, the file of which was changed just now, and
// returns how long that took.
func (w *peersWorld) cutsOff(gone func(report) bool) time.Duration {
	t := w.server.t
	t.Helper()
	began, standstill := time.Now(), lab.Standstill()
	w.server.until("without the client", gone)
	took, stall := time.Since(began), standstill()
	if took > cutOff+10*stall {
		t.Errorf("cut off after %v; the machine stood still for %v", took, stall)
	}
	return took
}

// TestPeers has three clients with keys of their own. One is removed, one put off, one
// changed; the others never notice.
func TestPeers(t *testing.T) {
	t.Parallel()
	w := newPeersWorld(t)
	keys := map[*site]*crypto.StrongKey{
		w.client: w.enrol(w.client, "address 10.99.0.7", "address fd00:99::7"),
		w.other:  w.enrol(w.other),
		w.third:  w.enrol(w.third, "subnet 10.55.0.0/16"),
	}
	w.server.start()
	addrs := make(map[netip.Addr]bool)
	for s := range keys {
		addrs[w.arrive(s)] = true
	}
	if len(addrs) != 3 || !addrs[netip.MustParseAddr("10.99.0.7")] {
		t.Errorf("addresses are %v", addrs)
	}
	r := w.server.until("up", func(r report) bool { return strings.HasPrefix(r.remote(), "3 of 3") })
	for s, key := range keys {
		if p := r.client(s.name); p.Link == nil || p.Link.KeyID != key.ID().String() || p.Link.Client != "" {
			t.Errorf("%s is %+v", s.name, p.Link)
		}
	}
	if dump := w.server.dump(); !strings.Contains(dump, "10.55.0.0/16") {
		t.Errorf("no route to what is behind the third:\n%s", dump)
	}
	// One is removed, and comes back.
	text, err := os.ReadFile(w.peer("other"))
	must(t, err)
	t.Logf("removed: out after %v", w.leaves(w.other, func() { must(t, os.Remove(w.peer("other"))) }))
	w.server.says(`msg="caller refused".*wrong key, or not a vpnd`)
	must(t, os.WriteFile(w.peer("other"), text, 0o600))
	began := time.Now()
	w.server.until("with it again", func(r report) bool { return r.client("other").State == "up" })
	t.Logf("added: in after %v", time.Since(began))
	// One is put off.
	t.Logf("put off: out after %v", w.leaves(w.third, func() {
		must(t, os.WriteFile(w.peer("third"), append(read(t, w.peer("third")), "enabled off\n"...), 0o600))
	}))
	if dump := w.server.dump(); strings.Contains(dump, "10.55.0.0/16") {
		t.Errorf("a route to what was behind the third:\n%s", dump)
	}
	// One gets another key: the old one is worth nothing.
	t.Logf("changed: out after %v", w.leaves(w.other, func() { w.enrol(w.other) }))
	w.other.stop()
	w.arrive(w.other)
	if l := w.client.until("up", isUp); l.Links != 1 {
		t.Errorf("the first client had %d links", l.Links)
	}
	w.client.reaches(hubInner)
	w.server.conserved()
	// All come back to a hub that was killed.
	w.server.kill()
	w.server.start()
	for _, s := range []*site{w.client, w.other} {
		w.server.until("up again", func(r report) bool { return r.client(s.name).State == "up" })
		s.reaches(hubInner)
	}
	for _, s := range []*site{w.client, w.other, w.third, w.server} {
		s.stop()
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return text
}

// TestPeersSecret changes nothing but the secret in a client's file. The client is cut off,
// and comes back with the new secret only.
func TestPeersSecret(t *testing.T) {
	t.Parallel()
	w := newPeersWorld(t)
	old := w.enrol(w.client)
	w.server.start()
	w.arrive(w.client)
	words := strings.Fields(old.Words())
	secret, err := crypto.NewSecret(rand.Reader)
	must(t, err)
	changed, err := crypto.ParseStrongWords(crypto.ClientRole, strings.Join([]string{words[0], words[1], secret.Text()}, " "))
	must(t, err)
	w.knows(w.client, changed)
	w.cutsOff(func(r report) bool { return r.client("client").Link == nil })
	w.server.says(`msg="link is down".*key revoked`)
	w.client.says(`msg="no link".*: wrong key`)
	if r := w.server.until("without it", func(r report) bool { return r.client("client").Link == nil }); r.Links != 1 {
		t.Errorf("%d links with the old secret", r.Links)
	}
	w.client.stop()
	w.brings(w.client, changed)
	w.arrive(w.client)
	w.client.stop()
	w.server.stop()
}

// TestPeersChecked asks for what is wrong with the files before the hub is started.
func TestPeersChecked(t *testing.T) {
	t.Parallel()
	w := newPeersWorld(t)
	w.enrol(w.client)
	w.enrol(w.other, "enabled off", "address 192.0.2.99")
	check := func() ended { return w.server.run("--check", "-f", w.server.config()) }
	e := check()
	checkEnded(t, "right", e, exit.OK, `^$`)
	if !strings.Contains(e.stdout, ", clients: 1\n") {
		t.Errorf("it says %q", e.stdout)
	}
	w.enrol(w.third, "address 192.0.2.99")
	must(t, os.WriteFile(w.peer("ann"), []byte("publickey public:AAAA\nsecret secret:AAAA\n"), 0o600))
	checkEnded(t, "mistakes", check(), exit.Config, `third\.peer:\d+: address: 192\.0\.2\.99 is outside the pool`)
	checkEnded(t, "mistakes", check(), exit.Config, `ann\.peer:1: publickey: the public key is damaged`)
	must(t, os.WriteFile(w.server.config(), append(read(t, w.server.config()), "linkup /nowhere/up\n"...), 0o600))
	checkEnded(t, "a script is missing, too", check(), exit.Config, `server\.conf:\d+: linkup: .*\n\S+third\.peer:\d+: address: 192\.0\.2\.99 is outside the pool`)
}

// TestPeersCloned has one client's file in use in two places. The hub says so, and
// another client does not notice.
func TestPeersCloned(t *testing.T) {
	t.Parallel()
	w := newPeersWorld(t)
	key := w.enrol(w.client)
	w.enrol(w.third)
	w.server.start()
	w.arrive(w.client)
	w.arrive(w.third)
	w.brings(w.other, key)
	w.other.start()
	w.server.says(copied)
	w.server.says(`two clients seem to have the same key.*"one at"=\S+ "the other at"=\S+`)
	if r := w.third.until("up", isUp); r.Links != 1 {
		t.Errorf("the other client had %d links", r.Links)
	}
	r := w.server.until("two clients", func(r report) bool { return len(r.Peers) == 2 })
	if r.client(w.other.name).Name != "" {
		t.Errorf("clients are %+v", r.Peers)
	}
	// Taken out, both are.
	mark := w.server.Stderr.Mark()
	must(t, os.Remove(w.peer("client")))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := w.server.Stderr.WaitAfter(ctx, mark, `msg="link is down".*cause="key revoked"`) // of the one that has the link
	must(t, err)
	for _, s := range []*site{w.other, w.client, w.third, w.server} {
		s.stop()
	}
}

// TestPeersWrong has a client whose key is another one than the hub knows.
func TestPeersWrong(t *testing.T) {
	t.Parallel()
	w := newPeersWorld(t)
	right := w.enrol(w.client)
	wrong, err := crypto.NewClientKey(rand.Reader, w.hub)
	must(t, err)
	words, others := strings.Fields(right.Words()), strings.Fields(wrong.Words())
	w.server.start()
	for name, key := range map[string]string{
		"another key":    wrong.Words(),
		"another secret": strings.Join([]string{words[0], words[1], others[2]}, " "),
		"another hub":    strings.Join([]string{words[0], wrong.Identity().String(), words[2]}, " "),
		// That of the pair which made the hub's key: it has no file.
		"first pair": keyAt(t, w.client.file(crypto.ClientFile), "").Words(),
	} {
		t.Run(name, func(t *testing.T) {
			k, err := crypto.ParseStrongWords(crypto.ClientRole, key)
			must(t, err)
			w.brings(w.client, k)
			w.client.start()
			w.client.says(`msg="no link".*: wrong key`)
			w.client.stop()
		})
	}
	if r := w.server.tells(); r.Links > 0 || len(r.Peers) != 1 {
		t.Errorf("the hub has %d links", r.Links)
	}
	w.brings(w.client, right)
	w.arrive(w.client)
	w.client.stop()
	w.server.stop()
	if left, err := filepath.Glob(w.server.file("peers/*")); err != nil || len(left) != 1 || !strings.HasSuffix(left[0], conf.PeerSuffix) {
		t.Errorf("files are %v, %v", left, err)
	}
}
