package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// peer returns what a gateway knows of another one.
func (e *meshEnd) peer(n int) *peer {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hub.peers[fmt.Sprint("gateway", n)]
}

// spare returns the second link with a peer, nil for none.
func (e *meshEnd) spare(n int) *session {
	p := e.peer(n)
	e.mu.Lock()
	defer e.mu.Unlock()
	return p.calls.spare
}

// linkOf starts two gateways, of which only caller can call, and waits until the time for
// second links is over.
func linkOf(t *testing.T, caller int) (w *meshWorld, one, two *meshEnd) {
	t.Helper()
	w = newMesh(t, 2)
	w.forbid(3-caller, caller, true)
	one, two = w.start(1, 2), w.start(2, 1)
	w.awaitLink(1, 2, 50*time.Millisecond)
	w.settled(1, 2, caller)
	w.forbid(3-caller, caller, false)
	return w, one, two
}

// TestMeshNews looks at what the owner of a tunnel is told of its links.
func TestMeshNews(t *testing.T) {
	sim(t, "up and down", func(t *testing.T) {
		w, one, two := linkOf(t, 1)
		w.callAgain(1, 2)
		w.callAgain(2, 1)
		w.settled(1, 2, 1)
		up := one.link(2)
		for n, e := range map[int]*meshEnd{2: one, 1: two} {
			if l := e.link(n).Link; l == nil || !slices.Equal(l.Remote, []netip.Addr{meshInner(n)}) {
				t.Errorf("link with %d is %+v", n, l)
			}
		}
		if len(one.up) != 1 || len(two.up) != 1 || len(one.down)+len(two.down) != 0 || up.Reason != "" || time.Since(up.Since) > 30*time.Second {
			t.Errorf("%d and %d links were told, %d and %d ends: %+v", len(one.up), len(two.up), len(one.down), len(two.down), up)
		}
		began := time.Now()
		w.know(2)
		down := one.link(2)
		if len(one.up) != 1 || len(one.down) != 1 || down.State != "down" || !strings.Contains(down.Reason, "key revoked") || !down.Since.Equal(began) {
			t.Errorf("%d links were told, %d ends: %+v", len(one.up), len(one.down), down)
		}
		one.log.says(t, 1, "link is up")
		one.log.says(t, 1, "link is down")
		if text := one.log.String(); strings.Count(text, " gateway=gateway2 ") < 2 {
			t.Errorf("the log does not say whose links these are:\n%s", text)
		}
		time.Sleep(time.Minute)
		w.know(2, 1)
		w.awaitLink(1, 2, time.Minute)
		if again := one.link(2); len(one.up) != 2 || again.Reason != "" || time.Since(again.Since) > time.Second {
			t.Errorf("%d links were told: %+v", len(one.up), again)
		}
	})
	sim(t, "nobody wants to know", func(t *testing.T) {
		w := newMesh(t, 2)
		one := w.start(1)
		one.config.Up, one.config.Down = nil, nil
		w.start(2, 1)
		w.know(1, 2)
		w.awaitLink(1, 2, time.Second)
		w.know(1)
	})
	sim(t, "outer addresses", func(t *testing.T) {
		w, one, _ := linkOf(t, 1)
		w.callAgain(1, 2)
		w.callAgain(2, 1)
		for _, a := range []int{1, 2} {
			if !one.hub.isOuter(meshEndpoint(a).Addr()) {
				t.Errorf("links do not run from or to %v", meshEndpoint(a).Addr())
			}
		}
		w.settled(1, 2, 0)
		w.know(1)
		if n := one.hub.outer.Load().Size(); n != 0 {
			t.Errorf("%d outer addresses without a link", n)
		}
	})
}

