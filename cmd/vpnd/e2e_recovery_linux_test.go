package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vpnd/cmd/internal/lab"
	"vpnd/cmd/internal/router"
)

// outerPort is where the servers of the tests listen.
const outerPort = 24741

// figures are measurements of the same thing, shortest first. One alone says
// little on a machine that does other things too, so limits hold for the median;
// where that would test the machine more than the program, for the best.
type figures struct {
	sorted []time.Duration
	stall  time.Duration // how long the machine stood still meanwhile
}

func measure(t *testing.T, what string, n int, once func() time.Duration) figures {
	t.Helper()
	f, standstill := figures{}, lab.Standstill()
	for range n {
		f.sorted = append(f.sorted, once())
	}
	f.stall = standstill()
	slices.Sort(f.sorted)
	t.Logf("%s: best %v, median %v, worst %v of %d", what, f.sorted[0], f.sorted[n/2], f.sorted[n-1], n)
	return f
}

// within wants the median to be at most limit.
func (f figures) within(t *testing.T, limit time.Duration) {
	t.Helper()
	if median := f.sorted[len(f.sorted)/2]; median > limit+10*f.stall {
		t.Errorf("median %v, more than %v; the machine stood still for %v", median, limit, f.stall)
	}
}

// talk is an inner TCP connection that has to live through what a test does.
type talk struct {
	t *testing.T
	c *lab.Conversation
}

func (w *world) talk() talk {
	t := w.server.t
	t.Helper()
	c, err := lab.Ends{Client: w.client.ns, Server: w.server.ns, Dst: serverInner}.Converse(t.Context())
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return talk{t, c}
}

// goesOn moves some data both ways and returns how long that took.
func (k talk) goesOn() time.Duration {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	took, err := k.c.Exchange(ctx, 1000)
	if err != nil {
		k.t.Fatalf("inner connection is lost: %v", err)
	}
	return took
}

// speaksIntoTheVoid sends what cannot arrive yet: goesOn waits for that, too.
func (k talk) speaksIntoTheVoid() {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Millisecond)
	defer cancel()
	if _, err := k.c.Exchange(ctx, 1000); !errors.Is(err, context.DeadlineExceeded) {
		k.t.Errorf("exchange during an outage: %v", err)
	}
}

// settled waits until the link has lived so long that its loss is a fresh outage
// and not the next attempt of the last one.
func (w *world) settled() {
	w.client.t.Helper()
	w.client.until("settled", func(r report) bool {
		return r.Link != nil && time.Since(r.Link.Established) > 2500*time.Millisecond
	})
}

// reset makes both kernels abort the outer connection.
func (w *world) reset() {
	t := w.client.t
	t.Helper()
	n, err := w.server.ns.ResetTCP(outerPort)
	must(t, err)
	if n == 0 {
		t.Fatal("no outer connection to reset")
	}
	_, err = w.client.ns.ResetTCP(outerPort)
	must(t, err)
}

// startAndReach starts vpnd and returns the time from its execution to the first
// reply to a ping through the tunnel.
func (s *site) startAndReach(to netip.Addr) time.Duration {
	s.t.Helper()
	began := time.Now()
	s.start()
	s.reaches(to)
	return time.Since(began)
}

// TestFirstReply measures alone: its limit is the shortest.
func TestFirstReply(t *testing.T) {
	w := newWorld(t)
	w.configure()
	w.server.start()
	w.server.says("interface is up")
	const limit = 50 * time.Millisecond
	best := time.Hour
	for began := time.Now(); best > limit && time.Since(began) < patience; { // a machine with other work is at rest now and then
		f := measure(t, "first reply after the client's start", 9, func() time.Duration {
			took := w.client.startAndReach(serverInner)
			w.client.stop()
			return took
		})
		best = min(best, f.sorted[0])
	}
	if best > limit {
		t.Errorf("first reply takes %v at best, more than %v", best, limit)
	}
}

