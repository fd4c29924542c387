package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/lab"
	"vpnd/crypto"
)

// Goals of a siege.
const (
	mostMemory = 16 << 20 // by which the server grows, with what its kernel keeps for it as a rule
	mostFiles  = 256 + 40 // descriptors more than before: callers, those that are leaving, one more link
	mostLost   = 0.01     // of the link's datagrams
	mostWait   = 2 * time.Second
)

// Where the assailants' addresses are. Packets to all of them reach the
// assailants' host.
var (
	onePrefix    = netip.MustParsePrefix("198.18.7.0/24")
	manyPrefixes = netip.MustParsePrefix("100.64.0.0/12") // 4096 networks of /24
	noAddresses  = netip.MustParsePrefix("198.18.8.0/24") // which nobody has
)

// siege is a world with a link, and others around it.
type siege struct {
	*world
	t      *testing.T
	enemy  *lab.Namespace
	honest *site
	key    *crypto.Key
	load   float64 // bits per second
	links  int     // that an honest caller makes in each assault
	before lab.Usage
	vain   int // calls of honest callers that failed
}

// TestSiege floods a server that has a link under load, while an honest caller
// from another network calls again and again.
func TestSiege(t *testing.T) {
	// The short form has less of everything; a full load would leave no processor
	// for the tests that run beside it.
	s, crowd, short, long := newSiege(t, 20e6, 100), 2000, 1500*time.Millisecond, 1500*time.Millisecond
	if *thorough {
		s.load, s.links, crowd, short, long = 100e6, 300, 10000, 30*time.Second, 2*time.Minute
	}
	_, s.before = s.rest(short)
	for _, a := range []struct {
		name string
		assault
		lasts time.Duration
	}{
		{"half-open strangers", assault{Callers: crowd, Pause: 5 * time.Second, Say: sayNothing}, short},
		{"1000 new connections a second", assault{Rate: 1000, Say: sayNothing}, long},
		{"the same from 4096 networks", assault{Rate: 1000, Say: sayNothing, From: manyPrefixes}, short},
		{"300 slow senders", assault{Callers: 300, Pause: time.Second, Say: saySlowly}, short},
		{"random bytes at full speed", assault{Callers: 100, Say: sayNoise}, short},
		{"random bytes without end", assault{Callers: 300, Pause: time.Second, Say: sayForever}, short},
		{"recorded first flights", assault{Callers: 100, Say: sayRecorded}, short},
		{"good first flights, no more", assault{Rate: 200, Say: sayFresh, Key: s.server.file("vpnd.key")}, short},
		{"half-open TCP", assault{Rate: 5000, Say: sayNoACK, From: noAddresses}, short},
	} {
		s.stand(a.name, a.assault, a.lasts)
	}
}

func newSiege(t *testing.T, load float64, links int) *siege {
	t.Helper()
	w := newWorld(t)
	w.configure()
	s := &siege{world: w, t: t, load: load, links: links, honest: w.host3("honest")}
	var err error
	s.enemy, err = w.Namespace("enemy")
	must(t, err)
	_, err = w.Connect(w.path.Router, s.enemy, lab.Prefixes("10.9.9.1/30"), lab.Prefixes("10.9.9.2/30"))
	must(t, err)
	must(t, s.enemy.AddRoute(netip.MustParsePrefix("192.0.2.0/24"), netip.MustParseAddr("10.9.9.1")))
	for _, p := range []netip.Prefix{onePrefix, manyPrefixes, noAddresses} {
		must(t, w.path.Router.AddRoute(p, netip.MustParseAddr("10.9.9.2")))
		must(t, w.server.ns.AddRoute(p, netip.MustParseAddr("192.0.2.2")))
	}
	must(t, s.enemy.Do(func() error { return errors.Join(own(onePrefix), own(manyPrefixes)) }))
	s.key, err = crypto.LoadKey(w.server.file("vpnd.key"))
	must(t, err)
	w.up()
	s.lengthenQueue()
	return s
}

// lengthenQueue lets more packets wait for the client's vpnd: that it has to share
// this machine with the assailants and the rest of the test is not what is
// measured.
func (s *siege) lengthenQueue() {
	s.t.Helper()
	r := s.client.until("up", isUp)
	must(s.t, s.client.ns.Do(func() error {
		dev, err := netlink.LinkByName(r.Interface)
		if err != nil {
			return err
		}
		return netlink.LinkSetTxQLen(dev, 10000)
	}))
}

