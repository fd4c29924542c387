package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
)

const (
	// killed is the exit code of a process that was.
	killed = 128 + int(syscall.SIGKILL)
	// recovery is how long a restart may take until packets pass again.
	recovery = 10 * time.Second
	// rounds is how often the long form goes through each point.
	rounds = 20
)

// TestKill kills one end with KILL at each point, exactly there, and starts it
// again. Nobody cleans up; the other end stays up. What the host has then must be
// what it has with a daemon that was never disturbed, and nothing after that has
// been stopped.
func TestKill(t *testing.T) {
	n := 1
	if *thorough {
		n = rounds
	}
	for _, p := range points() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			k := newKilling(t, p)
			f := measure(t, "link and ping after the restart", n, k.round)
			if worst := f.sorted[n-1]; worst > recovery+10*f.stall {
				t.Errorf("back only after %v, more than %v", worst, recovery)
			}
			k.peer.stop()
			k.peer.leftNothing(k.bare.peer)
		})
	}
}

// TestCrashFile starts a daemon a second time: that fails, and must not take away
// what the first one needs when it crashes.
func TestCrashFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("pidfile vpnd.pid")
	s, host := w.server, w.server.dump()
	st := stage{Log: newSystemLog(t, s.file("log")).path}
	checkEnded(t, "first", s.detach(st), exit.OK, "")
	s.adopt()
	checkEnded(t, "second", s.detach(st), exit.Unavailable, "already running")
	if _, err := os.Stat(s.file("state/server.crash")); err != nil {
		t.Error(err)
	}
	s.stopAdopted()
	s.leftNothing(host)
}

// killing is a point, and what the hosts have when nothing is killed.
type killing struct {
	point
	t            *testing.T
	w            *world
	victim, peer *site
	log          *systemLog
	bare, full   hosts // without daemons, and with both
}

// hosts is what both hosts have.
type hosts struct{ victim, peer, record string }

func (h hosts) String() string { return h.victim + "peer:\n" + h.peer + h.record }

func newKilling(t *testing.T, p point) *killing {
	w := newWorld(t)
	k := &killing{point: p, t: t, w: w, victim: p.end(w), peer: w.server}
	if k.peer == k.victim {
		k.peer = w.client
	}
	k.configure()
	k.log = newSystemLog(t, k.victim.file("log"))
	k.bare = k.look()
	w.up()
	k.victim.reaches(k.remote())
	k.full = k.look()
	if k.full.record == k.bare.record || k.full.victim == k.bare.victim {
		t.Fatalf("the daemon leaves no traces that could be compared:\n%s", k.full)
	}
	k.victim.stop()
	k.victim.leftNothing(k.bare.victim)
	return k
}

// configure gives both ends hooks that can be held up, and routes; the client's
// need a pin, and one of them does not go into the tunnel: it outlives the device.
func (k *killing) configure() {
	both := []string{"pidfile vpnd.pid", "mtu 1400"}
	if k.strong {
		k.w.strongKeys(nil)
		both = append(both, "auth strong")
	}
	if k.quiet {
		k.w.configureIPv4(append(both, "keyttl 5")...)
	} else {
		k.w.configure(both...)
	}
	k.w.server.also("route 10.92.0.0/16")
	k.w.client.also("route 10.90.0.0/16", "route 10.91.0.0/16", "route 192.0.2.0/25", "route1 10.93.0.0 255.255.0.0 198.51.100.2")
	for _, s := range []*site{k.w.server, k.w.client} {
		hook := s.script("hook", "cd "+s.dir+` && mv hold.$VPND_EVENT held 2>/dev/null || exit 0
echo waiting
while test -e held; do sleep 0.02; done
echo $VPND_EVENT >> released`)
		s.also("slipup "+hook, "linkup "+hook, "linkdown "+hook, "slipdown "+hook)
	}
}

// configureIPv4 is configure without IPv6, whose neighbour discovery sends packets
// into every interface.
func (w *world) configureIPv4(both ...string) {
	for _, s := range []*site{w.server, w.client} {
		must(s.t, s.ns.Sysctl("ipv6/conf/default/disable_ipv6", "1"))
	}
	w.server.write(append(both, "mode server", "server 24741", fmt.Sprintf("local %v\nremote %v", serverInner, clientInner))...)
	w.client.write(append(both, "mode client", fmt.Sprintf("server %v 24741", serverOuter), fmt.Sprintf("local %v\nremote %v", clientInner, serverInner))...)
}

// remote is the other end of the tunnel.
func (k *killing) remote() netip.Addr {
	if k.victim == k.w.client {
		return serverInner
	}
	return clientInner
}

func (k *killing) look() hosts {
	return hosts{k.victim.dump(), k.peer.dump(), k.victim.record()}
}

// record returns the state file, without the number that the kernel gave the
// device.
func (s *site) record() string {
	s.t.Helper()
	text, err := os.ReadFile(s.file("state/" + s.name + ".state"))
	if os.IsNotExist(err) {
		return ""
	}
	must(s.t, err)
	var r struct{ Device struct{ Index int } }
	must(s.t, json.Unmarshal(text, &r))
	number := regexp.MustCompile(fmt.Sprintf(`("index"|"dev"): %d\b`, r.Device.Index))
	return number.ReplaceAllString(string(text), "$1: N")
}

