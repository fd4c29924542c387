package tunnel

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// ties has a gateway that does not run, and links of it with a peer on which nothing is
// sent or taken.
type ties struct {
	*Tunnel
	p     *peer
	log   *book
	calls uint64
}

func newTies(t *testing.T) *ties {
	t.Helper()
	w := newMesh(t, 2)
	c := testConfig(t)
	c.Keys, c.Door, c.Listener, c.Hub, c.Device = nil, w.gateway(1).door, newRoad(), &Hub{Mesh: &Mesh{}}, newFakeDevice()
	log := &book{}
	c.Log = slog.New(slog.NewTextHandler(log, nil))
	tunnel, err := New(c)
	must(t, err)
	w.gateway(1).end = &end{Tunnel: tunnel}
	w.know(1, 2)
	time.Sleep(time.Minute)
	return &ties{Tunnel: tunnel, p: tunnel.hub.peers["gateway2"], log: log}
}

// link returns a link that runs from a place. It is not joined yet.
func (x *ties) link(from netip.Addr, change func(*session)) *session {
	x.calls++
	s := &session{t: x.Tunnel, owner: x.p, call: x.calls, count: x.p.count, log: x.config.Log, control: make(chan message, 8)}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	s.conn = newPipe(net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 2002)), net.TCPAddrFromAddrPort(meshEndpoint(1))).server
	if change != nil {
		change(s)
	}
	return s
}

// answered has a link answer now.
func (x *ties) answered(s *session) *session {
	s.proved.Store(true)
	s.ponged.Store(x.clock())
	return s
}

// asked returns how many PINGs were posted.
func asked(s *session) (n int) {
	for len(s.control) > 0 {
		if m := <-s.control; m.kind == framePing {
			n++
		}
	}
	return n
}

// TestMeshJoin sees which of two links is used when there is a second one.
func TestMeshJoin(t *testing.T) {
	there := meshEndpoint(2).Addr()
	for _, test := range []struct {
		name string
		old  func(x *ties, old *session)
		used bool // the new one
	}{
		{"the old one has answered", func(x *ties, old *session) { x.answered(old) }, false},
		{"it never has", func(x *ties, old *session) { old.ponged.Store(x.clock()) }, true},
		{"it is mistrusted since a moment", func(x *ties, old *session) {
			x.answered(old)
			time.Sleep(1)
			x.mistrust(x.p)
			time.Sleep(doubtTime - 1)
		}, false},
		{"it did not answer in time since it is mistrusted", func(x *ties, old *session) {
			x.answered(old)
			time.Sleep(1)
			x.mistrust(x.p)
			time.Sleep(doubtTime)
		}, true},
	} {
		sim(t, test.name, func(t *testing.T) {
			x := newTies(t)
			x.p.calls.stop = func() {}
			x.p.calls.diallers = [2]*dialler{newDialler(x.Tunnel, x.p, false), newDialler(x.Tunnel, x.p, true)}
			old := x.link(there, nil)
			x.join(old)
			if x.p.link.Load() != old || asked(old) != 1 {
				t.Error("the first link is not used, or not asked")
			}
			for _, d := range x.p.calls.diallers {
				if len(d.woken) != 1 {
					t.Error("who calls is not told")
				}
			}
			test.old(x, old)
			asked(old)
			s := x.link(there, func(s *session) { s.client = true })
			x.join(s)
			link, spare := x.p.link.Load(), x.p.calls.spare
			if (link == s) != test.used || (spare == old) != test.used || link == spare || asked(s) != 1 || asked(old) != 1 {
				t.Errorf("the new one is used: %v", link == s)
			}
		})
	}
}

