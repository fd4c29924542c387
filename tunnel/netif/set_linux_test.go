package netif

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
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
			return // this one only the kernel in memory can play
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
	check(t, s.Apply("vpn0", state))
	state.Routes[1].Gateway = netip.Addr{}
	check(t, s.Apply("vpn0", state))
	state.MTU = 1000
	state.Addrs = state.Addrs[:1]
	state.Routes = state.Routes[:1]
	check(t, s.Apply("vpn0", state))
	check(t, s.Close())
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

// TestKernelErrors: a state that the kernel refuses leaves the one before.
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
