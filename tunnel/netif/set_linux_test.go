package netif

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// foreignDump returns the dump of a namespace in which a scenario plays without
// us.
func foreignDump(t *testing.T, sections []section) string {
	var text string
	t.Run("foreign", func(t *testing.T) {
		n := newNamespace(t)
		for _, sec := range sections {
			if sec.name == "host" {
				n.edit(sec.text)
			}
		}
		text = n.dump()
	})
	return text
}

// TestNamespaceScenarios plays the scenarios on the real kernel: the same steps
// must lead to the same end as on the kernel in memory.
func TestNamespaceScenarios(t *testing.T) {
	forScenarios(t, func(t *testing.T, file string, sections []section) {
		if slices.ContainsFunc(sections, func(s section) bool { return s.name == "reboot" }) {
			return // nothing to see: a real reboot takes the namespace along
		}
		want := foreignDump(t, sections)
		n := newNamespace(t)
		s := newScenario(t, n.kernel(), n.edit)
		s.play(t, sections)
		if diff := cmp.Diff(want, n.dump()); diff != "" {
			t.Errorf("namespace before and after:\n%s", diff)
		}
	})
}

// TestNamespaceKilled kills the process before and after each step on the real
// kernel.
func TestNamespaceKilled(t *testing.T) {
	n := newNamespace(t)
	n.edit(`link eth0 1500 up
link vpn0 1500 down
addr eth0 192.0.2.2/24
addr vpn0 10.9.9.9/32
addr vpn0 fd09::9/64
route 0.0.0.0/0 dev eth0 via 192.0.2.1 metric 100
route 10.4.0.0/16 dev eth0
`)
	before := n.dump()
	for moment := 1; ; moment++ {
		s := newScenario(t, n.kernel(), n.edit)
		killed := s.killedAt(moment, func() { liveOnce(t, s.set) })
		s.open(t)
		if diff := cmp.Diff(before, n.dump()); diff != "" {
			t.Fatalf("killed at moment %d, namespace before and after the sweep:\n%s", moment, diff)
		}
		s.close(t)
		if !killed {
			break
		}
	}
}

// liveOnce does a bit of everything.
func liveOnce(t *testing.T, s *Set) {
	state := parseState(`mtu 1300
addr 10.0.0.1 10.0.0.2
addr fd00::1 fd00::2
autoroute
route 0.0.0.0/0
route fd01::/64 via fd00::2
route 10.3.0.0/24 via 192.0.2.254
outer 198.51.100.7
`)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(s.Apply("vpn0", state))
	state.Routes[1].Gateway = state.Routes[2].Source
	state.MTU = 1000
	state.Addrs = state.Addrs[:1]
	state.Routes = state.Routes[:1]
	check(s.Apply("vpn0", state))
	check(s.Close())
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestPreparedByRoot runs as an ordinary user on a device that root has made
// ready: first completely, then with something missing.
func TestPreparedByRoot(t *testing.T) {
	n := newNamespace(t)
	n.persistent("vpn0", netlink.TUNTAP_MODE_TUN, netlink.TUNTAP_NO_PI)
	n.edit(`link eth0 1500 up
addr eth0 192.0.2.2/24
route 0.0.0.0/0 dev eth0 via 192.0.2.1 metric 100
route 198.51.100.7/32 dev eth0 via 192.0.2.1
link vpn0 1400 up
addr vpn0 10.0.0.1/32 peer 10.0.0.2
addr vpn0 fd00::1/128 peer fd00::2
route 0.0.0.0/0 dev vpn0
`)
	before := n.dump()
	dir := t.TempDir()
	state := parseState(`mtu 1400
addr 10.0.0.1 10.0.0.2
addr fd00::1 fd00::2
autoroute
route 0.0.0.0/0
outer 198.51.100.7
`)
	asNobody(t, func() {
		s, err := Open(dir, "x", discard())
		check(t, err)
		check(t, s.Apply("vpn0", state))
		check(t, s.Pin(state.Outer[0]))
		state.Routes = append(state.Routes, parseState("route 10.9.0.0/16\n").Routes...)
		err = s.Apply("vpn0", state)
		if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "ip route add 10.9.0.0/16 dev vpn0") || !strings.Contains(err.Error(), dir) {
			t.Errorf("a directory that only root may write: %v", err)
		}
		check(t, s.Close())
	})
	check(t, os.Chmod(dir, 0o777))
	check(t, os.Chmod(filepath.Dir(dir), 0o755))
	asNobody(t, func() {
		s, err := Open(dir, "x", discard())
		check(t, err)
		err = s.Apply("vpn0", state)
		if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "run as root (CAP_NET_ADMIN), or let root do it: ip route add 10.9.0.0/16 dev vpn0") {
			t.Errorf("a route that only root may add: %v", err)
		}
		check(t, s.Close())
	})
	wantFiles(t, dir)
	if diff := cmp.Diff(before, n.dump()); diff != "" {
		t.Errorf("namespace before and after:\n%s", diff)
	}
}

