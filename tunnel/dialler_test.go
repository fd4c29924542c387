package tunnel

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/tunnel/loglimit"
)

// counted is a context that counts what hangs on it.
type counted struct {
	context.Context
	done chan struct{}

	mu sync.Mutex
	n  int
}

func (c *counted) Done() <-chan struct{} { return c.done }

// AfterFunc is what package context asks for, instead of a goroutine for each child.
func (c *counted) AfterFunc(func()) (stop func() bool) {
	c.add(1)
	return sync.OnceValue(func() bool { c.add(-1); return true })
}

func (c *counted) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
}

// TestDiallerLeavesNothing has a peer that cannot be reached for years.
func TestDiallerLeavesNothing(t *testing.T) {
	for i, way := range []string{"direct", "through"} {
		sim(t, way, func(t *testing.T) {
			w := newMesh(t, 2)
			w.forbid(1, 2, true)
			w.start(1, 2)
			synctest.Wait()
			life := &counted{Context: t.Context(), done: make(chan struct{})}
			d := w.gateway(1).hub.peers["gateway2"].calls.diallers[i]
			for range 10 {
				d.attempt(life)
			}
			if life.n != 0 {
				t.Errorf("%d of 10 attempts hang on the life of the peer", life.n)
			}
		})
	}
}

// TestDiallerLog has a peer whose endpoint is another one every second, and never answers.
func TestDiallerLog(t *testing.T) {
	sim(t, "another port each second", func(t *testing.T) {
		w := newMesh(t, 2)
		one := w.start(1)
		one.hub.config.Mesh.Dial = func(_ context.Context, to netip.AddrPort) (net.Conn, error) {
			return nil, fmt.Errorf("dial %v: refused", to)
		}
		const seconds = 600
		for i := range seconds {
			w.gateway(2).endpoint = netip.AddrPortFrom(meshEndpoint(2).Addr(), uint16(1000+i))
			w.know(1, 2)
			time.Sleep(time.Second)
		}
		if n := strings.Count(one.log.String(), "no link"); n > seconds/10+1 || n < seconds/20 {
			t.Errorf("%d lines in %d s", n, seconds)
		}
	})
	sim(t, "another cause after a while", func(t *testing.T) {
		w := newMesh(t, 2)
		one := w.start(1)
		var cause atomic.Int64
		one.hub.config.Mesh.Dial = func(context.Context, netip.AddrPort) (net.Conn, error) {
			return nil, fmt.Errorf("cause %d", cause.Load())
		}
		w.know(1, 2)
		for i := range 10 {
			cause.Store(int64(i))
			time.Sleep(2 * time.Second)
			one.log.says(t, 1, fmt.Sprintf("cause %d\"", i))
			time.Sleep(2 * loglimit.Interval)
		}
	})
}

// TestDiallerCallsAgain has a peer that was away come back, and be where nobody knows:
// it is called through a third one.
func TestDiallerCallsAgain(t *testing.T) {
	sim(t, "without an endpoint", func(t *testing.T) {
		w := newMesh(t, 3)
		w.forbid(1, 2, true)
		w.forbid(2, 1, true)
		hidden := func(p *HubPeer) {
			if p.Name != "gateway3" {
				p.Endpoint = netip.AddrPort{}
			}
		}
		away := func(p *HubPeer) {
			if hidden(p); !p.Endpoint.IsValid() {
				p.Call = nil
			}
		}
		one := w.start(1)
		w.start(2)
		w.start(3, 1, 2)
		w.knowAs(1, away, 2, 3)
		w.knowAs(2, away, 1, 3)
		w.awaitLink(1, 3, 5*time.Second)
		w.awaitLink(2, 3, 5*time.Second)
		time.Sleep(time.Minute)
		if p := one.link(2); p.State != "down" {
			t.Fatalf("link is %+v", p)
		}
		w.knowAs(1, hidden, 2, 3)
		w.awaitLink(1, 2, 10*time.Second)
	})
}

