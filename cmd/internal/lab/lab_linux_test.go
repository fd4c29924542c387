package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestMissingAsOrdinaryUser(t *testing.T) {
	n := newNamespaceIn(t, newLab(t), "a")
	cmd := actor("missing")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	p, err := n.Start(cmd)
	check(t, err)
	code, err := p.Wait(timeout(t))
	check(t, err)
	text := p.Stderr.String()
	if code != 1 || !strings.Contains(text, "network namespaces (uid 65534: enter namespace: operation not permitted): run as root") {
		t.Errorf("exit code %d: %s", code, text)
	}
}

func TestProbeTUN(t *testing.T) {
	check(t, probeTUN(tunDevice))
	err := probeTUN(filepath.Join(t.TempDir(), "tun"))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "mknod") {
		t.Errorf("absent: %v", err)
	}
	if err := probeTUN(t.TempDir()); err == nil { // a directory cannot be written
		t.Error("a directory passed")
	}
}

// TestCloseLeavesNothing counts what a lab could leave behind, after each
// way to end it. It does so in a namespace that stands for the host, so that
// others who work there do not disturb.
func TestCloseLeavesNothing(t *testing.T) {
	host := newNamespaceIn(t, newLab(t), "host")
	t.Setenv("TMPDIR", t.TempDir())
	check(t, host.Do(func() error {
		testCloseLeavesNothing(t)
		return nil
	}))
}

func testCloseLeavesNothing(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would close what was forgotten
	before := inventory(t)
	ends := []struct {
		name string
		end  func(l *Lab)
	}{
		{"close", func(l *Lab) { check(t, l.Close()) }},
		{"panic", func(l *Lab) {
			defer func() { _ = recover() }()
			defer l.Close()
			panic("on purpose")
		}},
	}
	for _, tt := range ends {
		l, err := New()
		check(t, err)
		left := furnish(t, l)
		tt.end(l)
		if err := waitGone(left, 0); err != nil {
			t.Errorf("daemon that nobody adopted, after %s: %v", tt.name, err)
		}
		check(t, left.Release())
		check(t, l.Close()) // once more
	}
	check(t, poll(timeout(t), func() error {
		for what, n := range inventory(t) {
			if n > before[what] {
				return fmt.Errorf("%d %s, were %d", n, what, before[what])
			}
		}
		return nil
	}))
}

// furnish builds one of everything and leaves it running. It returns a
// daemon that nobody adopted.
func furnish(t *testing.T, l *Lab) *os.Process {
	t.Helper()
	a, b := newNamespaceIn(t, l, "a"), newNamespaceIn(t, l, "b")
	p, err := l.Path(a, b, Prefixes("192.0.2.1/24"), Prefixes("198.51.100.1/24"))
	check(t, err)
	ln, err := b.Listen(netip.MustParseAddrPort("198.51.100.1:0"))
	check(t, err)
	defer ln.Close()
	r, err := p.Router.Relay(netip.MustParseAddrPort("192.0.2.2:0"), netip.MustParseAddrPort(ln.Addr().String()))
	check(t, err)
	client, err := a.Dial(timeout(t), netip.Addr{}, r.Addr())
	check(t, err)
	defer client.Close()

	serve(t, a)
	self, err := os.Executable()
	check(t, err)
	_, err = a.Adopt(timeout(t), detach(t, l, a), self)
	check(t, err)
	var left *os.Process
	pidfile := detach(t, l, b)
	check(t, poll(timeout(t), func() error {
		left, err = b.findByPidfile(pidfile, self)
		return err
	}))
	return left
}

// inventory counts what a lab uses of the host and of this process.
func inventory(t *testing.T) map[string]int {
	t.Helper()
	links, err := netlink.LinkList()
	check(t, err)
	dirs, err := os.ReadDir(os.TempDir())
	check(t, err)
	fds, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return map[string]int{
		"links":       len(links),
		"directories": len(dirs),
		"descriptors": len(fds),
		"goroutines":  runtime.NumGoroutine(),
	}
}

func TestLabsDoNotCollide(t *testing.T) {
	for range 3 {
		r := newRoute(t)
		_, err := r.a.Ping(timeout(t), netip.MustParseAddr("198.51.100.1"), PingOptions{Count: 1})
		check(t, err)
	}
}