// TestKilledOnPersistent is the whole story on a persistent device, with the
// file descriptor closed by death: what is ours goes, what is not stays.
func TestKilledOnPersistent(t *testing.T) {
	n := newNamespace(t)
	n.persistent("vpn0", netlink.TUNTAP_MODE_TUN, netlink.TUNTAP_NO_PI)
	n.edit(`link eth0 1500 up
addr eth0 192.0.2.2/24
route 0.0.0.0/0 dev eth0 via 192.0.2.1 metric 100
link vpn0 1420 down
addr vpn0 10.9.9.9/32
`)
	before := n.dump()
	dir := t.TempDir()
	dev, _, err := OpenTUN("vpn0")
	check(t, err)
	s, err := Open(dir, "x", discard())
	check(t, err)
	check(t, s.Apply("vpn0", parseState("mtu 1300\naddr 10.0.0.1 10.0.0.2\nroute 0.0.0.0/0\nouter 198.51.100.7\n")))
	if n.dump() == before {
		t.Fatal("nothing was installed")
	}
	s.store.lock.Close()
	check(t, dev.Close())

	s, err = Open(dir, "x", discard())
	check(t, err)
	if diff := cmp.Diff(before, n.dump()); diff != "" {
		t.Errorf("namespace before and after:\n%s", diff)
	}
	check(t, s.Close())
	wantFiles(t, dir)
}

// TestSideBySide runs two instances with the same server. Each takes away what
// is its own, whoever dies.
func TestSideBySide(t *testing.T) {
	n := newNamespace(t)
	n.edit(`link eth0 1500 up
addr eth0 192.0.2.2/24
route 0.0.0.0/0 dev eth0 via 192.0.2.1 metric 100
link vpn0 1500 down
link vpn1 1500 down
`)
	empty := n.dump()
	dir := t.TempDir()
	start := func(name, dev, state string) *Set {
		s, err := Open(dir, name, discard())
		check(t, err)
		check(t, s.Apply(dev, parseState(state)))
		return s
	}
	startA := func() *Set {
		return start("a", "vpn0", "addr 10.0.0.1 10.0.0.2\nroute 0.0.0.0/1\nouter 198.51.100.7\nroute 198.51.0.0/16\n")
	}
	a := startA()
	onlyA := n.dump()
	check(t, a.Close())
	b := start("b", "vpn1", "addr 10.1.0.1 10.1.0.2\nroute 128.0.0.0/1\nouter 198.51.100.7\n")
	onlyB := n.dump()

	a = startA()
	a.store.lock.Close() // killed
	a, err := Open(dir, "a", discard())
	check(t, err)
	if diff := cmp.Diff(onlyB, n.dump()); diff != "" {
		t.Errorf("a was killed and started again, b had:\n%s", diff)
	}
	check(t, a.Close())
	a = startA()
	check(t, b.Close())
	if diff := cmp.Diff(withoutMetric(onlyA), withoutMetric(n.dump())); diff != "" {
		t.Errorf("b was closed, a had:\n%s", diff)
	}
	check(t, a.Close())
	if diff := cmp.Diff(empty, n.dump()); diff != "" {
		t.Errorf("both closed:\n%s", diff)
	}
	wantFiles(t, dir)
}

// withoutMetric levels the metric of pins, which depends on who came first.
func withoutMetric(dump string) string {
	return strings.ReplaceAll(dump, "metric 29999", "metric 30000")
}

// TestDeviceGone closes the device before the Set.
func TestDeviceGone(t *testing.T) {
	n := newNamespace(t)
	n.edit("link eth0 1500 up\naddr eth0 192.0.2.2/24\nroute 0.0.0.0/0 dev eth0 via 192.0.2.1 metric 100\n")
	before := n.dump()
	dev := n.openTUN("vpn0")
	s, err := Open(t.TempDir(), "x", discard())
	check(t, err)
	check(t, s.Apply("vpn0", parseState("addr 10.0.0.1 10.0.0.2\nroute 0.0.0.0/0\nouter 198.51.100.7\n")))
	check(t, dev.Close())
	check(t, s.Close())
	if diff := cmp.Diff(before, n.dump()); diff != "" {
		t.Errorf("namespace before and after:\n%s", diff)
	}
}

