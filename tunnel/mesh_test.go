package tunnel

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

// meshWorld is gateways that know each other. Gateway n has the inner address
// 10.n.0.1, the network 10.n.0.0/16 and the outer address 198.51.100.n.
type meshWorld struct {
	t    *testing.T
	list []*meshEnd // gateway 1 first

	mu    sync.Mutex
	no    map[[2]int]bool // who cannot call whom
	calls map[meshCall]int
}

// meshCall is who calls whom, directly or through a third one.
type meshCall struct {
	from, to int
	through  bool
}

// meshEnd is one gateway.
type meshEnd struct {
	*end
	n        int
	own      *crypto.Identity
	door     *StrongDoor
	road     *road
	endpoint netip.AddrPort
	source   netip.Addr // of calls, if that is not the endpoint's
}

func meshInner(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n), 0, 1}) }

func meshEndpoint(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}), 2002)
}

// newMesh makes gateways that do not run yet. The public keys grow with their numbers.
func newMesh(t *testing.T, n int) *meshWorld {
	t.Helper()
	w := &meshWorld{t: t, no: map[[2]int]bool{}, calls: map[meshCall]int{}}
	for range n {
		own, err := crypto.NewIdentity(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		w.list = append(w.list, &meshEnd{own: own})
	}
	slices.SortFunc(w.list, func(a, b *meshEnd) int { return slices.Compare(bytesOf(a), bytesOf(b)) })
	for i, e := range w.list {
		e.n, e.road, e.endpoint = i+1, newRoad(), meshEndpoint(i+1)
		e.door = NewMeshDoor(rand.Reader, e.own)
	}
	return w
}

func bytesOf(e *meshEnd) []byte { k := e.own.Public(); return k[:] }

func (w *meshWorld) gateway(n int) *meshEnd { return w.list[n-1] }

// forbid takes the direct way from one gateway to another, or gives it back.
func (w *meshWorld) forbid(from, to int, no bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.no[[2]int{from, to}] = no
}

// connect is the way from one gateway to another.
func (w *meshWorld) connect(ctx context.Context, from *meshEnd, to netip.AddrPort) (net.Conn, error) {
	var target *meshEnd
	if !to.IsValid() {
		w.t.Errorf("gateway%d calls nowhere", from.n)
	}
	w.mu.Lock()
	for _, e := range w.list {
		if e.endpoint != to {
			continue
		}
		w.calls[meshCall{from.n, e.n, false}]++
		if !w.no[[2]int{from.n, e.n}] {
			target = e
		}
	}
	source := netip.AddrPortFrom(cmp.Or(from.source, from.endpoint.Addr()), 40000)
	w.mu.Unlock()
	if target == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return target.arrive(source, to), nil
}

// through is what the hosts make of packets that third gateways pass on.
func (w *meshWorld) through(from *meshEnd, to netip.Addr) (net.Conn, error) {
	for _, e := range w.list {
		if meshInner(e.n) == to {
			w.mu.Lock()
			w.calls[meshCall{from.n, e.n, true}]++
			w.mu.Unlock()
			return e.arrive(netip.AddrPortFrom(meshInner(from.n), InnerCallPort), netip.AddrPortFrom(to, InnerPort)), nil
		}
	}
	return nil, errTest
}

// called returns how many calls there were since it was asked last.
func (w *meshWorld) called(from, to int, through bool) int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.calls[meshCall{from, to, through}]
	w.calls[meshCall{from, to, through}] = 0
	return n
}

func (e *meshEnd) arrive(from, to netip.AddrPort) net.Conn {
	p := newPipe(net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to))
	e.road.mu.Lock()
	e.road.pipes = append(e.road.pipes, p)
	e.road.mu.Unlock()
	e.road.arrived <- p.server
	return p.client
}

// start runs a gateway that knows the ones with these numbers.
func (w *meshWorld) start(n int, peers ...int) *meshEnd {
	w.t.Helper()
	e, c := w.gateway(n), testConfig(w.t)
	c.Keys, c.Door, c.Listener, c.Ciphers = nil, e.door, e.road, []crypto.Cipher{crypto.AES256GCM}
	c.Hub = &Hub{Mesh: &Mesh{
		Dial:    func(ctx context.Context, to netip.AddrPort) (net.Conn, error) { return w.connect(ctx, e, to) },
		Through: func(_ context.Context, to netip.Addr) (net.Conn, error) { return w.through(e, to) },
	}}
	open := make(chan struct{})
	c.Listener = &lateRoad{e.road, open}
	e.end = start(w.t, c)
	w.know(n, peers...)
	close(open)
	return e
}

// lateRoad lets nobody in before it is open.
type lateRoad struct {
	*road
	open chan struct{}
}

