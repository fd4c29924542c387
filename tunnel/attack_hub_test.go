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
	door := NewStrongDoor(rand.Reader, own, journal)
	c := testConfig(t)
	c.Keys, c.Door, c.Listener, c.Local, c.Hub = nil, door, h.road, hubAddrs(100), &Hub{}
	h.hub = start(t, c)
	var callers []Peer
	var peers []HubPeer
	for n := range 3 {
		key, err := crypto.NewClientKey(rand.Reader, own.Public())
		if err != nil {
			t.Fatal(err)
		}
		p := hubPeer(n + 1)
		p.Key = key.ID()
		callers, peers, h.keys = append(callers, Peer{p.Name, key.Identity().Public(), key.Secret()}), append(peers, p), append(h.keys, key)
	}
	if err := door.SetPeers(callers); err != nil {
		t.Fatal(err)
	}
	if err := h.hub.SetPeers(peers); err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		h.clients = append(h.clients, start(t, h.caller(n)))
		await(t, h.clients[n].up, "link of a client")
		await(t, h.hub.up, "link of the hub")
	}
	return h
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
		var left []HubPeer
		for n := range 2 {
			peer := hubPeer(n + 1)
			peer.Key = h.keys[n].ID()
			left = append(left, peer)
		}
		if err := h.hub.SetPeers(left); err != nil {
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
