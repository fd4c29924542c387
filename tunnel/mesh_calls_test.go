package tunnel

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

func TestMesh(t *testing.T) {
	sim(t, "both call at once", func(t *testing.T) {
		w := newMesh(t, 2)
		w.start(2, 1)
		w.start(1, 2)
		w.awaitLink(1, 2, time.Second)
		stop := w.chat(1, 2)
		w.settled(1, 2, 0)
		if sent, lost := stop(); lost > 0 || sent < 500 {
			t.Errorf("%d of %d packets lost", lost, sent)
		}
	})
	for caller := 1; caller <= 2; caller++ {
		sim(t, fmt.Sprintf("only %d can call", caller), func(t *testing.T) {
			w := newMesh(t, 2)
			w.forbid(3-caller, caller, true)
			w.start(2, 1)
			w.start(1, 2)
			w.awaitLink(1, 2, 2*time.Second)
			w.settled(1, 2, caller)
		})
	}
	sim(t, "of two links the one of the smaller key stays", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(1, 2, true)
		w.start(1, 2)
		w.start(2, 1)
		w.awaitLink(1, 2, 2*time.Second)
		w.forbid(1, 2, false)
		stop := w.chat(1, 2)
		w.callAgain(1, 2)
		w.settled(1, 2, 1)
		if sent, lost := stop(); lost > 0 {
			t.Errorf("%d of %d packets lost", lost, sent)
		}
	})
	sim(t, "a call that was held back", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(1, 2, true)
		one, two := w.start(1, 2), w.start(2, 1)
		w.awaitLink(1, 2, 2*time.Second)
		w.settled(1, 2, 2)
		one.mu.Lock()
		link := one.hub.peers["gateway2"].link.Load()
		link.call += 1000 // what comes now has called before
		one.mu.Unlock()
		w.callAgain(2, 1)
		w.settled(1, 2, 2)
		if one.hub.peers["gateway2"].link.Load() != link || two.Stats().Links != 2 || one.Stats().Links != 1 {
			t.Error("the link was displaced")
		}
		if len(one.down) > 0 || len(two.down) > 0 {
			t.Error("there was no link for a while")
		}
	})
	sim(t, "a second call of one end", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(1, 2, true)
		one := w.start(1, 2)
		w.start(2, 1)
		w.awaitLink(1, 2, 2*time.Second)
		old := one.hub.peers["gateway2"].link.Load()
		stop := w.chat(1, 2)
		w.callAgain(2, 1)
		w.settled(1, 2, 2)
		if one.hub.peers["gateway2"].link.Load() == old {
			t.Error("the first one stayed")
		}
		if sent, lost := stop(); lost > 0 {
			t.Errorf("%d of %d packets lost", lost, sent)
		}
	})
	sim(t, "a gateway moves", func(t *testing.T) {
		for mover := 1; mover <= 2; mover++ {
			w := newMesh(t, 2)
			w.start(1, 2)
			w.start(2, 1)
			w.awaitLink(1, 2, time.Second)
			w.settled(1, 2, 0)
			e := w.gateway(mover)
			w.mu.Lock()
			e.endpoint = meshEndpoint(mover + 100)
			w.mu.Unlock()
			for _, x := range w.list { // nothing passes any more
				for _, p := range x.road.pipes {
					p.cut()
				}
			}
			e.Redial()
			time.Sleep(time.Second)
			stop := w.chat(1, 2)
			w.settled(1, 2, 0)
			if sent, lost := stop(); lost > 0 {
				t.Errorf("gateway%d moved: %d of %d packets lost after a second", mover, lost, sent)
			}
			if l := w.gateway(3 - mover).link(mover).Link; l == nil || !strings.HasPrefix(l.Peer, fmt.Sprintf("198.51.100.%d:", mover+100)) {
				t.Errorf("gateway%d moved: the link is %+v", mover, l)
			}
			for _, x := range w.list {
				x.stop(t)
			}
		}
	})
	sim(t, "a new endpoint in the table", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(2, 1, true)
		w.start(1, 2)
		two := w.start(2, 1)
		w.awaitLink(1, 2, 2*time.Second)
		time.Sleep(time.Second)
		two.road.pipe(-1).cut()
		w.mu.Lock()
		two.endpoint = meshEndpoint(102)
		w.mu.Unlock()
		w.know(1, 2)
		time.Sleep(time.Second)
		if l := w.gateway(1).link(2).Link; l == nil || l.Peer != "198.51.100.102:2002" {
			t.Errorf("link is %+v", l)
		}
	})
	sim(t, "a connection is reset", func(t *testing.T) {
		w := newMesh(t, 2)
		w.start(1, 2)
		w.start(2, 1)
		w.awaitLink(1, 2, time.Second)
		w.settled(1, 2, 0)
		for _, x := range w.list {
			for _, p := range x.road.pipes {
				p.reset()
			}
		}
		await(t, w.gateway(1).down, "end of the link")
		w.awaitLink(1, 2, time.Second)
		w.awaitLink(2, 1, time.Second)
	})
	sim(t, "both links are dead", func(t *testing.T) {
		w := newMesh(t, 2)
		one := w.start(1, 2)
		two := w.start(2, 1)
		w.awaitLink(1, 2, time.Second)
		w.settled(1, 2, 0)
		for _, x := range w.list { // 2 is where it was, but the link is not
			for _, p := range x.road.pipes {
				p.cut()
			}
		}
		one.Redial()
		time.Sleep(time.Second)
		two.stop(t)
		w.forbid(1, 2, true)
		if p := one.link(2); p.State != "down" {
			t.Errorf("link is %+v", p)
		}
	})
	sim(t, "a link that answers is left alone", func(t *testing.T) {
		w := newMesh(t, 2)
		w.start(1, 2)
		w.start(2, 1)
		w.awaitLink(1, 2, time.Second)
		w.settled(1, 2, 0)
		links := w.gateway(1).link(2).Links
		w.gateway(1).Redial()
		time.Sleep(time.Minute)
		if p := w.gateway(1).link(2); p.Links != links || p.State != "up" {
			t.Errorf("%d links, want %d", p.Links, links)
		}
	})
	sim(t, "withdrawn", func(t *testing.T) {
		w := newMesh(t, 2)
		w.start(1, 2)
		w.start(2, 1)
		w.awaitLink(1, 2, time.Second)
		w.know(1)
		synctest.Wait()
		if p := w.gateway(2).link(1); p.State != "down" {
			t.Errorf("link is %+v", p)
		}
		w.forbid(2, 1, true)
		calls := func() int {
			r := w.gateway(2).road
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.pipes)
		}
		before := calls()
		time.Sleep(time.Minute)
		if n := calls() - before; n > 0 {
			t.Errorf("%d calls of one that does not know the other any more", n)
		}
		w.forbid(2, 1, false)
		if p := w.gateway(2).link(1); p.State != "down" || w.gateway(1).Stats().Links > 2 {
			t.Errorf("link is %+v", p)
		}
		w.know(1, 2)
		w.awaitLink(1, 2, 15*time.Second)
		w.awaitLink(2, 1, time.Second)
	})
}