// own makes all addresses of a prefix the host's.
func own(p netip.Prefix) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	dst := &netlink.Route{LinkIndex: lo.Attrs().Index, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST}
	if dst.Dst, err = netlink.ParseIPNet(p.String()); err != nil {
		return err
	}
	return netlink.RouteAdd(dst)
}

// stream puts the load on the link for a while.
func (s *siege) stream(during func()) lab.Streamed {
	s.t.Helper()
	const size = 1400
	stream, err := lab.Ends{Client: s.client.ns, Server: s.server.ns, Dst: serverInner}.Stream(s.load, size)
	must(s.t, err)
	during()
	got, err := stream.Stop()
	must(s.t, err)
	return got
}

// rest measures the link and the server without an assault.
func (s *siege) rest(lasts time.Duration) (lab.Streamed, lab.Usage) {
	s.t.Helper()
	streamed := s.stream(func() { time.Sleep(lasts) })
	u, err := s.server.Usage()
	must(s.t, err)
	s.t.Logf("at rest: %d MB, %d descriptors; %.1f of %.1f Mbit/s arrive, %.2f %% lost",
		u.Memory>>20, u.Files, streamed.Goodput()/1e6, streamed.Offered()/1e6, 100*streamed.Lost())
	return streamed, u
}

// outcome is what was seen of an assault.
type outcome struct {
	name       string
	say        string
	tally      tally // of the assailants
	took       time.Duration
	stall      time.Duration // the longest for which the machine stood still
	rest, link lab.Streamed  // before and meanwhile
	memory     int64         // of the server: the most by which it grew
	files      int           // likewise
	unread     []int64       // bytes that wait in its sockets, sorted
	cpu        time.Duration
	warnings   int
	answered   []time.Duration // how long honest callers take
	linked     []time.Duration
	near       []time.Duration // from the assailants' network
	vain       int             // calls that failed
	vainNear   int
}

// stand lives through one assault: the first part with the link under load and an
// honest caller that is answered; for the second the client is stopped, so that
// the caller can be the link, again and again.
func (s *siege) stand(name string, a assault, lasts time.Duration) {
	s.t.Helper()
	a.To = netip.AddrPortFrom(serverOuter, outerPort)
	if !a.From.IsValid() {
		a.From = onePrefix
	}
	for a.Say == sayRecorded && len(a.Flights) < 64 {
		a.Flights = append(a.Flights, s.record())
	}
	o := outcome{name: name, say: a.Say}
	var before lab.Usage
	o.rest, before = s.rest(lasts / 4)
	s.resetPeak()
	warnings, start, standstill := s.warnings(), time.Now(), lab.Standstill()
	enemies := s.send(a)
	watched := s.watch(&o)
	o.link = s.stream(func() { o.answered = s.callFor(lasts) })
	s.client.stop()
	o.linked = s.calls(s.links, s.honest.ns, netip.Addr{}, true)
	o.vain, s.vain = s.vain, 0
	o.near = s.calls(20, s.enemy, onePrefix.Addr().Next(), true)
	o.vainNear, s.vain = s.vain, 0
	watched()
	o.memory = s.peak() - s.before.Memory
	after, err := s.server.Usage()
	must(s.t, err)
	o.cpu = after.CPU - before.CPU
	o.tally = s.end(enemies)
	o.took, o.stall = time.Since(start), standstill()
	o.warnings = s.warnings() - warnings
	s.t.Log(o)
	o.check(s.t)
	s.client.start()
	s.lengthenQueue()
	s.server.until("up again", isUp)
}