// TestDiallerThrough has two gateways that reach each other through a third one alone.
func TestDiallerThrough(t *testing.T) {
	sim(t, "one link is enough", func(t *testing.T) {
		w := newMesh(t, 3)
		w.forbid(1, 2, true)
		w.forbid(2, 1, true)
		one := w.start(1, 2, 3)
		w.start(2, 1, 3)
		w.start(3, 1, 2)
		w.awaitLink(1, 2, 4*time.Second)
		w.settled(1, 2, 0)
		links, said := one.link(2).Links, one.log.String()
		for _, pair := range [][2]int{{1, 2}, {2, 1}} {
			w.called(pair[0], pair[1], false)
			w.called(pair[0], pair[1], true)
		}
		time.Sleep(10 * time.Minute)
		for _, pair := range [][2]int{{1, 2}, {2, 1}} {
			if n := w.called(pair[0], pair[1], true); n > 0 {
				t.Errorf("%d calls through the third one", n)
			}
			if n := w.called(pair[0], pair[1], false); n < 8 || n > 20 {
				t.Errorf("%d direct calls", n)
			}
		}
		if p := one.link(2); p.Links != links || p.Reason != "" || strings.Count(one.log.String(), "no link") > strings.Count(said, "no link") {
			t.Errorf("%+v", p)
		}
	})
	sim(t, "a direct one is better", func(t *testing.T) {
		w := newMesh(t, 3)
		w.forbid(1, 2, true)
		w.forbid(2, 1, true)
		one := w.start(1, 2, 3)
		w.start(2, 3)
		w.start(3, 1, 2)
		w.knowAs(2, func(p *HubPeer) {
			if p.Name == "gateway1" {
				p.Call = nil
			}
		}, 1, 3)
		w.awaitLink(1, 2, 4*time.Second) // called by the one with the smaller key
		w.settled(1, 2, 1)
		w.forbid(2, 1, false)
		w.know(2, 1, 3)
		time.Sleep(directMax)
		w.settled(1, 2, 2)
		if l := one.link(2).Link; l == nil || l.Through != "" || !strings.HasPrefix(l.Peer, "198.51.100.") {
			t.Errorf("link is %+v", l)
		}
		one.peer(2).via.Store(one.peer(3)) // somebody has sent something that way
		if l := one.link(2).Link; l == nil || l.Through != "" {
			t.Errorf("link is %+v", l)
		}
	})
	sim(t, "whom it goes through", func(t *testing.T) {
		w := newMesh(t, 5)
		for _, n := range []int{2, 3} {
			w.forbid(1, n, true)
			w.forbid(n, 1, true)
		}
		one := w.start(1, 2, 3, 4, 5)
		w.start(2, 1, 4)
		w.start(4, 1, 2)
		w.awaitLink(1, 2, 10*time.Second) // through 4; with 3 and 5 there is none
		w.settled(1, 2, 0)
		choose := func(n int) (names []string) {
			d := one.peer(n).calls.diallers[1]
			one.mu.Lock()
			defer one.mu.Unlock()
			if d.alone = false; d.chooseWays() {
				for _, p := range *d.p.ways.Load() {
					names = append(names, p.name)
				}
			}
			return names
		}
		for n, want := range map[int][]string{3: {"gateway4"}, 4: nil} {
			if got := choose(n); !slices.Equal(got, want) {
				t.Errorf("%d is called through %v, want %v", n, got, want)
			}
		}
		w.start(5, 1)
		w.awaitLink(1, 5, 10*time.Second)
		time.Sleep(directMax) // it may be one through 4 at first
		w.settled(1, 5, 0)
		if got := choose(3); len(got) != 2 {
			t.Errorf("3 is called through %v", got)
		}
	})
	sim(t, "many third ones take turns", func(t *testing.T) {
		const all = manyWays + 3
		w := newMesh(t, all+2)
		w.forbid(1, 2, true)
		peers := []int{2}
		for n := 3; n <= all+2; n++ {
			peers = append(peers, n)
			w.start(n, 1)
		}
		one := w.start(1, peers...)
		for n := 3; n <= all+2; n++ {
			w.awaitLink(1, n, time.Second)
		}
		p, seen := one.peer(2), make(map[string]bool)
		var many []int
		one.mu.Lock()
		one.hub.config.Mesh.Through = func(context.Context, netip.Addr) (net.Conn, error) {
			ways := *p.ways.Load()
			for _, p := range ways {
				seen[p.name] = true
			}
			many = append(many, len(ways))
			return nil, errTest
		}
		d := p.calls.diallers[1]
		d.wakeUp(true)
		one.mu.Unlock()
		time.Sleep(8 * time.Second)
		one.mu.Lock()
		defer one.mu.Unlock()
		if len(many) < 4 || !slices.Equal(many[:4], []int{manyWays, 1, manyWays, 1}) || len(seen) != all {
			t.Errorf("calls go through %v, %d of %d in all", many, len(seen), all)
		}
		if p.ways.Load() != nil {
			t.Error("what looks like a call goes through all of them still")
		}
	})
	sim(t, "without an inner address", func(t *testing.T) {
		w := newMesh(t, 3)
		w.forbid(1, 2, true)
		one := w.start(1)
		w.start(3, 1)
		w.knowAs(1, func(p *HubPeer) {
			if p.Name == "gateway2" {
				p.Addrs = nil
			}
		}, 2, 3)
		w.awaitLink(1, 3, time.Second)
		time.Sleep(time.Minute)
		if p := one.link(2); p.State != "down" || w.called(1, 2, true) > 0 {
			t.Errorf("%+v", p)
		}
	})
	sim(t, "nobody in between", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(1, 2, true)
		one := w.start(1, 2)
		time.Sleep(time.Minute)
		if p := one.link(2); !strings.Contains(p.Reason, "deadline exceeded") {
			t.Errorf("the reason is %q", p.Reason)
		}
		one.log.says(t, 0, errNoThird.Error())
	})
}