func TestOuterReset(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		outage time.Duration
		times  int
		limit  time.Duration
	}{
		{"path stays usable", 0, 5, 300 * time.Millisecond},
		{"half a second", 500 * time.Millisecond, 5, 300 * time.Millisecond},
		{"five seconds", 5 * time.Second, 3, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure()
			w.up()
			inner := w.talk()
			links := w.client.until("up", isUp).Links
			f := measure(t, "back after the path is usable", tt.times, func() time.Duration {
				w.settled()
				must(t, w.path.Cut()) // otherwise the resets of both ends would meet new dials
				inner.speaksIntoTheVoid()
				w.reset()
				time.Sleep(tt.outage) // this is the outage
				began := time.Now()
				must(t, w.path.Heal())
				w.client.reaches(serverInner)
				took := time.Since(began)
				t.Logf("inner connection goes on after %v", inner.goesOn())
				links++
				w.client.until("up once more", func(r report) bool { return r.Links == links })
				return took
			})
			f.within(t, tt.limit)
		})
	}
}

func TestKilledEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		ends func(w *world) (killed *site, from *site, to netip.Addr)
	}{
		{"server", func(w *world) (*site, *site, netip.Addr) { return w.server, w.client, serverInner }},
		{"client", func(w *world) (*site, *site, netip.Addr) { return w.client, w.client, serverInner }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure()
			w.up()
			inner := w.talk()
			killed, from, to := tt.ends(w)
			f := measure(t, "link after the killed end's return", 3, func() time.Duration {
				w.settled()
				killed.kill()
				time.Sleep(time.Second) // it is away
				began := time.Now()
				killed.start()
				from.reaches(to)
				took := time.Since(began)
				t.Logf("inner connection goes on after %v", inner.goesOn())
				return took
			})
			f.within(t, 3*time.Second)
		})
	}
}

// TestSilentCut lets packets vanish without a word to either end.
func TestSilentCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("keepalive 1", "noanswer 2")
	w.up()
	inner := w.talk()
	f := measure(t, "back after the cut is healed", 3, func() time.Duration {
		w.settled()
		cut := func() { must(t, w.path.Cut()); inner.speaksIntoTheVoid() }
		die(t, 3*time.Second, cut, w.client, w.server)
		began := time.Now()
		must(t, w.path.Heal())
		w.client.reaches(serverInner)
		took := time.Since(began)
		t.Logf("inner connection goes on after %v", inner.goesOn())
		return took
	})
	f.within(t, 2*time.Second)
}

// TestOutage takes the way for longer than a kernel tries that sends again each second, and
// for less than makes a link dead: with a word to nobody, and as a host that has no way
// itself.
func TestOutage(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(w *world) (give func()){
		"path cut": func(w *world) func() {
			must(w.client.t, w.path.Cut())
			return func() { must(w.client.t, w.path.Heal()) }
		},
		"interface down": func(w *world) func() {
			name := w.client.outerLink()
			w.client.setLink(name, false)
			return func() {
				w.client.setLink(name, true) // its route has gone with it
				must(w.client.t, w.client.ns.AddRoute(netip.PrefixFrom(serverOuter, 24).Masked(), netip.MustParseAddr("198.51.100.2")))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure()
			w.up()
			inner := w.talk()
			inner.goesOn()
			give := take(w)
			inner.speaksIntoTheVoid()
			time.Sleep(20 * time.Second)
			give()
			t.Logf("inner connection goes on after %v", inner.goesOn())
			for _, s := range []*site{w.client, w.server} {
				if r := s.tells(); r.Links != 1 || r.State != "up" {
					t.Errorf("%s: %s with %d links, %s", s.name, r.State, r.Links, r.Reason)
				}
			}
		})
	}
}

// TestQuietOutage has a quiet link, of which only the answer to a PING is under way when the
// path is cut, and stays for longer than a kernel tries that sends again each second.
func TestQuietOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("nomulticast")
	w.up()
	time.Sleep(31 * time.Second) // by then a link is quiet
	must(t, w.path.CutFrom(w.client.ns))
	before := w.client.tells().Link.LastPacket
	ctx, cancel := context.WithTimeout(t.Context(), patience+30*time.Second)
	defer cancel()
	for !w.client.tells().Link.LastPacket.After(before.Add(time.Second)) { // the PING
		if ctx.Err() != nil {
			t.Fatal("the server asks nothing")
		}
		time.Sleep(20 * time.Millisecond)
	}
	must(t, w.path.Cut())
	time.Sleep(22 * time.Second)
	must(t, w.path.Heal())
	w.client.reaches(serverInner)
	for _, s := range []*site{w.client, w.server} {
		if r := s.tells(); r.Links != 1 || r.State != "up" {
			t.Errorf("%s: %s with %d links, %s", s.name, r.State, r.Links, r.Reason)
		}
	}
}

