package tunnel

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"slices"
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
			other := from.hub.gateway(to)
			if ways := other.ways.Load(); ways != nil {
				other.via.Store((*ways)[0])
			}
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