// TestDiallerTime looks at how long an attempt has, and when it is given up.
func TestDiallerTime(t *testing.T) {
	sim(t, "limits", func(t *testing.T) {
		w := newMesh(t, 3)
		one := w.start(1)
		limits := make(chan [2]time.Duration, 100) // of the direct way, and of that through others
		limit := func(ctx context.Context) time.Duration {
			at, _ := ctx.Deadline()
			return time.Until(at)
		}
		dial := one.hub.config.Mesh.Dial
		one.hub.config.Mesh.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if to == meshEndpoint(3) {
				return dial(ctx, to)
			}
			limits <- [2]time.Duration{limit(ctx)}
			return nil, errTest
		}
		one.hub.config.Mesh.Through = func(ctx context.Context, _ netip.Addr) (net.Conn, error) {
			limits <- [2]time.Duration{1: limit(ctx)}
			return nil, errTest
		}
		w.start(3, 1)
		w.know(1, 2, 3)
		time.Sleep(10 * time.Second)
		seen := map[[2]time.Duration]bool{}
		for len(limits) > 0 {
			seen[<-limits] = true
		}
		if len(seen) != 2 || !seen[[2]time.Duration{attemptTimeout}] || !seen[[2]time.Duration{1: throughTimeout}] {
			t.Errorf("limits are %v", seen)
		}
	})
	sim(t, "given up for another endpoint", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(1, 2, true)
		w.forbid(2, 1, true)
		w.start(1, 2)
		w.start(2, 1)
		time.Sleep(attemptTimeout / 2)
		w.forbid(1, 2, false)
		w.mu.Lock()
		w.gateway(2).endpoint = meshEndpoint(102)
		w.mu.Unlock()
		w.know(1, 2)
		w.awaitLink(1, 2, 500*time.Millisecond)
	})
	sim(t, "a link that never lasts", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(2, 1, true)
		one, two := w.start(1, 2), w.start(2, 1)
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			select {
			case <-one.up:
				two.road.pipe(-1).reset()
			case <-time.After(time.Second):
			}
		}
		if n := w.called(1, 2, false); n < 35 || n > 65 { // some at once, and then one in 1.4 s
			t.Errorf("%d calls in a minute", n)
		}
	})
	sim(t, "the end waits for it", func(t *testing.T) {
		w := newMesh(t, 2)
		one := w.start(1)
		one.hub.config.Mesh.Dial = func(context.Context, netip.AddrPort) (net.Conn, error) {
			time.Sleep(time.Second) // whatever ctx says
			return nil, errTest
		}
		w.know(1, 2)
		synctest.Wait()
		began := time.Now()
		one.stop(t)
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v", took)
		}
		one.log.says(t, 0, "no link")
	})
}

