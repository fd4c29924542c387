package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
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
	before := inventory(t)
	var inodes []string
	use := func(l *Lab) {
		a, stray := furnish(t, l)
		inodes = append(inodes, inode(t, a), stray)
	}
	ends := []struct {
		name string
		run  func(l *Lab)
	}{
		{"close", func(l *Lab) { use(l) }},
		{"panic", func(l *Lab) {
			defer func() { _ = recover() }()
			defer l.Close()
			use(l)
			panic("on purpose")
		}},
		{"empty", func(*Lab) {}},
	}
	for _, tt := range ends {
		l, err := New()
		check(t, err)
		tt.run(l)
		check(t, l.Close())
		check(t, l.Close())
		if _, err := os.Stat(l.Dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("directory after %s: %v", tt.name, err)
		}
	}
	check(t, poll(timeout(t), func() error {
		for what, n := range inventory(t) {
			if n > before[what] {
				return fmt.Errorf("%d %s, were %d", n, what, before[what])
			}
		}
		return nil
	}))
	for _, name := range namespacesInUse(t) {
		for _, gone := range inodes {
			if name == gone {
				t.Errorf("namespace %s is still in use", name)
			}
		}
	}
}

// furnish builds one of everything and leaves it running. It returns a
// namespace, and the inode of one that holds a daemon nobody adopted.
func furnish(t *testing.T, l *Lab) (*Namespace, string) {
	t.Helper()
	a, b := newNamespaceIn(t, l, "a"), newNamespaceIn(t, l, "b")
	p, err := l.Path(a, b, Prefixes("192.0.2.1/24"), Prefixes("198.51.100.1/24"))
	check(t, err)
	serve(t, a)
	ln, err := b.Listen(netip.MustParseAddrPort("198.51.100.1:0"))
	check(t, err)
	defer ln.Close()
	r, err := p.Router.Relay(netip.MustParseAddrPort("192.0.2.2:0"), netip.MustParseAddrPort(ln.Addr().String()))
	check(t, err)
	client, err := a.Dial(timeout(t), netip.Addr{}, r.Addr())
	check(t, err)
	defer client.Close()

	self, err := os.Executable()
	check(t, err)
	for _, ns := range []*Namespace{a, b} {
		pidfile := filepath.Join(l.Dir(), ns.Name())
		parent, err := ns.Start(actor("detach", pidfile))
		check(t, err)
		_, err = parent.Wait(timeout(t))
		check(t, err)
	}
	_, err = a.Adopt(timeout(t), filepath.Join(l.Dir(), a.Name()), self)
	check(t, err)
	return a, inode(t, b)
}

// inventory lists what a lab uses of the host.
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

func inode(t *testing.T, n *Namespace) string {
	t.Helper()
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", int(n.fd)))
	check(t, err)
	return name
}

// namespacesInUse returns those of all threads and of our descriptors.
func namespacesInUse(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"/proc/[0-9]*/task/[0-9]*/ns/net", "/proc/self/fd/*"} {
		paths, err := filepath.Glob(pattern)
		check(t, err)
		for _, p := range paths {
			if name, err := os.Readlink(p); err == nil {
				names = append(names, name)
			}
		}
	}
	return names
}

func TestLabsDoNotCollide(t *testing.T) {
	for range 3 {
		r := newRoute(t)
		_, err := r.a.Ping(timeout(t), netip.MustParseAddr("198.51.100.1"), PingOptions{Count: 1})
		check(t, err)
	}
}