// TestMeshSpare has two links between two gateways.
func TestMeshSpare(t *testing.T) {
	sim(t, "the first one is better", func(t *testing.T) {
		w, one, two := linkOf(t, 1)
		old := one.peer(2).link.Load()
		stop := w.chat(1, 2)
		w.callAgain(2, 1)
		time.Sleep(spareTime - time.Second)
		if one.peer(2).link.Load() != old || one.spare(2) == nil || two.spare(1) == nil {
			t.Errorf("link %p, was %p, spares %p and %p", one.peer(2).link.Load(), old, one.spare(2), two.spare(1))
		}
		time.Sleep(3 * time.Second)
		if one.spare(2) != nil || two.spare(1) != nil {
			t.Error("there are two links still")
		}
		w.settled(1, 2, 1)
		if sent, lost := stop(); lost > 0 {
			t.Errorf("%d of %d packets lost", lost, sent)
		}
	})
	sim(t, "the later one of two calls of the better end", func(t *testing.T) {
		w, one, _ := linkOf(t, 1)
		old := one.peer(2).link.Load()
		w.callAgain(1, 2)
		w.settled(1, 2, 1)
		if one.peer(2).link.Load() == old {
			t.Error("the first one stayed")
		}
	})
	sim(t, "a third one", func(t *testing.T) {
		w, one, two := linkOf(t, 1)
		w.callAgain(1, 2)
		second := two.road.pipe(-1)
		w.callAgain(1, 2)
		time.Sleep(closeTimeout)
		synctest.Wait()
		if here, _ := second.client.isClosed(); !here {
			t.Error("the second one is there still")
		}
		w.settled(1, 2, 1)
		w.know(1)
		if n := one.hub.outer.Load().Size(); n != 0 {
			t.Errorf("%d outer addresses without a link", n)
		}
	})
	sim(t, "the link breaks", func(t *testing.T) {
		w, one, two := linkOf(t, 1)
		spare := one.peer(2).link.Load()
		w.callAgain(1, 2)
		two.road.pipe(-1).reset()
		synctest.Wait()
		if one.peer(2).link.Load() != spare || one.spare(2) != nil || len(one.down)+len(two.down) > 0 {
			t.Error("the other one is not used")
		}
	})
	sim(t, "the link is closed as the worse one", func(t *testing.T) {
		w, one, two := linkOf(t, 1)
		spare := one.peer(2).link.Load()
		w.forbid(2, 1, true)
		two.road.pipe(-1).client.hold(true) // it has not answered yet
		w.callAgain(1, 2)
		two.peer(1).link.Load().end(errDisplaced)
		synctest.Wait()
		if one.peer(2).link.Load() != spare || len(one.down) > 0 {
			t.Error("the other one is not used")
		}
	})
	for name, last := range map[string]int{"the peer leaves, and is heard on the link": 1, "the peer leaves, and is heard on the other one": 0} {
		sim(t, name, func(t *testing.T) {
			w, one, two := linkOf(t, 1)
			w.callAgain(1, 2)
			w.forbid(1, 2, true)
			w.forbid(2, 1, true)
			two.road.pipe(last - 2).client.hold(true) // what it says there is lost
			for _, s := range []*session{two.peer(1).link.Load(), two.spare(1)} {
				s.end(errShutdown)
			}
			synctest.Wait()
			if p := one.peer(2); p.link.Load() != nil || one.spare(2) != nil || len(one.down) != 1 || !strings.Contains(p.reason, "shutdown") {
				t.Errorf("link %p, spare %p, %d ends were told, %s", p.link.Load(), one.spare(2), len(one.down), p.reason)
			}
			time.Sleep(closeTimeout)
			synctest.Wait()
			if n := one.hub.outer.Load().Size(); n != 0 {
				t.Errorf("%d outer addresses without a link", n)
			}
		})
	}
	sim(t, "both are dead", func(t *testing.T) {
		w, one, two := linkOf(t, 1)
		old := two.road.pipe(-1)
		old.client.hold(true)
		w.callAgain(1, 2)
		w.called(1, 2, false)
		w.forbid(1, 2, true)
		w.forbid(2, 1, true)
		two.road.pipe(-1).reset()
		time.Sleep(time.Second)
		if w.called(1, 2, false) == 0 {
			t.Error("it is not called again at once")
		}
		time.Sleep(3 * time.Minute)
		if p := one.peer(2); p.link.Load() != nil || one.spare(2) != nil || len(one.down) != 1 {
			t.Errorf("link %p, spare %p, %d ends were told", p.link.Load(), one.spare(2), len(one.down))
		}
		if closed, _ := old.client.isClosed(); !closed {
			t.Error("the other one is open still")
		}
		if n := one.hub.outer.Load().Size(); n != 0 {
			t.Errorf("%d outer addresses without a link", n)
		}
	})
}

