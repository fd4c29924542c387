package main

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
	"vpnd/cmd/internal/meshlab"
	"vpnd/tunnel/netif"
)

// rewrite changes the network file.
func (w *world) rewrite(old, new string) {
	w.t.Helper()
	text, err := os.ReadFile(w.Path("networks"))
	must(w.t, err)
	if !strings.Contains(string(text), old) {
		w.t.Fatalf("no %q in %s", old, text)
	}
	must(w.t, os.WriteFile(w.Path("networks"), []byte(strings.Replace(string(text), old, new, 1)), 0o600))
}

// reaches waits until a gateway reaches an address.
func (w *world) reaches(what string, from *meshlab.Site, to netip.Addr) {
	w.t.Helper()
	if _, err := from.Gateway.WaitPing(w.ctx, to, 50*time.Millisecond); err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

// TestForeignRoute has a host with a route that is in the way of one network: the others
// are reached all the same, and withdrawn ones go.
func TestForeignRoute(t *testing.T) {
	w := newWorld(t, meshlab.Config{Sites: 3, Bare: true})
	one, two, three := w.Sites[0], w.Sites[1], w.Sites[2]
	must(t, one.Gateway.Do(func() error {
		dst := net.IPNet{IP: two.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}
		return netlink.RouteAdd(&netlink.Route{Dst: &dst, Type: unix.RTN_UNREACHABLE})
	}))
	w.start()
	w.reaches("a network that is not concerned", one, three.Addr())
	w.until(one, "told of the conflict", func(r report) bool {
		return len(r.Conflicts) == 1 && strings.Contains(r.Conflicts[0], "net2 is not reached")
	})
	if _, err := three.Kill(w.ctx, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	w.until(one, "without the network that has left", func(report) bool { return !w.hasRoute(one, three) })
}

// TestOuterAddressInOwnNetwork has a gateway whose outer address is in its own public
// network, and another one with its inner address on lo.
func TestOuterAddressInOwnNetwork(t *testing.T) {
	w := newWorld(t, meshlab.Config{Sites: 2, Bare: true})
	w.rewrite("subnet=10.77.1.1/32", "subnet=198.18.1.0/24\n    inner=198.18.1.2")
	one, two := w.Sites[0], w.Sites[1]
	must(t, two.Gateway.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		addr, _ := netlink.ParseAddr(two.Subnet().String())
		return netlink.AddrAdd(lo, addr)
	}))
	w.start()
	w.until(two, "linked", func(r report) bool { return r.peer(one.Name).State == "up" && len(r.Conflicts) == 0 })
	w.until(one, "linked", func(r report) bool { return r.peer(two.Name).State == "up" && len(r.Conflicts) == 0 })
	w.reaches("to lo", one, two.Addr())
	w.reaches("from lo", two, netip.MustParseAddr("198.18.1.2"))
}

// TestNexusInTheMesh has nexus in one of the networks: it is asked outside of the mesh, also
// after a gateway moved, when the link to that network is down.
func TestNexusInTheMesh(t *testing.T) {
	w := newWorld(t, meshlab.Config{Sites: 3, Bare: true})
	one, two := w.Sites[0], w.Sites[1]
	w.rewrite("subnet=10.77.2.1/32", "subnet=10.77.2.1/32\n    subnet=192.0.2.0/24")
	must(t, two.Gateway.Forward(true))
	w.start()
	w.paths("start", startLimit)
	ask := func() {
		t.Helper()
		must(t, one.Again(w.ctx))
		w.until(one, "seen from outside", func(r report) bool {
			return r.Seen == one.Outer() && r.Endpoint.Addr() == one.Outer() && r.Error == "" && len(r.Conflicts) == 0
		})
	}
	ask()
	must(t, one.Move())
	ask()
	w.reaches("after a move", one, two.Addr())
}

// TestNexusIsANetwork has nexus as a network by itself, by mistake: gateways go on asking, and
// learn that it was mended.
func TestNexusIsANetwork(t *testing.T) {
	w := newWorld(t, meshlab.Config{Sites: 2, Bare: true})
	one := w.Sites[0]
	w.start()
	w.paths("start", startLimit)
	w.rewrite("subnet=10.77.2.1/32", "subnet=10.77.2.1/32\n    subnet=192.0.2.2/32")
	must(t, one.Again(w.ctx))
	w.until(one, "told of the conflict", func(r report) bool {
		return len(r.Conflicts) == 1 && strings.HasPrefix(r.Conflicts[0], "192.0.2.2/32 of net2 is not reached: nexus")
	})
	must(t, one.Again(w.ctx))
	w.until(one, "registered", func(r report) bool { return r.Error == "" })
	w.rewrite("subnet=192.0.2.2/32", "subnet=192.0.2.0/24")
	must(t, one.Again(w.ctx))
	w.until(one, "told that it was mended", func(r report) bool {
		return r.Error == "" && len(r.Conflicts) == 0 && slices.Contains(r.Peers[0].Routes, netip.MustParsePrefix("192.0.2.0/24"))
	})
}

// TestInterfaceGone deletes the interface of a gateway, which ends: nexus is told, and the
// other one does not wait for the end of the lease.
func TestInterfaceGone(t *testing.T) {
	w := newWorld(t, meshlab.Config{Sites: 2, Bare: true})
	one, two := w.Sites[0], w.Sites[1]
	w.start()
	w.paths("start", startLimit)
	must(t, two.Gateway.Do(func() error {
		l, err := netlink.LinkByName("vpn0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	}))
	if code, err := two.Process.Wait(w.ctx); err != nil || code != exit.Unavailable {
		t.Errorf("code %d, %v", code, err)
	}
	w.until(one, "without the one that has left", func(report) bool { return !w.hasRoute(one, two) })
}

// TestWay keeps a way to nexus while the interface is there, and after that.
func TestWay(t *testing.T) {
	l, err := lab.New()
	must(t, err)
	defer l.Close()
	n, err := l.Namespace("a")
	must(t, err)
	must(t, n.Do(func() error {
		set, err := netif.Open(t.TempDir(), "a", slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		defer set.Close()
		tun, name, err := netif.OpenTUN("")
		if err != nil {
			return err
		}
		defer tun.Close()
		nexus := netip.MustParseAddr("192.0.2.1")
		route := netif.Route{Dest: netip.PrefixFrom(nexus, 24).Masked()}
		if err := set.Apply(name, netif.State{Routes: []netif.Route{route}}); err != nil {
			return err
		}
		g := &gateway{set: set, news: make(chan struct{}, 1)}
		w := way{g}
		if err := w.Pin(nexus); err == nil || errors.Is(err, os.ErrClosed) {
			t.Errorf("no other way: %v", err)
		}
		for _, at := range []netip.Addr{nexus, nexus.Next()} {
			must(t, w.Settle(at))
			if noted := g.nexus.Load(); (noted != nil) != (at == nexus) || len(g.news) != 1 {
				t.Errorf("nexus is at %v: noted is %v, and that it changed: %d", at, noted, len(g.news))
			}
		}
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkDel(l); err != nil {
			return err
		}
		if err := w.Pin(nexus); !errors.Is(err, os.ErrClosed) {
			t.Errorf("the interface is gone: %v", err)
		}
		return nil
	}))
}