// TestMeshThird sees which of two links goes when there is a third one.
func TestMeshThird(t *testing.T) {
	for _, test := range []struct {
		name  string
		first bool    // it had answered when the second came
		then  [2]bool // who answered after that
		gone  int
	}{
		{"both have answered", true, [2]bool{true, true}, 1},
		{"the first has", true, [2]bool{}, 1},
		{"the first has before", true, [2]bool{false, true}, 1},
		{"the second has", false, [2]bool{false, true}, 0},
		{"the first has, later", false, [2]bool{true, false}, 1},
		{"none has", false, [2]bool{}, 0},
	} {
		sim(t, test.name, func(t *testing.T) {
			x := newTies(t)
			var links [3]*session
			for i := range links {
				from := meshEndpoint(2 + i).Addr()
				links[i] = x.link(from, func(s *session) { s.client = true })
			}
			x.join(links[0])
			links[0].ponged.Store(x.clock())
			if test.first {
				x.answered(links[0])
			}
			time.Sleep(1)
			x.join(links[1])
			time.Sleep(1)
			for i, answered := range test.then {
				if answered {
					x.answered(links[i])
				}
			}
			doubt := x.p.doubt.Load()
			x.join(links[2])
			stays := links[1-test.gone]
			if link, spare := x.p.link.Load(), x.p.calls.spare; link != stays && spare != stays || link != links[2] && spare != links[2] || x.p.doubt.Load() != doubt {
				t.Error("not the one that answers stays")
			}
			if used := x.p.link.Load() == stays; used != stays.proved.Load() {
				t.Errorf("it is used: %v", used)
			}
			for i, s := range links {
				if ended := context.Cause(s.ctx) == errDisplaced; ended != (i == test.gone) || x.hub.isOuter(meshEndpoint(2+i).Addr()) == ended {
					t.Errorf("link %d has ended: %v", i, ended)
				}
			}
		})
	}
}

// TestMeshCrossed has both ends call while neither trusts the link, so that each gets its
// own call first: both end the same one of these.
func TestMeshCrossed(t *testing.T) {
	for _, relayed := range []bool{false, true} {
		for end, ours := range []bool{true, false} {
			sim(t, fmt.Sprintf("through others %v, ours %v", relayed, ours), func(t *testing.T) {
				x := newTies(t)
				x.p.calls.ours = ours
				old := x.answered(x.link(meshEndpoint(2).Addr(), nil))
				x.join(old)
				time.Sleep(1)
				x.mistrust(x.p)
				time.Sleep(doubtTime)
				var calls [2]*session // of the end whose calls stay, and of the other one
				for _, who := range []int{end, 1 - end} {
					calls[who] = x.link(meshEndpoint(2).Addr(), func(s *session) { s.client, s.relayed = who == end, relayed })
					x.join(calls[who])
				}
				if calls[0].ctx.Err() != nil || context.Cause(calls[1].ctx) != errDisplaced {
					t.Errorf("%v, %v", context.Cause(calls[0].ctx), context.Cause(calls[1].ctx))
				}
				if link, spare := x.p.link.Load(), x.p.calls.spare; link != calls[0] || spare != old {
					t.Error("the one that stays is not used")
				}
			})
		}
	}
}

// TestMeshLater has a call of the peer come after one of this end, which would stay if both
// had called at once, and does not.
func TestMeshLater(t *testing.T) {
	for name, test := range map[string]struct{ answered, relayed bool }{
		"this end's has answered, so they are not of one time":                {true, false},
		"the peer's runs through another, and nobody knows of the direct one": {false, true},
	} {
		sim(t, name, func(t *testing.T) {
			x := newTies(t)
			x.p.calls.ours = true
			x.join(x.answered(x.link(meshEndpoint(2).Addr(), nil)))
			own := x.link(meshEndpoint(2).Addr(), func(s *session) { s.client = true })
			x.join(own)
			if test.answered {
				x.answered(own)
			}
			s := x.link(meshEndpoint(2).Addr(), func(s *session) { s.relayed = test.relayed })
			if x.join(s); s.ctx.Err() != nil || context.Cause(own.ctx) != errDisplaced {
				t.Errorf("%v, %v", context.Cause(s.ctx), context.Cause(own.ctx))
			}
		})
	}
}