// TestLossy has a path that loses so much that its losses are never made up for, as a bad
// radio does: while anything arrives at all the link stays.
func TestLossy(t *testing.T) {
	t.Parallel()
	losses, spell := []float64{0.4}, 10*time.Second
	if *thorough {
		losses, spell = []float64{0.25, 0.30, 0.31, 0.32, 0.33, 0.34, 0.4, 0.5, 0.6}, 100*time.Second
	}
	for i, loss := range losses {
		t.Run(fmt.Sprint(loss), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure()
			w.up()
			traffic, err := lab.NewTraffic(1500, lab.Ends{Client: w.client.ns, Server: w.server.ns, Src: clientInner, Dst: serverInner})
			must(t, err)
			defer func() { must(t, traffic.Close()) }()
			traffic.Rate(1)
			bad, err := router.Insert(w.path, router.Way{Loss: loss, Seed: uint64(2 * i)}, router.Way{Loss: loss, Seed: uint64(2*i + 1)})
			must(t, err)
			defer func() { must(t, bad.Close()) }()
			time.Sleep(spell)
			traffic.Rate(0)
			up, down, err := bad.Counters()
			must(t, err)
			must(t, bad.Close())
			w.client.reaches(serverInner)
			r := w.client.tells()
			t.Logf("%d and %d packets were lost; %d packets of the client came", up.Lost, down.Lost, w.server.tells().Inside.PacketsOut)
			if r.Links != 1 || up.Lost+down.Lost == 0 {
				t.Errorf("%d links, %s", r.Links, r.Reason)
			}
		})
	}
}

// TestStalls has two short stalls, the second one later than a silent link would be given
// up. What is on the way has little room, so that it opens after a stall by less than what
// the sender has in hand: a kernel may take the second stall for the first, which lasts.
func TestStalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, w.path.Router.Sysctl("ipv4/tcp_rmem", "4096 16384 16384"))
	relay, err := w.path.Router.Relay(netip.MustParseAddrPort("198.51.100.2:0"), netip.AddrPortFrom(serverOuter, outerPort))
	must(t, err)
	w.configure("keepalive 1", "noanswer 6", "compress off")
	text, err := os.ReadFile(w.client.config())
	must(t, err)
	direct := fmt.Sprintf("server %v %d", serverOuter, outerPort)
	through := fmt.Sprintf("server %v %d", relay.Addr().Addr(), relay.Addr().Port())
	must(t, os.WriteFile(w.client.config(), bytes.Replace(text, []byte(direct), []byte(through), 1), 0o644))
	w.up()
	traffic, err := lab.NewTraffic(1500, lab.Ends{Client: w.client.ns, Server: w.server.ns, Src: clientInner, Dst: serverInner})
	must(t, err)
	defer func() { must(t, traffic.Close()) }()
	stall := func() {
		relay.Stall()
		time.Sleep(time.Second)
		relay.Resume()
	}
	traffic.Rate(3)
	stall()
	time.Sleep(9 * time.Second)
	stall()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, traffic.Settle(ctx))
	for _, s := range []*site{w.client, w.server} {
		if r := s.tells(); r.Links != 1 || r.State != "up" {
			t.Errorf("%s: %s with %d links, %s", s.name, r.State, r.Links, r.Reason)
		}
	}
}