// round is one or two kills and a restart. It returns how long the restart took.
func (k *killing) round() time.Duration {
	k.t.Helper()
	var last *lab.Trace
	for i, m := range k.moments {
		last = k.killAt(m)
		if k.hold != "" {
			k.holding(i + 1)
		}
	}
	began := time.Now()
	select {
	case <-last.Ended(): // of two processes one goes on, and notices
	case <-time.After(patience):
		k.t.Fatalf("%s: a process that should find itself alone runs on", k.victim.name)
	}
	k.victim.start()
	k.victim.until("up", isUp)
	k.victim.reaches(k.remote())
	took := time.Since(began)
	k.releaseHook()
	k.victim.alone(k.victim.PID())
	k.restored()
	k.victim.stop()
	k.victim.leftNothing(k.bare.victim)
	k.victim.alone()
	return took
}

// killAt starts the victim and has it killed at the moment.
func (k *killing) killAt(m moment) *lab.Trace {
	k.t.Helper()
	s := k.victim
	config, err := os.ReadFile(s.config())
	must(k.t, err)
	if k.hold != "" {
		must(k.t, os.WriteFile(s.file("hold."+k.hold), nil, 0o644))
	}
	var reached atomic.Bool
	passed := 0
	watch := func(c *lab.Call) bool {
		if reached.Load() || !m.is(c) {
			return false
		}
		passed++
		reached.Store(passed >= m.nth)
		return reached.Load()
	}
	trace := k.startTraced(watch)
	if k.do != nil {
		s.until("up", isUp)
		s.reaches(k.remote())
		s.alone(s.PID()) // a linkdown that waits for linkup gives its place to the next linkup
		trace.Watch(watch)
		k.do(s)
	}
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	code, err := trace.Wait(ctx)
	if want := k.exitCode(); err != nil || !reached.Load() || code != want {
		k.t.Fatalf("%s: exit code %d, want %d, reached %v: %v\n%s", s.name, code, want, reached.Load(), err, trace.Stderr)
	}
	must(k.t, os.WriteFile(s.config(), config, 0o644)) // reload has changed it
	return trace
}

func (k *killing) exitCode() int {
	if k.detached {
		return k.code
	}
	return killed
}

func (k *killing) startTraced(watch lab.Watcher) *lab.Trace {
	k.t.Helper()
	cmd, options := k.victim.command("-n", "-f", k.victim.config()), lab.Tracing{}
	if k.detached {
		cmd, options.Children = stage{Log: k.log.path}.on(k.victim.command("-f", k.victim.config())), true
	}
	if k.do == nil {
		options.Watch = watch
	}
	trace, err := k.victim.ns.Trace(cmd, options)
	must(k.t, err)
	k.victim.Process = trace.Process
	return trace
}

// holding checks that the hooks of n dead daemons run on.
func (k *killing) holding(n int) {
	k.t.Helper()
	pids, err := k.victim.ns.PIDs()
	must(k.t, err)
	hooks := 0
	for _, pid := range pids {
		if group, err := syscall.Getpgid(pid); err == nil && group == pid {
			hooks++
		}
	}
	if hooks != n {
		k.t.Errorf("%d hooks run on, want %d\n%s", hooks, n, processes(pids))
	}
}

// releaseHook lets held hooks go on, and checks that they come to their end.
func (k *killing) releaseHook() {
	k.t.Helper()
	if k.hold == "" {
		return
	}
	must(k.t, os.Remove(k.victim.file("held")))
	k.victim.alone(k.victim.PID())
	text, err := os.ReadFile(k.victim.file("released"))
	must(k.t, err)
	if want := strings.Repeat(k.hold+"\n", len(k.moments)); string(text) != want {
		k.t.Errorf("hooks that came to their end: %q, want %q", text, want)
	}
	must(k.t, os.Remove(k.victim.file("released")))
}

// alone waits until the site's processes are these.
func (s *site) alone(want ...int) {
	s.t.Helper()
	var pids []int
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var err error
		pids, err = s.ns.PIDs()
		must(s.t, err)
		if slices.Equal(pids, want) {
			return
		}
	}
	s.t.Fatalf("%s: processes %v, want %v\n%s", s.name, pids, want, processes(pids))
}

func processes(pids []int) []byte {
	args := []string{"-o", "pid,ppid,stat,args"}
	for _, pid := range pids {
		args = append(args, "-p", fmt.Sprint(pid))
	}
	text, _ := exec.Command("ps", args...).CombinedOutput()
	return text
}

// restored checks that both hosts are as if nothing had been killed.
func (k *killing) restored() {
	k.t.Helper()
	if got := k.look(); got != k.full {
		k.t.Errorf("the hosts are not as they were:\nundisturbed\n%s\nafter the restart\n%s", k.full, got)
	}
	pid := k.victim.PID()
	if r := k.victim.tells(); r.PID != pid {
		k.t.Errorf("process %d answers at the control socket, want %d", r.PID, pid)
	}
	if text, err := os.ReadFile(k.victim.file("vpnd.pid")); err != nil || string(text) != fmt.Sprintln(pid) {
		k.t.Errorf("the pidfile holds %q, want %d: %v", text, pid, err)
	}
	left, err := filepath.Glob(k.victim.file("state/*"))
	must(k.t, err)
	want := []string{k.victim.file("state/" + k.victim.name + ".lock"), k.victim.file("state/" + k.victim.name + ".state")}
	if left = slices.DeleteFunc(left, isNumber); !slices.Equal(left, want) {
		k.t.Errorf("state directory holds %v, want %v", left, want)
	}
}

// replace changes a line of the configuration.
func (s *site) replace(old, new string) {
	s.t.Helper()
	text, err := os.ReadFile(s.config())
	must(s.t, err)
	if !bytes.Contains(text, []byte(old+"\n")) {
		s.t.Fatalf("the configuration has no %q", old)
	}
	must(s.t, os.WriteFile(s.config(), bytes.Replace(text, []byte(old+"\n"), []byte(new+"\n"), 1), 0o644))
}
