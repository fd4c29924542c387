package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
	"vpnd/cmd/internal/meshlab"
)

// patience bounds every wait: far more than is needed on a slow machine.
const patience = 90 * time.Second

// What the mesh promises.
const (
	startLimit = 10 * time.Second // all paths, after the last one has started
	moveLimit  = 5 * time.Second  // all paths, after a gateway has another address
	movesLimit = 8 * time.Second  // the same after two: a call may go through one whose own link is not back yet
)

// programs is where nexus and packthread are.
var programs string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "packthread-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	if err := meshlab.Build(dir, ".", "../nexus"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a mesh under test.
type world struct {
	*meshlab.World
	t   *testing.T
	ctx context.Context
}

func newWorld(t *testing.T, c meshlab.Config) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	t.Cleanup(cancel)
	c.Nexus, c.Packthread, c.Examples = filepath.Join(programs, "nexus"), filepath.Join(programs, "packthread"), "../../examples/dynvpn"
	w, err := meshlab.New(c)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.Logs())
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{w, t, ctx}
}

// paths waits for all paths, and wants them within a time.
func (w *world) paths(what string, limit time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	standstill := lab.Standstill()
	took, err := w.Paths(ctx)
	stall := standstill()
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	w.t.Logf("%s: all paths after %v", what, took.Round(time.Millisecond))
	if took > limit+10*stall {
		w.t.Errorf("%s: all paths after %v, more than %v; the machine stood still for %v", what, took, limit, stall)
	}
}

// status returns what a gateway says.
func (w *world) status(s *meshlab.Site) (r report, code int) {
	w.t.Helper()
	out, err := s.Command("--status", "--json", s.Name).Output()
	if exit, ok := err.(*exec.ExitError); ok {
		code = exit.ExitCode()
	}
	if code != exit.Unknown {
		must(w.t, json.Unmarshal(out, &r))
	}
	return r, code
}