// die does something after which the links are given up, when they have been silent for
// some time: by the clock of the daemon, which no slow test distorts.
func die(t *testing.T, silence time.Duration, do func(), sites ...*site) {
	t.Helper()
	marks, standstill := make([]int64, len(sites)), lab.Standstill()
	for i, s := range sites {
		marks[i] = s.Stderr.Mark()
	}
	do()
	took := make([]time.Duration, len(sites))
	for i, s := range sites {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		said, err := s.Stderr.WaitAfter(ctx, marks[i], `msg="link is down".*cause="no answer from the peer for (\S+)"`)
		cancel()
		must(t, err)
		took[i], err = time.ParseDuration(said[1])
		must(t, err)
	}
	stall := standstill()
	for _, d := range took {
		t.Logf("link declared dead %v after the last frame", d)
		if d < silence-time.Second || d > silence+time.Second+10*stall {
			t.Errorf("link declared dead %v after the last frame, want %v within a second; the machine stood still for %v", d, silence, stall)
		}
	}
}

func TestRedialSignal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.up()
	inner := w.talk()
	f := measure(t, "link after USR1", 3, func() time.Duration {
		w.settled()
		links := w.client.until("up", isUp).Links
		began := time.Now()
		must(t, w.client.Signal(syscall.SIGUSR1))
		w.client.until("up once more", func(r report) bool { return isUp(r) && r.Links == links+1 })
		w.client.reaches(serverInner)
		took := time.Since(began)
		inner.goesOn()
		return took
	})
	f.within(t, 300*time.Millisecond)
	w.server.says(`msg="link is down".*cause="peer closed the link: shutdown"`)
}

// host3 is a third host, behind the same router, with the world's key.
func (w *world) host3(name string) *site {
	t := w.server.t
	t.Helper()
	s := newSite(t, w.Lab, name)
	_, err := w.Connect(w.path.Router, s.ns, lab.Prefixes("203.0.113.1/24"), lab.Prefixes("203.0.113.2/24"))
	must(t, err)
	must(t, s.ns.AddRoute(netip.MustParsePrefix("192.0.2.0/24"), netip.MustParseAddr("203.0.113.1")))
	must(t, w.server.ns.AddRoute(netip.MustParsePrefix("203.0.113.0/24"), netip.MustParseAddr("192.0.2.2")))
	key, err := os.ReadFile(w.server.file("vpnd.key"))
	must(t, err)
	must(t, os.WriteFile(s.file("vpnd.key"), key, 0o600))
	return s
}

// writeLike writes the configuration that another site has, but for its places.
func (s *site) writeLike(other *site) {
	s.t.Helper()
	text, err := os.ReadFile(other.config())
	must(s.t, err)
	must(s.t, os.WriteFile(s.config(), []byte(strings.ReplaceAll(string(text), other.dir, s.dir)), 0o644))
}

// TestClones starts two clients with one key, as when somebody copies a machine.
// Whoever is displaced waits for retry, which HUP has changed for one of them.
func TestClones(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("retry 60")
	rival := w.host3("rival")
	rival.writeLike(w.client)
	w.up()
	text, err := os.ReadFile(w.client.config())
	must(t, err)
	must(t, os.WriteFile(w.client.config(), bytes.Replace(text, []byte("retry 60"), []byte("retry 5"), 1), 0o644))
	must(t, w.client.Signal(syscall.SIGHUP))
	w.client.says("configuration reloaded")
	rival.start()
	rival.until("up", isUp)
	w.client.says(`msg="link is down".*cause="peer closed the link: displaced by a newer link"`)
	w.client.says(`msg="waiting before the next dial" wait=5s`)
	rival.reaches(serverInner)

	first := rival.until("up", isUp)
	lost := rival.until("displaced in its turn", func(r report) bool { return !isUp(r) })
	held := lost.Since.Sub(first.Since)
	t.Logf("the second client has the link for %v", held)
	if held < 4*time.Second {
		t.Errorf("link taken back after %v, before retry is over", held)
	}
	if n := w.server.until("up", isUp).Links; n != 3 {
		t.Errorf("%d links so far, want 3: they flap", n)
	}

	// The one that waits longer can be told to dial at once.
	rival.says(`msg="waiting before the next dial" wait=1m0s`)
	began := time.Now()
	must(t, rival.Signal(syscall.SIGUSR1))
	rival.until("up", isUp)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("USR1 ends the wait only after %v", took)
	}
}