// watch looks at the server, again and again, until the function that it returns
// is called.
func (s *siege) watch(o *outcome) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	look := func() {
		if u, err := s.server.Usage(); err == nil {
			o.files = max(o.files, u.Files-s.before.Files)
		}
		if n, err := s.unread(); err == nil {
			o.unread = append(o.unread, n)
		}
	}
	go func() {
		defer close(done)
		for {
			look()
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() {
		close(stop)
		<-done
		slices.Sort(o.unread)
	}
}

// kept is how much the kernel keeps for the server most of the time.
func (o outcome) kept() int64 { return o.unread[len(o.unread)/2] }

// String returns the figures.
func (o outcome) String() string {
	mb := func(n int64) float64 { return float64(n) / (1 << 20) }
	mbit := func(bits float64) float64 { return bits / 1e6 }
	return fmt.Sprintf("%s: %d callers in %v, %d failed, heard %d bytes\n", o.name, o.tally.Called, o.tally.Elapsed.Round(time.Second/10), o.tally.Failed, o.tally.Heard) +
		fmt.Sprintf("  server %+.1f MB and %d descriptors, kernel %.1f MB (at times %.1f), %.0f %% CPU, %d warnings\n", mb(o.memory), o.files, mb(o.kept()), mb(o.unread[len(o.unread)-1]), 100*o.cpu.Seconds()/o.took.Seconds(), o.warnings) +
		fmt.Sprintf("  link %.1f of %.1f Mbit/s, %.2f %% lost, at rest %.2f %%\n", mbit(o.link.Goodput()), mbit(o.link.Offered()), 100*o.link.Lost(), 100*o.rest.Lost()) +
		fmt.Sprintf("  honest callers: p99 %v of %d answered, %v of %d linked, %d calls in vain; from the same network %v of %d, %d in vain", p99(o.answered), len(o.answered), p99(o.linked), len(o.linked), o.vain, p99(o.near), len(o.near), o.vainNear)
}

// check compares the figures with the goals.
func (o outcome) check(t *testing.T) {
	t.Helper()
	const causes, every = 7, 10 * time.Second // of warnings
	wait := p99(append(o.answered, o.linked...))
	for _, goal := range []struct {
		met  bool
		what string
	}{
		{o.tally.Called >= 100, "there was no assault"},
		{o.tally.Heard == 0 || o.say == sayFresh, fmt.Sprintf("strangers heard %d bytes", o.tally.Heard)},
		{o.memory+o.kept() <= mostMemory, fmt.Sprintf("memory grew by %d bytes and %d in the kernel, more than %d", o.memory, o.kept(), mostMemory)},
		{o.files <= mostFiles, fmt.Sprintf("%d descriptors more, the limit is %d", o.files, mostFiles)},
		{o.link.Lost()-o.rest.Lost() <= mostLost+o.stall.Seconds()/o.took.Seconds(), fmt.Sprintf("the link lost %.2f %%, without assault %.2f %%", 100*o.link.Lost(), 100*o.rest.Lost())},
		{wait <= mostWait+10*o.stall, fmt.Sprintf("honest callers wait %v; the machine stood still for %v", wait, o.stall)},
		{o.warnings <= causes*(2+int(o.took/every)), fmt.Sprintf("%d warnings in the log in %v", o.warnings, o.took)},
	} {
		if !goal.met {
			t.Errorf("%s: %s", o.name, goal.what)
		}
	}
}

// send starts the assailants.
func (s *siege) send(a assault) *lab.Process {
	s.t.Helper()
	text, err := json.Marshal(a)
	must(s.t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), assaultEnv+"="+string(text), "GORACE=atexit_sleep_ms=0")
	p, err := s.enemy.Start(cmd)
	must(s.t, err)
	return p
}

// end ends them and returns their tally.
func (s *siege) end(p *lab.Process) (out tally) {
	s.t.Helper()
	_ = p.Signal(syscall.SIGTERM) // one that is gone has an exit code that tells
	code, err := p.Wait(s.t.Context())
	must(s.t, err)
	if code != 0 {
		s.t.Fatalf("assailants: exit code %d\n%s", code, p.Stderr)
	}
	if text := p.Stderr.String(); text != "" {
		s.t.Logf("assailants: %s", text)
	}
	must(s.t, json.Unmarshal([]byte(p.Stdout.String()), &out))
	return out
}

// warnings counts the lines about callers in the server's log.
func (s *siege) warnings() int {
	return strings.Count(s.server.Stderr.String(), `msg="caller refused"`)
}

// unread returns how many bytes wait in the sockets of the server, see proc(5).
func (s *siege) unread() (sum int64, err error) {
	var table []byte
	err = s.server.ns.Do(func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/tcp6")
		return err
	})
	for line := range strings.Lines(string(table)) {
		var n int64
		f := strings.Fields(line) // sl, local, remote, state, tx_queue:rx_queue, ...
		if len(f) < 5 || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", outerPort)) || f[3] == "0A" {
			continue // of a listener it is the length of its queue
		}
		if _, err := fmt.Sscanf(f[4][9:], "%X", &n); err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, err
}

// resetPeak makes the kernel forget the most memory that the server had.
func (s *siege) resetPeak() {
	s.t.Helper()
	must(s.t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.server.PID()), []byte("5"), 0))
}

// peak returns the most resident memory since resetPeak.
func (s *siege) peak() int64 {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.server.PID()))
	must(s.t, err)
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kb int64
	_, err = fmt.Sscan(rest, &kb)
	must(s.t, err)
	return kb << 10
}
