package tunnel

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// onTheWay has somebody look after each connection from one gateway to another.
func (w *meshWorld) onTheWay(from, to int, look func(p *pipe)) {
	m := w.gateway(from).hub.config.Mesh
	dial := m.Dial
	m.Dial = func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		conn, err := dial(ctx, addr)
		if err == nil && addr == meshEndpoint(to) {
			look(conn.(*pipeEnd).pipe)
		}
		return conn, err
	}
}

// confirmSize is what a CONFIRM takes of a stream.
const confirmSize = frame.HeaderSize + 1 + crypto.TagSize

// passFlights lets both flights of a connection pass, then CONFIRM or not, and nothing else.
func (p *pipe) passFlights(confirm bool) {
	p.client.hold(true)
	go func() {
		for n := 0; p.server.written() < crypto.F2Size; n++ {
			if n == 100 {
				return
			}
			time.Sleep(time.Millisecond)
		}
		p.server.hold(true)
		p.client.hold(false)
		if !confirm {
			return
		}
		time.Sleep(time.Millisecond)
		p.do(func() { p.server.data = p.server.data[:confirmSize] })
		p.client.hold(true)
		p.server.hold(false)
		time.Sleep(time.Millisecond)
		p.server.hold(true)
	}()
}

// relayed links two gateways through a third one, and then opens the direct way, on which
// somebody looks after each connection.
func relayed(t *testing.T, look func(p *pipe)) *meshWorld {
	w := newMesh(t, 3)
	w.forbid(1, 2, true)
	w.forbid(2, 1, true)
	w.start(1, 2, 3)
	w.start(2, 1, 3)
	w.start(3, 1, 2)
	w.awaitLink(1, 2, 10*time.Second)
	w.awaitLink(2, 1, time.Second)
	w.settled(1, 2, 0)
	w.onTheWay(1, 2, look)
	w.forbid(1, 2, false)
	return w
}

// TestMeshWay has somebody without a key on the direct way between two gateways: their
// link through a third one is not touched.
func TestMeshWay(t *testing.T) {
	unharmed := func(t *testing.T, w *meshWorld, calls *atomic.Int32, during func()) {
		one, two := w.gateway(1), w.gateway(2)
		link1, link2 := one.peer(2).link.Load(), two.peer(1).link.Load()
		if !link1.relayed || !link2.relayed {
			t.Fatal("the link is a direct one")
		}
		downs := len(one.down) + len(two.down)
		during()
		w.forbid(1, 2, true)
		time.Sleep(time.Second)
		if link1.ctx.Err() != nil || link2.ctx.Err() != nil || len(one.down)+len(two.down) != downs || calls.Load() < 2 {
			t.Errorf("after %d direct calls: %v, %v, %d ends were told", calls.Load(), context.Cause(link1.ctx), context.Cause(link2.ctx), len(one.down)+len(two.down)-downs)
		}
	}
	for _, confirm := range []bool{false, true} {
		sim(t, fmt.Sprint("silence after the flights, CONFIRM passes: ", confirm), func(t *testing.T) {
			var calls atomic.Int32
			w := relayed(t, func(p *pipe) {
				calls.Add(1)
				p.passFlights(confirm)
			})
			unharmed(t, w, &calls, func() {
				stop := w.chat(1, 2)
				time.Sleep(4 * time.Minute)
				if sent, lost := stop(); lost > 0 {
					t.Errorf("%d of %d packets lost", lost, sent)
				}
			})
		})
	}
	sim(t, "reset after the handshake", func(t *testing.T) {
		var calls atomic.Int32
		w := relayed(t, func(p *pipe) {
			calls.Add(1)
			go func() {
				for n := 0; n < 100 && (p.server.written() < crypto.F2Size || p.client.written() < crypto.F1Size+confirmSize); n++ {
					time.Sleep(time.Millisecond)
				}
				p.reset()
			}()
		})
		done := make(chan struct{})
		for _, e := range []*session{w.gateway(1).peer(2).link.Load(), w.gateway(2).peer(1).link.Load()} {
			go e.conn.(*pipeEnd).late(20*time.Millisecond, done)
		}
		unharmed(t, w, &calls, func() { time.Sleep(2 * time.Minute) })
		close(done)
		synctest.Wait()
	})
	for _, test := range []struct {
		name           string
		doubted, reset bool
	}{
		{"", false, false},
		{", the link is doubted", true, false},
		{", one of them is reset", false, true},
	} {
		sim(t, "silence after the flights of both at once"+test.name, func(t *testing.T) {
			var calls atomic.Int32
			var latest *pipe
			w := relayed(t, func(p *pipe) {
				calls.Add(1)
				p.passFlights(false)
			})
			w.onTheWay(2, 1, func(p *pipe) {
				calls.Add(1)
				latest = p
				p.passFlights(true)
			})
			w.forbid(2, 1, false)
			links := []*session{w.gateway(1).peer(2).link.Load(), w.gateway(2).peer(1).link.Load()}
			hold := func(held bool) {
				for _, s := range links {
					s.conn.(*pipeEnd).hold(held)
				}
				synctest.Wait()
			}
			unharmed(t, w, &calls, func() {
				stop := w.chat(1, 2)
				hold(true) // an answer takes a while
				if test.doubted {
					w.gateway(1).Redial()
					time.Sleep(doubtTime)
				}
				if test.reset {
					w.callAgain(2, 1)
					time.Sleep(20 * time.Millisecond)
					latest.reset()
					synctest.Wait()
				}
				w.callAgain(1, 2)
				hold(!test.doubted)
				w.callAgain(2, 1)
				time.Sleep(20 * time.Millisecond)
				w.forbid(2, 1, true)
				hold(false)
				time.Sleep(10 * time.Second)
				if sent, lost := stop(); lost > 0 && !test.doubted {
					t.Errorf("%d of %d packets lost", lost, sent)
				}
			})
		})
	}
}

// late holds back what an end reads, for some time over and over, until done is closed.
func (e *pipeEnd) late(by time.Duration, done <-chan struct{}) {
	for {
		e.hold(true)
		time.Sleep(by)
		e.hold(false)
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// TestMeshHeldConfirm holds back the CONFIRM of one gateway's call until there is a link
// that the other one has called for.
func TestMeshHeldConfirm(t *testing.T) {
	sim(t, "a moment", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(2, 1, true)
		one, two := w.start(1), w.start(2, 1)
		var held *pipe
		w.onTheWay(1, 2, func(p *pipe) {
			if held == nil {
				held = p
				p.passFlights(false)
			}
		})
		w.know(1, 2)
		w.awaitLink(1, 2, time.Second)
		w.forbid(1, 2, true)
		w.forbid(2, 1, false)
		w.callAgain(2, 1)
		live := two.peer(1).link.Load()
		w.forbid(2, 1, true)
		time.Sleep(4 * time.Second)
		downs := len(one.down) + len(two.down)
		held.client.hold(true)
		held.do(func() {
			held.server.data = held.server.data[:confirmSize]
			held.server.held = false
		})
		synctest.Wait()
		held.cut()
		stop := w.chat(1, 2)
		time.Sleep(8 * time.Second)
		if sent, lost := stop(); lost > 0 || live.ctx.Err() != nil || len(one.down)+len(two.down) != downs {
			t.Errorf("%d of %d packets lost, %v, %d ends were told", lost, sent, context.Cause(live.ctx), len(one.down)+len(two.down)-downs)
		}
	})
}