// TestMeshHeld has a call arrive that was made before others: somebody held its CONFIRM
// back.
func TestMeshHeld(t *testing.T) {
	for _, test := range []struct {
		name   string
		calls  [2]uint64 // of the links; 0: this end has called for it
		call   uint64
		client bool
		joins  bool
	}{
		{"before the link in use", [2]uint64{3, 1}, 2, false, false},
		{"before the other link", [2]uint64{1, 3}, 2, false, false},
		{"before the other link, and this end called for the one in use", [2]uint64{0, 3}, 2, false, false},
		{"after both", [2]uint64{1, 2}, 3, false, true},
		{"after none, this end has called", [2]uint64{1, 2}, 0, true, true},
	} {
		sim(t, test.name, func(t *testing.T) {
			x := newTies(t)
			link := func(call uint64, client bool) *session {
				s := x.link(meshEndpoint(2).Addr(), func(s *session) { s.call, s.client = call, client })
				x.answered(s)
				return s
			}
			var links [2]*session
			for i, call := range test.calls {
				links[i] = link(call, call == 0)
			}
			x.join(links[0])
			x.p.calls.spare, x.p.calls.later = links[1], links[1]
			s := link(test.call, test.client)
			x.join(s)
			if joined := context.Cause(s.ctx) == nil; joined != test.joins {
				t.Errorf("it is a link: %v", joined)
			}
			if gone := context.Cause(links[1].ctx) == errDisplaced; gone != test.joins || links[0].ctx.Err() != nil {
				t.Errorf("the other link is displaced: %v", gone)
			}
		})
	}
}

// TestMeshSettle sees which of two links is used when they have answered.
func TestMeshSettle(t *testing.T) {
	type kind struct{ relayed, client bool }
	for _, test := range []struct {
		name          string
		first, second kind
		ours          bool // what this end has called for stays
		answered      [2]bool
		used          [2]int // if the first is used before, and if the second is
	}{
		{"this end called twice", kind{client: true}, kind{client: true}, true, [2]bool{true, true}, [2]int{2, 2}},
		{"and has no answer on the second", kind{client: true}, kind{client: true}, true, [2]bool{true, false}, [2]int{1, 1}},
		{"nor on the first", kind{client: true}, kind{client: true}, true, [2]bool{false, false}, [2]int{1, 2}},
		{"the peer called twice", kind{}, kind{}, true, [2]bool{true, true}, [2]int{2, 2}},
		{"both called, ours stays", kind{client: true}, kind{}, true, [2]bool{true, true}, [2]int{1, 1}},
		{"but does not answer", kind{client: true}, kind{}, true, [2]bool{false, true}, [2]int{2, 2}},
		{"both called, theirs stays", kind{client: true}, kind{}, false, [2]bool{true, true}, [2]int{2, 2}},
		{"the peer called first, ours stays", kind{}, kind{client: true}, true, [2]bool{true, true}, [2]int{2, 2}},
		{"the first is direct", kind{}, kind{relayed: true}, true, [2]bool{true, true}, [2]int{1, 1}},
		{"the second is direct", kind{relayed: true, client: true}, kind{}, true, [2]bool{true, true}, [2]int{2, 2}},
	} {
		for before := 1; before <= 2; before++ {
			sim(t, fmt.Sprintf("%s, the one used is %d", test.name, before), func(t *testing.T) {
				x := newTies(t)
				x.p.calls.ours = test.ours
				var links [2]*session
				for i, k := range []kind{test.first, test.second} {
					links[i] = x.link(meshEndpoint(2).Addr(), func(s *session) { s.relayed, s.client = k.relayed, k.client })
					x.join(links[i])
				}
				if x.p.link.Load() != links[before-1] {
					x.p.swap()
				}
				time.Sleep(1)
				for i, answered := range test.answered {
					if answered {
						x.answered(links[i])
					}
				}
				for range 2 {
					x.settleTie(x.p)
					if want := test.used[before-1]; x.p.link.Load() != links[want-1] || x.p.calls.spare != links[2-want] {
						t.Errorf("the one that is used is not %d", want)
					}
				}
				if links[0].ctx.Err() != nil || links[1].ctx.Err() != nil {
					t.Error("one is closed at once")
				}
				time.Sleep(spareTime)
				spare := x.p.calls.spare
				x.settleTie(x.p)
				if context.Cause(spare.ctx) != errDisplaced || x.p.link.Load().ctx.Err() != nil {
					t.Error("the other one is not closed after a while")
				}
			})
		}
	}
}

