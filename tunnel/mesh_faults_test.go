package tunnel

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestMeshListenerFails closes the listener of a gateway that has called.
func TestMeshListenerFails(t *testing.T) {
	sim(t, "with a link", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(2, 1, true)
		one, two := w.start(1, 2), w.start(2, 1)
		w.awaitLink(1, 2, 2*time.Second)
		one.road.Close()
		began := time.Now()
		if err := one.ended(t); !errors.Is(err, net.ErrClosed) {
			t.Errorf("run ended with %v", err)
		}
		if took := time.Since(began); took > closeTimeout {
			t.Errorf("took %v", took)
		}
		if err := await(t, two.down, "end of the link"); err == nil || err.Error() != "peer closed the link: shutdown" {
			t.Errorf("the other end is told %v", err)
		}
	})
}

// TestMeshCopiedKey has one gateway on two machines.
func TestMeshCopiedKey(t *testing.T) {
	const told = "two clients seem to have the same key"
	sim(t, "both call", func(t *testing.T) {
		w := newMesh(t, 3)
		w.forbid(1, 2, true)
		w.forbid(1, 3, true)
		w.gateway(3).own = w.gateway(2).own
		w.gateway(3).door = NewMeshDoor(rand.Reader, w.gateway(2).own)
		one := w.start(1, 2)
		w.start(2, 1)
		w.start(3, 1)
		time.Sleep(time.Minute)
		if !strings.Contains(one.log.String(), told) {
			t.Error("nobody is told")
		}
	})
	for _, test := range []struct {
		name   string
		second func(w *meshWorld) // has 2 be linked in another way than that of its calls
	}{
		{name: "a gateway that is called elsewhere", second: func(w *meshWorld) { w.callAgain(1, 2) }},
		{name: "a gateway that calls through another one, too", second: func(w *meshWorld) { w.callThrough(2, 1) }},
	} {
		sim(t, test.name, func(t *testing.T) {
			w := newMesh(t, 3)
			one := w.start(1, 2, 3)
			w.start(2, 1, 3)
			w.start(3, 1, 2)
			w.awaitLink(1, 2, time.Second)
			w.gateway(2).source = netip.MustParseAddr("203.0.113.2")
			for range 8 {
				w.callAgain(2, 1)
				test.second(w)
			}
			one.log.says(t, 0, told)
		})
	}
	sim(t, "one that moves", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(1, 2, true)
		one, two := w.start(1, 2), w.start(2, 1)
		w.awaitLink(2, 1, 2*time.Second)
		for i := range 5 {
			time.Sleep(time.Minute)
			w.mu.Lock()
			two.endpoint = meshEndpoint(100 + i)
			w.mu.Unlock()
			one.road.pipe(-1).cut()
			two.Redial()
		}
		time.Sleep(time.Minute)
		if n := strings.Count(one.log.String(), told); n > 0 {
			t.Errorf("told %d times", n)
		}
	})
}

// TestSetMeshRefuses has two peers that want the same.
func TestSetMeshRefuses(t *testing.T) {
	sim(t, "overlap", func(t *testing.T) {
		w := newMesh(t, 3)
		one := w.start(1)
		list := []HubPeer{{Name: "a", Addrs: []netip.Addr{meshInner(2)}}, {Name: "b", Addrs: []netip.Addr{meshInner(2)}}}
		if err := one.SetMesh(meshInner(1), list); err == nil || len(one.hub.peers) > 0 {
			t.Errorf("error %v, %d peers", err, len(one.hub.peers))
		}
	})
}

// TestMeshOneInterface has a gateway behind the router of its network: its links run from
// its inner address, and the others reach it there.
func TestMeshOneInterface(t *testing.T) {
	sim(t, "both ways", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(2, 1, true)
		one := w.start(1)
		one.hub.config.Mesh.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			conn, err := w.connect(ctx, one, to)
			if err == nil {
				conn.(*pipeEnd).local = net.TCPAddrFromAddrPort(netip.AddrPortFrom(meshInner(1), 40000))
			}
			return conn, err
		}
		two := w.start(2, 1)
		w.know(1, 2)
		w.awaitLink(1, 2, 5*time.Second)
		w.awaitLink(2, 1, 5*time.Second)
		there, back := between(meshInner(2), meshInner(1)), between(meshInner(1), meshInner(2))
		two.device.in <- there
		arrives(t, one.end, there)
		one.device.in <- back
		arrives(t, two.end, back)
	})
}