// TestMeshInnerIsOuter has a gateway whose inner address is the one at which it is called, as
// with a network of public addresses: its links are no links through a third peer.
func TestMeshInnerIsOuter(t *testing.T) {
	sim(t, "the only third", func(t *testing.T) {
		w := newMesh(t, 3)
		w.gateway(3).endpoint = netip.AddrPortFrom(meshInner(3), InnerPort)
		w.forbid(1, 2, true)
		w.forbid(2, 1, true)
		w.start(1, 2, 3)
		w.start(2, 1, 3)
		w.start(3, 1, 2)
		w.awaitLink(1, 2, 10*time.Second)
		w.settled(1, 3, 0)
		w.called(1, 3, false)
		time.Sleep(10 * time.Minute)
		if n := w.called(1, 3, false); n > 0 {
			t.Errorf("called %d times though there is a link", n)
		}
	})
}

// TestMeshThirdMoves has a third peer get behind a NAT itself, so that its own link runs
// through a fourth one: the links that it carried take another way.
func TestMeshThirdMoves(t *testing.T) {
	sim(t, "a fourth one", func(t *testing.T) {
		w := newMesh(t, 4)
		w.forbid(1, 2, true)
		w.forbid(2, 1, true)
		one := w.start(1, 2, 3, 4)
		w.start(2, 1, 3, 4)
		w.start(3, 1, 2, 4)
		w.start(4, 1, 2, 3)
		w.awaitLink(1, 2, 10*time.Second)
		w.settled(1, 2, 0)
		w.settled(1, 3, 0)
		one.peer(2).via.Store(one.peer(3))
		w.forbid(1, 3, true)
		w.forbid(3, 1, true)
		w.callThrough(1, 3)
		time.Sleep(time.Second)
		doubt := one.peer(2).doubt.Load()
		one.peer(3).link.Load().conn.(*pipeEnd).pipe.reset()
		synctest.Wait()
		if s := one.peer(3).link.Load(); s == nil || !s.relayed {
			t.Fatalf("the third peer's link is %+v", s)
		}
		if one.peer(2).doubt.Load() == doubt {
			t.Error("nobody looks at the link that it carried")
		}
	})
}