// TestMeshSilent has one of two links die after both have answered: the peer has moved,
// and has gone on with the other one.
func TestMeshSilent(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers [2]bool // the question that comes when both have answered
		late    bool    // the link that is used answers at the last moment
		used    int     // then
	}{
		{"both live", [2]bool{true, true}, false, 0},
		{"the one used is dead", [2]bool{false, true}, false, 1},
		{"the one used is slow", [2]bool{false, true}, true, 0},
		{"the other one is dead", [2]bool{true, false}, false, 0},
		{"both are", [2]bool{false, false}, false, 0},
	} {
		for _, over := range []bool{false, true} { // the time of a second link is, meanwhile
			sim(t, fmt.Sprintf("%s, over %v", test.name, over), func(t *testing.T) {
				x := newTies(t)
				var links [2]*session
				for i := range links {
					links[i] = x.link(meshEndpoint(2).Addr(), func(s *session) { s.relayed = i > 0 })
					x.join(links[i])
				}
				if over {
					time.Sleep(spareTime - time.Millisecond)
				}
				for _, s := range links {
					x.answered(s)
					asked(s)
				}
				time.Sleep(1)
				question := x.clock()
				look := func(after time.Duration, used int, closed bool) {
					t.Helper()
					time.Sleep(after - time.Duration(x.clock()-question))
					x.settleTie(x.p)
					if x.p.link.Load() != links[used] || links[used].ctx.Err() != nil {
						t.Errorf("after %v the one that is used is not %d", after, used)
					}
					if other := links[1-used]; (context.Cause(other.ctx) == errDisplaced) != closed {
						t.Errorf("after %v the other one is closed: %v", after, !closed)
					}
				}
				look(0, 0, false)
				if asked(links[0]) != 1 || asked(links[1]) != 1 {
					t.Error("they are not asked again")
				}
				answer := func(i int) { links[i].ponged.Store(question) }
				for i, answers := range test.answers {
					if links[i].ponged.Store(question - 1); answers {
						answer(i)
					}
				}
				look(time.Second, 0, over && test.answers[0])
				look(silentTime-1, 0, over && test.answers[0])
				if test.late {
					answer(0)
				}
				look(silentTime, test.used, over)
				if test.used == 1 && !over {
					look(silentTime+1, 1, false)
					answer(0)
					look(silentTime+2, 0, false)
				}
				time.Sleep(spareTime)
				x.settleTie(x.p)
				if (links[0].ctx.Err() == nil) == (links[1].ctx.Err() == nil) {
					t.Error("two links stay, or none")
				}
			})
		}
	}
}

// TestMeshLongWay has the link that is used not answer, over a way that takes long.
func TestMeshLongWay(t *testing.T) {
	for _, test := range []struct{ rtt, limit time.Duration }{
		{time.Second / 2, silentTime},
		{time.Second, 2 * time.Second},
		{2 * time.Second, 4 * time.Second},
		{time.Hour, spareTime}, // the peer lies
	} {
		sim(t, test.rtt.String(), func(t *testing.T) {
			x := newTies(t)
			var links [2]*session
			for i := range links {
				links[i] = x.answered(x.link(meshEndpoint(2).Addr(), func(s *session) { s.relayed = i > 0 }))
				x.join(links[i])
			}
			links[0].rtt.Store(int64(test.rtt))
			time.Sleep(1)
			x.settleTie(x.p) // asks
			time.Sleep(test.limit - 1)
			x.answered(links[1])
			if x.settleTie(x.p); x.p.link.Load() != links[0] {
				t.Error("it is given up too soon")
			}
			time.Sleep(1)
			if x.settleTie(x.p); x.p.link.Load() != links[1] {
				t.Error("it is not given up")
			}
		})
	}
}

