package tunnel

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/number"
)

// The enemy here has a key of the hub: he is one of its clients, the third.

// undisturbed checks that the honest clients have what they had: their links, and
// packets that pass.
func (b *hubBench) undisturbed() {
	b.t.Helper()
	for i, client := range b.clients {
		pingPong(b.t, b, i)
		if p := b.peer(i + 1); p.State != "up" || client.Stats().Links != 1 {
			b.t.Errorf("client %d is %s, and had %d links", i+1, p.State, client.Stats().Links)
		}
	}
}

// TestHubOffences has the enemy send what an honest client never sends. It ends his
// session, and nothing else.
func TestHubOffences(t *testing.T) {
	for _, o := range slices.Concat(serverOffences, offences) {
		sim(t, o.name, func(t *testing.T) {
			b := newHubBench(t, 2, nil)
			p := puppetCaller(t, b.road.caller(t), b.config(3)).confirmed(b.hub)
			o.send(p)
			p.drain()
			err := await(t, b.hub.down, "end of the link")
			if !strings.Contains(err.Error(), "protocol error: "+o.want) {
				t.Errorf("cause is %q, want %q", err, o.want)
			}
			b.undisturbed()
			conserved(t, b.hub)
		})
	}
}

// TestHubGarbage has the enemy send packets that are none, and asks without reading.
func TestHubGarbage(t *testing.T) {
	sim(t, "no packets", func(t *testing.T) {
		b := newHubBench(t, 2, nil)
		p := puppetCaller(t, b.road.caller(t), b.config(3)).confirmed(b.hub)
		p.drain()
		own := between(hubAddrs(3)[0], address("10.200.0.1"))
		for _, bad := range [][]byte{{0}, {0x45}, own[:19], own[:len(own)-1], append([]byte{0x95}, own[1:]...), make([]byte, 40)} {
			p.send(frameBatch, stored(bad)...)
			b.undisturbed()
		}
		if d := b.peer(3).DropsIn["malformed"]; d == 0 {
			t.Error("none is counted")
		}
		conserved(t, b.hub)
	})
	sim(t, "every source there is", func(t *testing.T) {
		b := newHubBench(t, 2, func(c *Config) { c.Hub.ClientToClient = true })
		p := puppetCaller(t, b.road.caller(t), b.config(3)).confirmed(b.hub)
		p.drain()
		tried := 0
		for third := range 256 {
			for _, to := range []netip.Addr{address("10.200.0.1"), hubAddrs(1)[0], hubAddrs(2)[0], hubAddrs(100)[0]} {
				from := netip.AddrFrom4([4]byte{10, 9, 0, byte(third)})
				if from == hubAddrs(3)[0] {
					continue
				}
				p.send(frameBatch, stored(between(from, to))...)
				tried++
			}
		}
		synctest.Wait()
		if got := int(b.peer(3).DropsIn["spoofed"]); got != tried || len(b.hub.device.out)+len(b.clients[0].device.out)+len(b.clients[1].device.out) > 0 {
			t.Errorf("%d of %d were dropped", got, tried)
		}
		b.undisturbed()
		conserved(t, b.hub)
	})
	sim(t, "never reads", func(t *testing.T) {
		b := newHubBench(t, 2, func(c *Config) { c.Tuning.Compress = "off" })
		puppetCaller(t, b.road.caller(t), b.config(3)).confirmed(b.hub)
		to := between(address("10.200.0.1"), hubAddrs(3)[0])
		to = lengthened(append(to, make([]byte, 1300)...))
		for range 20 {
			for range 1000 {
				b.hub.device.in <- to
			}
			b.undisturbed()
		}
		s := b.hub.hub.owner(hubAddrs(3)[0]).link.Load()
		if waiting := s.queue.Len() * len(to); waiting > queueBytes {
			t.Errorf("%d bytes wait for him", waiting)
		}
		if b.peer(3).DropsOut["queue_full"] == 0 {
			t.Error("nothing is dropped for want of room")
		}
	})
}

// strongHub is a hub whose clients have keys of their own: ann, bob and the enemy.
type strongHub struct {
	*hubBench
	door *StrongDoor
	keys []*crypto.StrongKey
}