// TestMeshThrough links two gateways through a third one.
func TestMeshThrough(t *testing.T) {
	sim(t, "until there is a direct way", func(t *testing.T) {
		w := newMesh(t, 3)
		w.forbid(1, 2, true)
		w.forbid(2, 1, true)
		w.start(1, 2, 3)
		w.start(2, 1, 3)
		w.start(3, 1, 2)
		if took := w.awaitLink(1, 2, 4*time.Second); took < time.Second {
			t.Errorf("the direct way had %v", took)
		}
		w.settled(1, 2, 0)
		one, two := w.gateway(1).link(2).Link, w.gateway(2).link(1).Link
		if one == nil || two == nil || !strings.HasPrefix(one.Peer, "10.2.0.1:") || !strings.HasPrefix(two.Peer, "10.1.0.1:") ||
			one.Through != "gateway3" && two.Through != "gateway3" { // who was called learns it from the packets
			t.Errorf("links are %+v and %+v", one, two)
		}
		stop := w.chat(1, 2)
		w.forbid(1, 2, false)
		w.forbid(2, 1, false)
		time.Sleep(directMax)
		w.settled(1, 2, 0)
		if sent, lost := stop(); lost > 0 {
			t.Errorf("%d of %d packets lost", lost, sent)
		}
		if l := w.gateway(1).link(2).Link; l == nil || l.Through != "" || !strings.HasPrefix(l.Peer, "198.51.100.") {
			t.Errorf("link is %+v", l)
		}
	})
	sim(t, "nobody in between", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(1, 2, true)
		w.forbid(2, 1, true)
		w.start(1, 2)
		w.start(2, 1)
		time.Sleep(time.Minute)
		if p := w.gateway(1).link(2); p.State != "down" || p.Reason == "" {
			t.Errorf("link is %+v", p)
		}
	})
}

// TestMeshDoorPeers replaces peers while their flights may be under way.
func TestMeshDoorPeers(t *testing.T) {
	w := newMesh(t, 2)
	door, public := w.gateway(1).door, w.gateway(2).own.Public()
	secret := w.secret(1, 2)
	other := crypto.NewPassword("another").LinkSecret(w.gateway(1).own.Public(), public)
	id := crypto.NewPeer(public, secret).ID()
	var last *crypto.Peer
	for _, step := range []struct {
		secret crypto.Secret
		same   bool
	}{{secret, false}, {secret, true}, {other, false}, {other, true}} {
		if err := door.SetPeers([]Peer{{"gateway2", public, step.secret}}); err != nil {
			t.Fatal(err)
		}
		if p := door.find(id); p == nil || (p == last) != step.same {
			t.Errorf("peer %p after %p, want the same: %v", p, last, step.same)
		}
		last = door.find(id)
	}
}