// TestDiallerLeft takes a peer away while it is called.
func TestDiallerLeft(t *testing.T) {
	sim(t, "before the call", func(t *testing.T) {
		w := newMesh(t, 2)
		one := w.start(1)
		w.knowAs(1, func(p *HubPeer) { p.Call = nil }, 2)
		for _, d := range one.peer(2).calls.diallers {
			d.attempt(t.Context())
		}
		if p := one.link(2); p.Reason != "" || w.called(1, 2, false) > 0 {
			t.Errorf("%+v", p)
		}
		one.log.says(t, 0, "no link")
	})
	sim(t, "meanwhile", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(1, 2, true)
		one := w.start(1, 2)
		time.Sleep(time.Second)
		w.know(1)
		time.Sleep(time.Minute)
		one.log.says(t, 0, "no link")
		if n := w.called(1, 2, false); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}

// TestDiallerBackToDirect has a direct link break while there is the one through a third
// peer still, which is used then, but not for ever.
func TestDiallerBackToDirect(t *testing.T) {
	sim(t, "only one can call", func(t *testing.T) {
		w := newMesh(t, 3)
		w.forbid(1, 2, true)
		w.forbid(2, 1, true)
		one := w.start(1, 2, 3)
		two := w.start(2, 1, 3)
		w.start(3, 1, 2)
		w.awaitLink(1, 2, 4*time.Second)
		w.settled(1, 2, 0)
		w.forbid(1, 2, false)
		for one.peer(2).link.Load().relayed {
			time.Sleep(100 * time.Millisecond)
		}
		for _, p := range []*peer{one.peer(2), two.peer(1)} {
			p.link.Load().conn.(*pipeEnd).reset()
		}
		time.Sleep(2 * directMax)
		if one.peer(2).link.Load().relayed {
			t.Error("the link runs through the third one still")
		}
	})
}

// TestDiallerNewPlace tells where a peer is whose link runs through a third one: it is called
// there soon, whatever the link has answered meanwhile.
func TestDiallerNewPlace(t *testing.T) {
	for _, wait := range []time.Duration{doubtTime / 3, 2 * doubtTime} {
		sim(t, wait.String(), func(t *testing.T) {
			w := newMesh(t, 3)
			w.forbid(1, 2, true)
			w.forbid(2, 1, true)
			one := w.start(1, 2, 3)
			w.start(2, 1, 3)
			w.start(3, 1, 2)
			w.awaitLink(1, 2, 4*time.Second)
			w.settled(1, 2, 0)
			w.forbid(1, 2, false)
			w.mu.Lock()
			w.gateway(2).endpoint = meshEndpoint(102)
			w.mu.Unlock()
			w.know(1, 2, 3)
			time.Sleep(wait)
			p := one.peer(2)
			one.mu.Lock()
			p.wake(false)
			one.mu.Unlock()
			time.Sleep(2 * time.Second)
			if one.peer(2).link.Load().relayed {
				t.Error("the link runs through the third one still")
			}
			w.called(1, 2, false)
			time.Sleep(10 * time.Minute)
			if n := w.called(1, 2, false); n > 0 {
				t.Errorf("called %d times though there is a direct link", n)
			}
		})
	}
}

// TestDiallerLateThird has the only third gateway come hours later.
func TestDiallerLateThird(t *testing.T) {
	sim(t, "both behind NAT", func(t *testing.T) {
		for range 10 {
			w := newMesh(t, 3)
			w.forbid(1, 2, true)
			w.forbid(2, 1, true)
			w.start(1, 2, 3)
			w.start(2, 1, 3)
			time.Sleep(time.Hour)
			w.called(1, 2, false)
			time.Sleep(time.Hour)
			if n := w.called(1, 2, false); n > 100 {
				t.Errorf("%d direct calls in an hour", n)
			}
			w.start(3, 1, 2)
			w.awaitLink(1, 2, 10*time.Second)
			for _, e := range w.list {
				e.stop(t)
			}
		}
	})
}