// TestMeshOneAnswer has somebody on the direct way let through one answer, as late as can
// be: the link through another peer is not closed for that.
func TestMeshOneAnswer(t *testing.T) {
	sim(t, "then silence", func(t *testing.T) {
		x := newTies(t)
		through := x.answered(x.link(meshInner(2), func(s *session) { s.relayed = true }))
		direct := x.link(meshEndpoint(2).Addr(), nil)
		x.join(through)
		x.join(direct)
		x.answered(through)
		for time.Duration(x.clock()-x.p.calls.tied) < spareTime {
			x.settleTie(x.p)
			time.Sleep(time.Second)
		}
		x.answered(direct)
		asked(direct)
		time.Sleep(1)
		if x.settleTie(x.p); x.p.link.Load() != direct || asked(direct) != 1 {
			t.Error("it is not used, or not asked again")
		}
		for end := x.clock() + int64(spareTime); x.clock() < end; time.Sleep(time.Second) {
			x.answered(through)
			x.settleTie(x.p)
		}
		if through.ctx.Err() != nil || x.p.link.Load() != through || context.Cause(direct.ctx) != errDisplaced {
			t.Errorf("%v, %v", context.Cause(through.ctx), context.Cause(direct.ctx))
		}
	})
}

// TestMeshMoved has this end get another address while it has two links with a peer.
func TestMeshMoved(t *testing.T) {
	sim(t, "two links", func(t *testing.T) {
		x := newTies(t)
		var links [2]*session
		for i := range links {
			links[i] = x.answered(x.link(meshEndpoint(2).Addr(), func(s *session) { s.relayed = i > 0 }))
			x.join(links[i])
		}
		asked(links[0])
		time.Sleep(1)
		x.mistrustAll()
		if links[0].ctx.Err() != nil || x.p.trusts(links[0]) || asked(links[0]) != 1 {
			t.Error("the one that is used is not asked")
		}
		if context.Cause(links[1].ctx) != errGivenUp {
			t.Error("the other one stays")
		}
	})
	sim(t, "its ports are free at once", func(t *testing.T) {
		w, one, _ := linkOf(t, 1)
		w.callAgain(1, 2)
		spare := one.spare(2)
		way := spare.conn.(*pipeEnd).pipe
		way.client.hold(true) // no answer comes
		way.server.hold(true)
		one.Redial()
		synctest.Wait()
		if _, err := spare.conn.Write([]byte{0}); err == nil {
			t.Error("the connection is there still")
		}
	})
}

// TestMeshAstray sees when it is told that the peer may be elsewhere.
func TestMeshAstray(t *testing.T) {
	direct, relayed := func(s *session) {}, func(s *session) { s.relayed = true }
	for _, test := range []struct {
		name  string
		links []func(*session)
		then  func(x *ties)
		told  int
	}{
		{"a direct link", []func(*session){direct}, func(x *ties) {}, 0},
		{"one through a third peer", []func(*session){relayed}, func(x *ties) {}, 0},
		{"through a third peer instead", []func(*session){direct, relayed}, func(x *ties) { x.p.swap() }, 1},
		{"directly on another way", []func(*session){direct, direct}, func(x *ties) { x.p.swap() }, 0},
		{"directly instead", []func(*session){relayed, direct}, func(x *ties) { x.p.swap() }, 0},
		{"through another one", []func(*session){relayed, relayed}, func(x *ties) { x.p.swap() }, 0},
		{"the direct one ends", []func(*session){direct, relayed}, func(x *ties) { x.part(x.p.link.Load(), errLine) }, 1},
		{"the peer is lost", []func(*session){direct}, func(x *ties) { x.part(x.p.link.Load(), errLine) }, 1},
		{"the peer is lost, and is back through a third one", []func(*session){direct}, func(x *ties) {
			x.part(x.p.link.Load(), errLine)
			x.join(x.link(meshInner(2), relayed))
		}, 2},
		{"it is no peer any more", []func(*session){direct}, func(x *ties) { x.remove(x.p) }, 0},
	} {
		sim(t, test.name, func(t *testing.T) {
			x := newTies(t)
			told := 0
			x.config.Hub.Mesh.Astray = func() { told++ }
			for _, change := range test.links {
				x.join(x.answered(x.link(meshEndpoint(2).Addr(), change)))
			}
			test.then(x)
			if told != test.told {
				t.Errorf("told %d times, want %d", told, test.told)
			}
			x.config.Hub.Mesh.Astray = nil
			x.astray() // nobody wants to know
		})
	}
}