func (r *lateRoad) Accept() (net.Conn, error) {
	<-r.open
	return r.road.Accept()
}

func (w *meshWorld) secret(n, m int) crypto.Secret {
	return crypto.NewPassword("password").LinkSecret(w.gateway(n).own.Public(), w.gateway(m).own.Public())
}

// know tells a gateway its peers.
func (w *meshWorld) know(n int, peers ...int) {
	w.t.Helper()
	w.knowAs(n, func(*HubPeer) {}, peers...)
}

// knowAs is know, with something changed.
func (w *meshWorld) knowAs(n int, change func(*HubPeer), peers ...int) {
	w.t.Helper()
	e := w.gateway(n)
	var callers []Peer
	var list []HubPeer
	for _, m := range peers {
		other := w.gateway(m)
		secret := w.secret(n, m)
		key, err := crypto.NewCallKey(e.own, other.own.Public(), secret)
		if err != nil {
			w.t.Fatal(err)
		}
		name := fmt.Sprint("gateway", m)
		callers = append(callers, Peer{Name: name, Public: other.own.Public(), Secret: secret})
		list = append(list, HubPeer{
			Name: name, Key: crypto.NewPeer(other.own.Public(), secret).ID(), Addrs: []netip.Addr{meshInner(m)},
			Subnets: []netip.Prefix{netip.PrefixFrom(meshInner(m), 16).Masked()},
			Call:    NewMeshKey(rand.Reader, key), Endpoint: other.endpoint, Ours: n < m,
		})
		change(&list[len(list)-1])
	}
	if err := e.door.SetPeers(callers); err != nil {
		w.t.Fatal(err)
	}
	if err := e.SetMesh(meshInner(n), list); err != nil {
		w.t.Fatal(err)
	}
}

// callAgain has a gateway call another one, whatever link there is, callThrough the same
// through a third one.
func (w *meshWorld) callAgain(from, to int)   { w.call(from, to, 0) }
func (w *meshWorld) callThrough(from, to int) { w.call(from, to, 1) }

func (w *meshWorld) call(from, to, way int) {
	p := w.gateway(from).hub.peers[fmt.Sprint("gateway", to)]
	p.calls.diallers[way].attempt(w.t.Context())
	synctest.Wait()
}

// link returns what a gateway says of the link with another one.
func (e *meshEnd) link(to int) PeerStats {
	synctest.Wait()
	for _, p := range e.Stats().Peers {
		if p.Name == fmt.Sprint("gateway", to) {
			return p
		}
	}
	return PeerStats{State: "unknown"}
}

// settled waits until the time for second links is over, and sees that two gateways
// use the same one, which is one that caller called for.
func (w *meshWorld) settled(a, b, caller int) {
	w.t.Helper()
	time.Sleep(spareTime + 2*time.Second)
	synctest.Wait()
	for _, pair := range [][2]int{{a, b}, {b, a}} {
		e, p := w.gateway(pair[0]), fmt.Sprint("gateway", pair[1])
		e.mu.Lock()
		s := e.hub.peers[p].link.Load()
		switch {
		case s == nil:
			w.t.Errorf("gateway%d has no link with %s", pair[0], p)
		case caller != 0 && s.client != (caller == pair[0]):
			w.t.Errorf("gateway%d: the link with %s is not the one that gateway%d called for", pair[0], p, caller)
		case e.hub.peers[p].calls.spare != nil:
			w.t.Errorf("gateway%d has two links with %s still", pair[0], p)
		}
		e.mu.Unlock()
	}
}

// chat sends packets between two gateways, both ways, until stop is called, which
// returns how many were sent and how many did not arrive.
func (w *meshWorld) chat(a, b int) (stop func() (sent, lost int)) {
	done := make(chan struct{})
	var running sync.WaitGroup
	var mu sync.Mutex
	sent, lost := 0, 0
	for _, pair := range [][2]int{{a, b}, {b, a}} {
		from, to := w.gateway(pair[0]), w.gateway(pair[1])
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
				}
				from.device.in <- between(meshInner(pair[0]), meshInner(pair[1]))
				mu.Lock()
				sent++
				mu.Unlock()
				select {
				case <-to.device.out:
				case <-time.After(time.Second):
					mu.Lock()
					lost++
					mu.Unlock()
				}
			}
		})
	}
	return func() (int, int) {
		close(done)
		running.Wait()
		return sent, lost
	}
}

// awaitLink waits until a gateway has a link, and returns how long that took.
func (w *meshWorld) awaitLink(a, b int, most time.Duration) time.Duration {
	w.t.Helper()
	began := time.Now()
	for w.gateway(a).link(b).State != "up" {
		if time.Since(began) > most {
			w.t.Fatalf("no link of gateway%d with gateway%d after %v: %s", a, b, most, w.gateway(a).link(b).Reason)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

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