// TestMeshTrust sees when a link is asked, and when another one is called for.
func TestMeshTrust(t *testing.T) {
	sim(t, "the same table again", func(t *testing.T) {
		w, one, two := linkOf(t, 1)
		two.road.pipe(-1).cut()
		w.called(1, 2, false)
		diallers := one.peer(2).calls.diallers
		w.know(1, 2)
		time.Sleep(3 * time.Second)
		if n := w.called(1, 2, false); n > 0 || one.peer(2).calls.diallers != diallers {
			t.Errorf("%d calls, diallers %p, were %p", n, one.peer(2).calls.diallers, diallers)
		}
	})
	sim(t, "an answer in time", func(t *testing.T) {
		w, one, two := linkOf(t, 1)
		w.forbid(2, 1, true)
		w.called(1, 2, false)
		two.road.pipe(-1).client.hold(true)
		one.Redial()
		time.Sleep(doubtTime - time.Millisecond)
		two.road.pipe(-1).client.hold(false)
		time.Sleep(time.Minute)
		if n := w.called(1, 2, false); n > 0 {
			t.Errorf("%d calls", n)
		}
	})
	sim(t, "no answer for a minute", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(2, 1, true)
		one, two := w.start(1), w.start(2, 1)
		dial, refused := one.hub.config.Mesh.Dial, atomic.Int64{}
		refuse := atomic.Bool{}
		one.hub.config.Mesh.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if refuse.Load() {
				refused.Add(1)
				return nil, errTest
			}
			return dial(ctx, to)
		}
		w.know(1, 2)
		w.awaitLink(1, 2, time.Second)
		time.Sleep(time.Second)
		two.road.pipe(-1).cut()
		refuse.Store(true)
		one.Redial()
		time.Sleep(time.Minute)
		if n := refused.Load(); n < 40 || n > 65 { // some at once, and then one in 1.4 s
			t.Errorf("%d calls in a minute", n)
		}
	})
	sim(t, "before it runs", func(t *testing.T) {
		w := newMesh(t, 2)
		c := testConfig(t)
		c.Keys, c.Door, c.Listener, c.Hub, c.Device = nil, w.gateway(1).door, newRoad(), &Hub{Mesh: &Mesh{}}, newFakeDevice()
		tunnel, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		w.gateway(1).end = &end{Tunnel: tunnel}
		w.know(1, 2)
		tunnel.Redial()
	})
	sim(t, "when it has ended", func(t *testing.T) {
		w := newMesh(t, 2)
		one := w.start(1)
		one.stop(t)
		w.know(1, 2)
		if one.peer(2).calls.stop != nil {
			t.Error("it calls")
		}
	})
	sim(t, "the third one's link is gone", func(t *testing.T) {
		w := newMesh(t, 5)
		w.forbid(1, 2, true)
		w.forbid(2, 1, true)
		one := w.start(1, 2, 3, 4, 5)
		w.start(2, 1, 3, 4)
		w.start(3, 1, 2)
		w.start(4, 1, 2)
		w.awaitLink(1, 2, 10*time.Second)
		w.awaitLink(1, 3, time.Second)
		w.awaitLink(1, 4, time.Second)
		w.settled(1, 2, 0)
		for _, test := range []struct {
			via    int // of the link with 2
			doubts bool
		}{{4, false}, {3, true}} {
			for n, via := range map[int]int{2: test.via, 4: 3, 5: 3} {
				one.peer(n).via.Store(one.peer(via))
			}
			time.Sleep(time.Second)
			now := one.clock()
			one.mu.Lock()
			one.orphan(one.hub.peers["gateway3"])
			one.mu.Unlock()
			for n := 2; n <= 5; n++ {
				if got := one.peer(n).doubt.Load() == now; got != (n == 2 && test.doubts) {
					t.Errorf("through %d: the link with %d is in doubt: %v", test.via, n, got)
				}
			}
		}
		one.peer(2).via.Store(one.peer(3))
		time.Sleep(time.Second)
		now := one.clock()
		one.peer(3).link.Load().end(errTest)
		if one.peer(2).doubt.Load() != now {
			t.Error("nobody looks at the link that ran through it")
		}
	})
}

// TestClosedFor tells a link that the peer closed as the worse one from others.
func TestClosedFor(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&closeError{reason: closeDisplaced, peer: true}, true},
		{fmt.Errorf("wrapped: %w", &closeError{reason: closeDisplaced, peer: true}), true},
		{&closeError{reason: closeShutdown, peer: true}, false},
		{errDisplaced, false},
		{errors.New("other"), false},
		{io.EOF, false},
	} {
		if got := closedFor(test.err, closeDisplaced); got != test.want {
			t.Errorf("%v: %v", test.err, got)
		}
	}
}