// TestWays pins by ways of all kinds that Linux has.
func TestWays(t *testing.T) {
	for _, c := range []struct{ name, way, want string }{
		{"on link", "onlink via 172.31.1.1 dev eth0", "198.51.100.7/32 via 172.31.1.1 dev eth0 onlink metric 30000"},
		{"source", "via 192.0.2.1 dev eth0 src 192.0.2.2", "198.51.100.7/32 via 192.0.2.1 dev eth0 src 192.0.2.2 metric 30000"},
		{"ipv6 gateway", "via 2001:db8::9 dev eth0", "198.51.100.7/32 via 2001:db8::9 dev eth0 metric 30000"},
		{"device", "dev eth0", "198.51.100.7/32 dev eth0 metric 30000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNamespace(t)
			n.edit("link eth0 1500 up\naddr eth0 192.0.2.2/24\naddr eth0 2001:db8::2/64\nlink vpn0 1500 up\n")
			n.edit("route 0.0.0.0/0 metric 100 " + c.way + "\n")
			before := n.dump()
			s, err := Open(t.TempDir(), "x", discard())
			check(t, err)
			check(t, s.Apply("vpn0", parseState("route 0.0.0.0/0\nouter 198.51.100.7\n")))
			h := n.host()
			pin, ok := best(h.routes, s.want.Outer[0], all)
			if dev, _ := h.link(pin.Dev); !ok || pin.text(dev) != c.want {
				t.Errorf("pin %s, want %s", pin.text(dev), c.want)
			}
			check(t, s.Pin(s.want.Outer[0]))
			check(t, s.Close())
			if diff := cmp.Diff(before, n.dump()); diff != "" {
				t.Errorf("namespace before and after:\n%s", diff)
			}
		})
	}
}

// TestMultipath takes the first hop that is alive.
func TestMultipath(t *testing.T) {
	n := newNamespace(t)
	n.edit("link eth0 1500 up\naddr eth0 192.0.2.2/24\nlink eth1 1500 up\naddr eth1 203.0.113.2/24\nlink vpn0 1500 up\n")
	h := n.host()
	n.check(n.nl.RouteAdd(&netlink.Route{
		Dst:      toNet(netip.MustParsePrefix("0.0.0.0/0")),
		Priority: 100,
		MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: h.index("eth0"), Gw: []byte{192, 0, 2, 1}},
			{LinkIndex: h.index("eth1"), Gw: []byte{203, 0, 113, 1}},
		},
	}))
	s, err := Open(t.TempDir(), "x", discard())
	check(t, err)
	check(t, s.Apply("vpn0", parseState("route 0.0.0.0/0\n")))
	server := parseState("outer 198.51.100.7\n").Outer[0]
	for _, want := range []string{"192.0.2.1", "203.0.113.1"} {
		check(t, s.Pin(server))
		if pin, _ := best(n.host().routes, server, all); pin.Gateway.String() != want {
			t.Errorf("pin via %s, want %s", pin.Gateway, want)
		}
		n.edit("link eth0 1500 down\n")
	}
	check(t, s.Close())
}

// TestTypeOfService: a route for some packets only is no way to the server.
func TestTypeOfService(t *testing.T) {
	n := newNamespace(t)
	n.edit("link eth0 1500 up\naddr eth0 192.0.2.2/24\nlink vpn0 1500 up\n")
	n.check(n.nl.RouteAdd(&netlink.Route{Dst: toNet(netip.MustParsePrefix("0.0.0.0/0")), Gw: []byte{192, 0, 2, 1}, Tos: 16}))
	s, err := Open(t.TempDir(), "x", discard())
	check(t, err)
	err = s.Apply("vpn0", parseState("route 0.0.0.0/0\nouter 198.51.100.7\n"))
	if err == nil || !strings.Contains(err.Error(), "no other way") {
		t.Errorf("apply: %v", err)
	}
	check(t, s.Close())
}

func TestDumpInterrupted(t *testing.T) {
	for times, works := range map[int]bool{0: true, maxDumps - 1: true, maxDumps: false} {
		calls := 0
		items, err := dump(func() ([]int, error) {
			if calls++; calls <= times {
				return nil, netlink.ErrDumpInterrupted
			}
			return []int{7}, nil
		})
		if works != (err == nil) || works && len(items) != 1 {
			t.Errorf("interrupted %d times: %v, %v", times, items, err)
		}
	}
	failure := errors.New("failure")
	if _, err := dump(func() ([]int, error) { return nil, failure }); err != failure {
		t.Errorf("error %v", err)
	}
}