func newStrongHub(t *testing.T) *strongHub {
	t.Helper()
	h := &strongHub{hubBench: &hubBench{t: t, road: newRoad()}}
	own, err := crypto.NewIdentity(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	journal, err := number.OpenJournal(filepath.Join(t.TempDir(), "numbers"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { journal.Close() })
	h.door = NewStrongDoor(rand.Reader, own, journal)
	c := testConfig(t)
	c.Keys, c.Door, c.Listener, c.Local, c.Hub = nil, h.door, h.road, hubAddrs(100), &Hub{}
	h.hub = start(t, c)
	for range 3 {
		h.keys = append(h.keys, must(crypto.NewClientKey(rand.Reader, own.Public())))
	}
	h.admit()
	for n := range 2 {
		h.clients = append(h.clients, start(t, h.caller(n)))
		await(t, h.clients[n].up, "link of a client")
		await(t, h.hub.up, "link of the hub")
	}
	return h
}

// peers returns the first n clients.
func (h *strongHub) peers(n int) (peers []HubPeer) {
	for i, key := range h.keys[:n] {
		p := hubPeer(i + 1)
		p.Key, p.Proof = key.ID(), crypto.NewPeer(key.Identity().Public(), key.Secret())
		peers = append(peers, p)
	}
	return peers
}

// admit lets the keys in, as the daemon does.
func (h *strongHub) admit() {
	h.t.Helper()
	var callers []Peer
	for i, key := range h.keys {
		callers = append(callers, Peer{hubPeer(i + 1).Name, key.Identity().Public(), key.Secret()})
	}
	if err := h.door.SetPeers(callers); err != nil {
		h.t.Fatal(err)
	}
	if err := h.hub.SetPeers(h.peers(len(h.keys))); err != nil {
		h.t.Fatal(err)
	}
}

// resecret gives client n, from 0, another secret.
func (h *strongHub) resecret(n int) {
	h.t.Helper()
	words := strings.Fields(h.keys[n].Words())
	words[2] = must(crypto.NewSecret(rand.Reader)).Text()
	h.keys[n] = must(crypto.ParseStrongWords(crypto.ClientRole, strings.Join(words, " ")))
}

// caller is the configuration of client n, from 0.
func (h *strongHub) caller(n int) Config {
	h.t.Helper()
	numbers, err := number.OpenClient(h.t.TempDir(), number.ID(h.keys[n].ID()), time.Now)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { numbers.Close() })
	c := h.config(n + 1)
	c.Keys, c.Key, c.Client = nil, NewStrongKey(rand.Reader, h.keys[n], numbers), crypto.ClientID{}
	return c
}

// TestStrongHubTheft has the enemy try to be somebody else with his own key.
func TestStrongHubTheft(t *testing.T) {
	sim(t, "another's address", func(t *testing.T) {
		h := newStrongHub(t)
		for _, stolen := range [][]netip.Addr{hubAddrs(1), hubAddrs(2)[:1], {hubAddrs(3)[0], hubAddrs(1)[1]}, {address("10.1.0.1")}, hubAddrs(100), {address("198.51.100.1")}} {
			c := h.caller(2)
			c.Auto, c.Local = false, stolen
			enemy := start(t, c)
			time.Sleep(time.Second)
			if reason := enemy.Stats().Reason; !strings.Contains(reason, "the local address is not one that the server has") {
				t.Errorf("%v: reason is %q", stolen, reason)
			}
			enemy.stop(t)
			h.undisturbed()
		}
	})
	sim(t, "another's client id", func(t *testing.T) {
		h := newStrongHub(t)
		c := h.caller(2)
		c.Client = crypto.ClientID{1}
		enemy := start(t, c)
		await(t, enemy.up, "link")
		synctest.Wait()
		if got := enemy.Stats().Link.Local; !slices.Equal(got, hubAddrs(3)) {
			t.Errorf("he has %v", got)
		}
		h.undisturbed()
	})
	sim(t, "another's link", func(t *testing.T) {
		h := newStrongHub(t)
		c := h.caller(2)
		for range 50 { // each of his calls displaces himself
			puppetCaller(t, h.road.caller(t), c).confirmed(h.hub).drain()
		}
		h.undisturbed()
		if n := h.hub.Stats().Links; n != 52 {
			t.Errorf("%d links", n)
		}
	})
	sim(t, "another's key id", func(t *testing.T) {
		h := newStrongHub(t)
		// He knows the public keys of all, and has got hold of ann's secret.
		forged, err := crypto.ParseStrongWords(crypto.ClientRole, strings.Join([]string{
			strings.Fields(h.keys[2].Words())[0], h.keys[2].Peer().Public().String(), h.keys[0].Secret().Text(),
		}, " "))
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := crypto.NewClientKey(rand.Reader, h.keys[0].Peer().Public())
		if err != nil {
			t.Fatal(err)
		}
		for name, key := range map[string]*crypto.StrongKey{"his key, another's secret": forged, "a key that nobody let in": fresh} {
			h.keys[2] = key
			enemy := start(t, h.caller(2))
			time.Sleep(5 * time.Second)
			if s := enemy.Stats(); s.Links > 0 {
				t.Errorf("%s: a link", name)
			}
			enemy.stop(t)
		}
		h.undisturbed()
	})
	sim(t, "after he was removed", func(t *testing.T) {
		h := newStrongHub(t)
		c := h.caller(2)
		p := puppetCaller(t, h.road.caller(t), c) // has an answer, and waits
		if err := h.hub.SetPeers(h.peers(2)); err != nil {
			t.Fatal(err)
		}
		p.send(frameConfirm)
		if reason := p.closing(); reason != closeRevoked {
			t.Errorf("closed with %v", reason)
		}
		enemy := start(t, c) // the door knows him still: the hub does not
		time.Sleep(5 * time.Second)
		if s := enemy.Stats(); s.Links > 0 {
			t.Error("he has a link")
		}
		h.undisturbed()
		if s := h.hub.Stats(); len(s.Peers) != 2 {
			t.Errorf("clients are %v", fmt.Sprint(s.Peers))
		}
	})
}

// TestStrongHubSecret gives a client another secret and the same key: whoever has the old
// one is out at once.
func TestStrongHubSecret(t *testing.T) {
	sim(t, "with a link", func(t *testing.T) {
		h := newStrongHub(t)
		old, before := h.clients[1], time.Now()
		h.resecret(1)
		h.admit()
		if cause := await(t, old.down, "end"); cause.Error() != "peer closed the link: key revoked" || time.Since(before) > time.Second {
			t.Errorf("cause is %v, after %v", cause, time.Since(before))
		}
		time.Sleep(5 * time.Minute)
		if s := old.Stats(); s.Links != 1 || s.State != "down" {
			t.Errorf("with the old secret: %d links, the last is %s", s.Links, s.State)
		}
		old.stop(t)
		h.clients[1] = start(t, h.caller(1))
		await(t, h.clients[1].up, "link with the new secret")
		h.undisturbed()
		h.admit() // nothing has changed
		h.undisturbed()
	})
	sim(t, "with an answer", func(t *testing.T) {
		h := newStrongHub(t)
		p := puppetCaller(t, h.road.caller(t), h.caller(2))
		h.resecret(2)
		h.admit()
		p.send(frameConfirm)
		if reason := p.closing(); reason != closeRevoked {
			t.Errorf("closed with %v", reason)
		}
		h.undisturbed()
	})
	sim(t, "with a first flight that has opened", func(t *testing.T) {
		h := newStrongHub(t)
		c := h.caller(2)
		_, f1, err := c.Key.Initiate(speaker(c).hello().append(nil))
		if err != nil {
			t.Fatal(err)
		}
		call := must(h.door.Open(f1))
		h.resecret(2)
		h.admit()
		if r := must(h.hub.respond(call, "somebody")); r.why != refusedTerms || r.greeting.owner != nil {
			t.Errorf("he gets a place: %v", r.err)
		}
		h.undisturbed()
	})
}

// TestPeerIs compares what is known of a client with who comes.
func TestPeerIs(t *testing.T) {
	key := must(crypto.NewClientKey(rand.Reader, must(crypto.NewIdentity(rand.Reader)).Public()))
	public := key.Identity().Public()
	known, same := crypto.NewPeer(public, key.Secret()), crypto.NewPeer(public, key.Secret())
	changed := crypto.NewPeer(public, must(crypto.NewSecret(rand.Reader)))
	for _, test := range []struct {
		name         string
		proof, comes *crypto.Peer
		want         bool
	}{
		{"the same", known, same, true},
		{"another secret", known, changed, false},
		{"none", known, nil, false},
		{"where there is none", nil, known, true},
		{"none where there is none", nil, nil, true},
	} {
		p := &peer{key: key.ID(), proof: test.proof}
		if got := p.is(key.ID(), test.comes); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
		if p.is(crypto.KeyID{1}, test.comes) {
			t.Errorf("%s: another key", test.name)
		}
	}
}