// TestMeshTwins has a peer call from two places in turn: it is reported, unless these are
// the ends of links through others, or this end has called.
func TestMeshTwins(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*session)
		told   int
	}{
		{"it calls", nil, 1},
		{"through another", func(s *session) { s.relayed = true }, 0},
		{"it is called", func(s *session) { s.client = true }, 0},
	} {
		sim(t, test.name, func(t *testing.T) {
			x := newTies(t)
			for n := range 10 {
				x.join(x.link(meshEndpoint(2+n%2).Addr(), test.change))
				x.p.calls.spare = nil
			}
			x.log.says(t, test.told, "two clients seem to have the same key")
		})
	}
}

// TestMeshPart ends one of two links.
func TestMeshPart(t *testing.T) {
	lost := io.ErrUnexpectedEOF
	by := func(reason closeReason) error { return &closeError{reason: reason, peer: true} }
	there := meshEndpoint(2).Addr()
	for _, test := range []struct {
		name     string
		spare    bool // it is the one that ends
		cause    error
		answered bool          // the other one has, since there are two
		after    time.Duration // there were two
		goesOn   bool
		silent   time.Duration // since both were asked once more
	}{
		{"the second", true, lost, true, time.Second, true, 0},
		{"the second, the first has not answered", true, lost, false, time.Second, true, 0},
		{"the second, with the peer", true, by(closeShutdown), true, time.Second, false, 0},
		{"the first", false, lost, true, time.Second, true, 0},
		{"the first, and the second has not answered again yet", false, lost, true, time.Second, true, doubtTime - 1},
		{"nor in time", false, lost, true, time.Second, true, doubtTime},
		{"the first, with the peer", false, by(closeShutdown), true, time.Second, false, 0},
		{"the first, at once", false, lost, false, doubtTime - 2, true, 0},
		{"the first, and the second has not answered in time", false, lost, false, doubtTime - 1, false, 0},
		{"the first, which the peer does not want", false, by(closeDisplaced), false, time.Second, true, 0},
		{"the first, which this end does not want", false, &closeError{reason: closeDisplaced}, false, time.Second, false, 0},
	} {
		sim(t, test.name, func(t *testing.T) {
			x := newTies(t)
			var downs int
			x.config.Down = func(Link, error) { downs++ }
			first, second := x.answered(x.link(there, nil)), x.link(there, nil)
			x.join(first)
			time.Sleep(1)
			x.join(second)
			if x.p.link.Load() != first || x.p.calls.spare != second {
				t.Fatal("the first one is not used")
			}
			s, other := first, second
			if test.spare {
				s, other = second, first
			}
			time.Sleep(test.after)
			if test.answered {
				x.answered(other)
			}
			time.Sleep(1)
			if test.silent > 0 {
				x.p.ask(x.clock())
				time.Sleep(test.silent)
			}
			doubt := x.p.doubt.Load()
			x.part(s, test.cause)
			if got := x.p.link.Load() == other && downs == 0 && other.ctx.Err() == nil; got != test.goesOn {
				t.Errorf("it goes on: %v, %d ends were told", got, downs)
			}
			if gone := x.p.link.Load() == nil && downs == 1 && context.Cause(other.ctx) == errDisplaced && x.p.reason == test.cause.Error(); gone == test.goesOn || x.p.calls.spare != nil {
				t.Errorf("all is gone: %v, %s", gone, x.p.reason)
			}
			if doubted := x.p.doubt.Load() != doubt; doubted != (test.goesOn && (!test.answered || test.silent == doubtTime)) {
				t.Errorf("the other one is mistrusted: %v", doubted)
			}
			size := 0
			if test.goesOn {
				size = 1
			}
			if n := x.hub.outer.Load().Size(); n != size*2 {
				t.Errorf("%d outer addresses", n)
			}
			x.part(s, test.cause) // it is none of the links any more
			if downs > 1 || (x.p.link.Load() == other) != test.goesOn {
				t.Error("a link ends twice")
			}
		})
	}
}