// TestDescriptors: a Set holds nothing open when it is closed or never was.
func TestDescriptors(t *testing.T) {
	newNamespace(t)
	dir := t.TempDir()
	child := hold(t, dir)
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		check(t, err)
		return len(fds)
	}
	before := count()
	for range 5 {
		s, err := Open(dir, "y", discard())
		check(t, err)
		check(t, s.Close())
		if _, err := Open(dir, "x", discard()); err == nil {
			t.Error("two hold one instance")
		}
		if _, _, err := OpenTUN("lo"); err == nil {
			t.Error("lo is a TUN device")
		}
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
	check(t, child.Process.Kill())
	child.Wait()
}

func TestExplain(t *testing.T) {
	v4 := hostRoute{Dest: netip.MustParsePrefix("10.0.0.0/8")}
	v6 := hostRoute{Dest: netip.MustParsePrefix("fd00::/8")}
	addr6 := hostAddr{Local: netip.MustParsePrefix("fd00::1/128")}
	for _, c := range []struct {
		step step
		err  syscall.Errno
		want error
		text string
	}{
		{step{op: opDelRoute, route: v4}, unix.ESRCH, nil, ""},
		{step{op: opDelAddr, addr: addr6}, unix.EADDRNOTAVAIL, nil, ""},
		{step{op: opDelAddr, addr: addr6}, unix.ENXIO, nil, ""},
		{step{op: opDelRoute, route: v4}, unix.EPERM, ErrPermission, "operation not permitted"},
		{step{op: opDelRoute, route: v4}, unix.EINVAL, unix.EINVAL, "invalid argument"},
		{step{op: opAddRoute, route: v4}, unix.ESRCH, unix.ESRCH, "no such process"},
		{step{op: opAddRoute, route: v4}, unix.EEXIST, errChanged, "file exists"},
		{step{op: opUp}, unix.ENODEV, errChanged, "no such device"},
		{step{op: opAddRoute, route: v4}, unix.ENETDOWN, errChanged, "network is down"},
		{step{op: opAddRoute, route: v6}, unix.EACCES, unix.EACCES, "IPv6 is disabled"},
		{step{op: opAddAddr, addr: addr6}, unix.EOPNOTSUPP, unix.EOPNOTSUPP, "IPv6 is disabled"},
		{step{op: opAddRoute, route: v4}, unix.EACCES, unix.EACCES, "permission denied"},
		{step{op: opAddAddr, addr: addr6}, unix.EINVAL, unix.EINVAL, "invalid argument"},
	} {
		err := explain(c.err, c.step)
		if !errors.Is(err, c.want) || c.want != nil && !strings.HasPrefix(strings.TrimPrefix(err.Error(), c.want.Error()+": "), c.text) {
			t.Errorf("%s of %v: %v", c.step, c.err, err)
		}
	}
}

func TestIPv6Disabled(t *testing.T) {
	n := newNamespace(t)
	n.edit("link vpn0 1500 down\n")
	before := n.dump()
	check(t, os.WriteFile("/proc/sys/net/ipv6/conf/vpn0/disable_ipv6", []byte("1"), 0))
	s, err := Open(t.TempDir(), "x", discard())
	check(t, err)
	err = s.Apply("vpn0", parseState("addr 10.0.0.1 10.0.0.2\naddr fd00::1 fd00::2\n"))
	if err == nil || !strings.Contains(err.Error(), "IPv6 is disabled") || errors.Is(err, ErrPermission) {
		t.Errorf("apply: %v", err)
	}
	if diff := cmp.Diff(before, n.dump()); diff != "" {
		t.Errorf("left half installed:\n%s", diff)
	}
	check(t, s.Close())
}

// TestKernelErrors: a step that the kernel refuses half way is undone.
func TestKernelErrors(t *testing.T) {
	n := newNamespace(t)
	n.edit("link vpn0 1500 down\n")
	s, err := Open(t.TempDir(), "x", discard())
	check(t, err)
	check(t, s.Apply("vpn0", parseState("mtu 1400\naddr 10.0.0.1 10.0.0.2\n")))
	before := n.dump()
	err = s.Apply("vpn0", parseState("mtu 99999999\naddr 10.0.0.1 10.0.0.9\n"))
	if err == nil || !strings.Contains(err.Error(), "ip link set dev vpn0 mtu 99999999") {
		t.Errorf("apply: %v", err)
	}
	if diff := cmp.Diff(before, n.dump()); diff != "" {
		t.Errorf("left half installed:\n%s", diff)
	}
	check(t, s.Close())
}

func TestPlace(t *testing.T) {
	newNamespace(t)
	one := currentPlace()
	if one != currentPlace() {
		t.Error("the place of one namespace changes")
	}
	newNamespace(t)
	if one == currentPlace() {
		t.Errorf("two namespaces are the same place: %s", one)
	}
}