// until waits until a gateway's status is as wanted.
func (w *world) until(s *meshlab.Site, what string, wanted func(report) bool) time.Duration {
	w.t.Helper()
	began := time.Now()
	for {
		r, _ := w.status(s)
		if wanted(r) {
			return time.Since(began)
		}
		if time.Since(began) > patience {
			w.t.Fatalf("%s is not %s: %+v", s.Name, what, r)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (r report) peer(name string) peerState {
	for _, p := range r.Peers {
		if p.Name == name {
			return p
		}
	}
	return peerState{}
}

// hasRoute reports whether a gateway's host has a route into the mesh.
func (w *world) hasRoute(s, to *meshlab.Site) bool {
	w.t.Helper()
	text, err := s.Gateway.Dump()
	must(w.t, err)
	for line := range strings.Lines(text) {
		if strings.Contains(line, to.Subnet().String()) && strings.Contains(line, "vpn0") {
			return true
		}
	}
	return false
}

// start starts everything in an order that chance gives.
func (w *world) start() {
	w.t.Helper()
	starts := []func() error{func() error { return w.StartNexus(w.ctx) }}
	names := []string{"nexus"}
	for _, s := range w.Sites {
		starts, names = append(starts, s.Start), append(names, s.Name)
	}
	var order []string
	for _, i := range rand.Perm(len(starts)) {
		order = append(order, names[i])
		must(w.t, starts[i]())
	}
	w.t.Logf("started: %v", order)
}

// TestMesh is four networks, one of them behind NAT, for a day.
func TestMesh(t *testing.T) {
	w := newWorld(t, meshlab.Config{Sites: 4, NAT: []int{4}})
	var hosts []string
	for _, s := range w.Sites {
		text, err := s.Gateway.Dump()
		must(t, err)
		hosts = append(hosts, text)
	}
	w.start()
	w.paths("start", startLimit)
	one, two, three, four := w.Sites[0], w.Sites[1], w.Sites[2], w.Sites[3]
	for _, s := range w.Sites {
		w.until(s, "registered", func(r report) bool { return !r.Table.IsZero() && len(r.Conflicts) == 0 && len(r.Peers) == 3 })
	}
	t.Run("the gateway itself", func(t *testing.T) {
		for _, to := range []netip.Addr{two.Addr(), four.Addr()} {
			_, err := one.Gateway.WaitPing(w.ctx, to, 50*time.Millisecond)
			must(t, err)
		}
	})
	t.Run("move", func(t *testing.T) {
		w := &world{w.World, t, w.ctx}
		must(t, one.Move())
		must(t, one.Again(w.ctx))
		w.paths("one gateway moved", moveLimit)
		must(t, two.Move())
		must(t, three.Move())
		must(t, two.Again(w.ctx))
		must(t, three.Again(w.ctx))
		w.paths("two gateways moved at once", movesLimit)
		// No nudge reaches the one behind NAT: it asks because its links are not what they were.
		standstill := lab.Standstill()
		took := w.until(four, "linked with where the others are now", func(r report) bool {
			return !slices.ContainsFunc(w.Sites[:3], func(s *meshlab.Site) bool {
				l := r.peer(s.Name).Link
				return l == nil || !strings.HasPrefix(l.Peer, s.Outer().String()+":")
			})
		})
		t.Logf("all links of %s are direct after another %v", four.Name, took)
		if stall := standstill(); took > startLimit+10*stall {
			t.Errorf("%s has links through another gateway for %v; the machine stood still for %v", four.Name, took, stall)
		}
		for _, s := range w.Sites { // who moves without nexus is not called, but calls
			w.until(s, "told where the others are", func(r report) bool {
				return !slices.ContainsFunc(w.Sites[:3], func(o *meshlab.Site) bool { return o != s && r.peer(o.Name).Endpoint.Addr() != o.Outer() })
			})
		}
		// The link of the first with the fourth has run through another one a moment ago.
		must(t, w.StopNexus(w.ctx))
		must(t, one.Move())
		must(t, one.Again(w.ctx))
		w.paths("one gateway moved again, without nexus", moveLimit)
		must(t, w.StartNexus(w.ctx))
	})
	t.Run("disabled", func(t *testing.T) {
		w := &world{w.World, t, w.ctx}
		must(t, w.WriteNetworks(two.Name))
		must(t, one.Again(w.ctx))
		for _, s := range []*meshlab.Site{one, three} {
			took := w.until(s, "without it", func(report) bool { return !w.hasRoute(s, two) })
			t.Logf("%s without it after %v", s.Name, took)
		}
		must(t, two.Again(w.ctx))
		w.until(two, "without others", func(report) bool { return !w.hasRoute(two, one) })
		must(t, w.WriteNetworks())
		must(t, two.Again(w.ctx))
		must(t, four.Again(w.ctx)) // no nudge reaches it
		w.paths("enabled again", startLimit)
	})
	t.Run("nexus is dead", func(t *testing.T) {
		w := &world{w.World, t, w.ctx}
		must(t, w.StopNexus(w.ctx))
		must(t, three.Again(w.ctx))
		w.until(three, "without nexus", func(r report) bool { return r.Error != "" })
		w.paths("nexus is dead", moveLimit)
		if code, err := one.Kill(w.ctx, syscall.SIGTERM); err != nil || code != 0 {
			t.Fatalf("code %d, %v", code, err)
		}
		if text, err := one.Gateway.Dump(); err != nil || strings.Contains(text, "vpn0") {
			t.Errorf("left on the host: %s, %v", text, err)
		}
		must(t, one.Start())
		w.paths("a gateway has started anew, without nexus", startLimit)
		must(t, one.Move())
		must(t, one.Again(w.ctx))
		w.paths("a gateway moved, without nexus", moveLimit)
		must(t, w.StartNexus(w.ctx))
	})
	t.Run("killed", func(t *testing.T) {
		w := &world{w.World, t, w.ctx}
		if code, err := two.Kill(w.ctx, syscall.SIGKILL); err != nil || code != 128+9 {
			t.Fatalf("code %d, %v", code, err)
		}
		took := w.until(one, "without the link", func(r report) bool { return r.peer(two.Name).State == "down" })
		t.Logf("link down after %v", took)
		must(t, two.Start())
		w.paths("killed and started", startLimit)
	})
	for i, s := range w.Sites {
		if code, err := s.Kill(w.ctx, syscall.SIGTERM); err != nil || code != 0 {
			t.Errorf("%s: code %d, %v", s.Name, code, err)
		}
		if i == 0 || i == 1 || i == 2 { // they have moved
			continue
		}
		if text, err := s.Gateway.Dump(); err != nil || text != hosts[i] {
			t.Errorf("%s has\n%s\nbefore it had\n%s%v", s.Name, text, hosts[i], err)
		}
	}
	if r, code := w.status(one); code != exit.Unknown {
		t.Errorf("status %+v", r)
	}
}

// TestThird links two gateways that cannot reach each other, both being behind NAT.
func TestThird(t *testing.T) {
	w := newWorld(t, meshlab.Config{Sites: 4, NAT: []int{1, 2}})
	w.start()
	w.paths("start", startLimit)
	one, two, three, four := w.Sites[0], w.Sites[1], w.Sites[2], w.Sites[3]
	var third string
	w.until(one, "linked through a third one", func(r report) bool { // the one look may find it too busy to answer
		l := r.peer(two.Name).Link
		if l != nil {
			third = l.Through
		}
		return third == three.Name || third == four.Name
	})
	s := three
	if third == four.Name {
		s = four
	}
	if _, err := s.Kill(w.ctx, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	began, standstill := time.Now(), lab.Standstill()
	w.until(one, "linked through another one", func(r report) bool {
		l := r.peer(two.Name).Link
		return l != nil && l.Through != "" && l.Through != third
	})
	_, err := w.Paths(w.ctx, one, two)
	must(t, err)
	took := time.Since(began)
	t.Logf("the third has left: path through another one after %v", took)
	if took > startLimit+10*standstill() { // keepalive would take 30 s
		t.Errorf("path through another one after %v, more than %v", took, startLimit)
	}
}

// TestLease kills a gateway: its routes go when its lease ends, and not earlier. The
// clock of nexus is ahead by what the test does not want to wait for.
func TestLease(t *testing.T) {
	w := newWorld(t, meshlab.Config{Sites: 3, Bare: true})
	var ahead atomic.Int64 // seconds
	must(t, w.Standalone(w.ctx, func(c *exec.Cmd) (*lab.Process, error) {
		trace, err := w.Nexus.Trace(c, lab.Tracing{HideVDSO: true, Watch: func(call *lab.Call) bool {
			return call.Made(unix.SYS_CLOCK_GETTIME) && call.Args[0] == unix.CLOCK_BOOTTIME && call.ShiftClock(ahead.Load()) != nil
		}})
		if err != nil {
			return nil, err
		}
		return trace.Process, nil
	}))
	for _, s := range w.Sites {
		must(t, s.Start())
	}
	w.paths("start", startLimit)
	one, two, dead := w.Sites[0], w.Sites[1], w.Sites[2]
	if _, err := dead.Kill(w.ctx, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for passed := 60; passed <= 240; passed += 60 { // nexus takes longer steps for a rest
		ahead.Store(int64(passed))
		for _, s := range []*meshlab.Site{one, two} {
			w.registers(s)
			if !w.hasRoute(s, dead) {
				t.Errorf("%s has no route any more after %d s", s.Name, passed)
			}
		}
	}
	ahead.Store(305)
	must(t, one.Again(w.ctx))
	for _, s := range []*meshlab.Site{one, two} {
		w.until(s, "without the dead one", func(report) bool { return !w.hasRoute(s, dead) })
		if !w.hasRoute(s, w.Sites[2-s.N]) {
			t.Errorf("%s has lost the route to the other one, too", s.Name)
		}
	}
	must(t, dead.Start())
	w.paths("it came back", startLimit)
}

// registers has a gateway register, and waits until it has.
func (w *world) registers(s *meshlab.Site) {
	w.t.Helper()
	before, _ := w.status(s)
	must(w.t, s.Again(w.ctx))
	w.until(s, "registered", func(r report) bool { return r.Table.After(before.Table) })
}

// TestTwenty is a mesh of twenty gateways: 190 links.
func TestTwenty(t *testing.T) {
	const n = 20
	w := newWorld(t, meshlab.Config{Sites: n, Bare: true, NAT: []int{7}})
	w.start()
	w.paths("start of 20", patience)
	for _, s := range w.Sites {
		w.until(s, "linked with all", func(r report) bool {
			up := 0
			for _, p := range r.Peers {
				if p.State == "up" {
					up++
				}
			}
			return up == n-1
		})
	}
	mover := w.Sites[3]
	must(t, mover.Move())
	must(t, mover.Again(w.ctx))
	w.paths("one of 20 moved", patience)
}
