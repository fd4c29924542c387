package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpnd/conf"
	"vpnd/crypto"
	"vpnd/tunnel"
	"vpnd/tunnel/netif"
)

// aloneOnHost puts the test's thread, and that alone, into a new network namespace.
func aloneOnHost(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
}

// other makes another interface with an address.
func other(t *testing.T, address string) (netlink.Link, *netlink.Addr) {
	t.Helper()
	tun, name, err := netif.OpenTUN("lan")
	must(t, err)
	t.Cleanup(func() { tun.Close() })
	l, err := netlink.LinkByName(name)
	must(t, err)
	a, err := netlink.ParseAddr(address)
	must(t, err)
	must(t, netlink.AddrAdd(l, a))
	must(t, netlink.LinkSetUp(l))
	return l, a
}

// assembled returns a daemon with an interface that carries nothing yet. Its log has each
// change of the host.
func assembled(t *testing.T, path string) (*daemon, *journal) {
	t.Helper()
	c, err := conf.ParseFile(path)
	must(t, err)
	s, err := prepare(c)
	must(t, err)
	log := &journal{}
	d := &daemon{log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), started: time.Now()}
	d.set, err = netif.Open(c.StateDir, c.Name, d.log)
	must(t, err)
	t.Cleanup(func() { d.set.Close() })
	d.auth, err = openAuth(c, s, d.log)
	must(t, err)
	t.Cleanup(func() { d.auth.close() })
	d.pool, err = openPool(c, d.log)
	must(t, err)
	if d.pool != nil {
		t.Cleanup(func() { d.pool.Close() })
	}
	d.conf.Store(c)
	must(t, d.assemble(s))
	return d, log
}

// autoClient writes the configuration of one that has its addresses from the server.
func autoClient(t *testing.T) (path string, write func(more string)) {
	t.Helper()
	dir := t.TempDir()
	_, err := crypto.MakeKey(filepath.Join(dir, "vpnd.key"), rand.Reader)
	must(t, err)
	path = filepath.Join(dir, "client.conf")
	write = func(more string) {
		t.Helper()
		must(t, os.WriteFile(path, []byte("mode client\nserver 127.0.0.1 24741\nlocal auto\nstatedir .\ncontrol x.sock\n"+more), 0o644))
	}
	write("")
	return path, write
}

// linkOf is a link with which the server gives an address.
func linkOf(local string) tunnel.Link {
	return tunnel.Link{Local: []netip.Addr{netip.MustParseAddr(local)}, Remote: []netip.Addr{netip.MustParseAddr("172.16.0.1")}}
}

func hasRoute(t *testing.T, dest string) bool {
	t.Helper()
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	must(t, err)
	for _, r := range routes {
		if r.Dst != nil && r.Dst.String() == dest {
			return true
		}
	}
	return false
}

func hasAddress(t *testing.T, d *daemon, address string) bool {
	t.Helper()
	iface, err := net.InterfaceByName(d.set.Device())
	must(t, err)
	list, err := iface.Addrs()
	must(t, err)
	return strings.Contains(fmt.Sprint(list), address+"/")
}

// TestHubRouteConflict has a client whose network is one that the hub has already. That
// keeps nobody else's route away, and the change of another route neither.
func TestHubRouteConflict(t *testing.T) {
	aloneOnHost(t)
	lan, address := other(t, "192.168.9.1/24")
	dir := t.TempDir()
	_, err := crypto.MakeStrongPair(dir, rand.Reader, nil)
	must(t, err)
	must(t, os.Mkdir(filepath.Join(dir, "peers"), 0o700))
	keys := &rosterBench{t: t, dir: filepath.Join(dir, "peers")}
	keys.put("ann", keys.keys()+"subnet 10.55.0.0/16\n")
	keys.put("zoe", keys.keys()+"subnet 192.168.9.0/24\n")
	path := filepath.Join(dir, "hub.conf")
	text := "mode server\nserver 127.0.0.1 24741\nauth strong\nlocal 10.99.0.1\npool 10.99.0.0/24\npeers peers\nstatedir .\ncontrol x.sock\n"
	must(t, os.WriteFile(path, []byte(text), 0o644))
	d, log := assembled(t, path)
	if !hasRoute(t, "10.55.0.0/16") {
		t.Error("ann's network has no route")
	}
	if n := len(d.tunnel.Stats().Peers); n != 2 {
		t.Errorf("%d clients are let in", n)
	}
	if log.says("no route to a client") != 1 || log.says("zoe.peer:3") != 1 || log.says("not let in") > 0 {
		t.Errorf("the log says\n%s", log.text.String())
	}
	must(t, os.WriteFile(path, []byte(text+"route 10.56.0.0/16\n"), 0o644))
	d.reload()
	if !hasRoute(t, "10.55.0.0/16") || !hasRoute(t, "10.56.0.0/16") || log.says("routes not changed") > 0 {
		t.Errorf("the new route is not set: %s", log.text.String())
	}
	must(t, netlink.AddrDel(lan, address))
	d.roster.look(true)
	if !hasRoute(t, "10.55.0.0/16") || !hasRoute(t, "192.168.9.0/24") {
		t.Error("zoe's network has no route, though nothing is in its way any more")
	}
}

// TestReloadLinkUp has links bring addresses, and diallers pins, while a configuration is
// read again.
func TestReloadLinkUp(t *testing.T) {
	aloneOnHost(t)
	path, write := autoClient(t)
	d, log := assembled(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	var pins sync.WaitGroup
	defer pins.Wait()
	defer cancel()
	pins.Go(func() {
		for ctx.Err() == nil {
			_ = d.set.Pin(netip.MustParseAddr("127.0.0.1"))
		}
	})
	links := 0
	for round := range 10 {
		var routes strings.Builder
		for i := range 100 {
			fmt.Fprintf(&routes, "route 10.%d.%d.0/24\n", round, i)
		}
		write(routes.String())
		reloaded := make(chan struct{})
		go func() {
			defer close(reloaded)
			d.reload()
		}()
		local := ""
		for over := false; !over; links++ {
			local = fmt.Sprintf("172.16.%d.%d", 1+links/200%200, 1+links%200)
			d.takeAddresses(linkOf(local))
			select {
			case <-reloaded:
				over = true
			default:
			}
		}
		if !hasRoute(t, fmt.Sprintf("10.%d.99.0/24", round)) || hasRoute(t, fmt.Sprintf("10.%d.99.0/24", round-1)) {
			t.Errorf("round %d: the old routes are back", round)
		}
		if !hasAddress(t, d, local) {
			t.Errorf("round %d: the address of the link is missing", round)
		}
	}
	if log.says("level=ERROR") > 0 {
		t.Errorf("the log says\n%s", log.text.String())
	}
}

// TestAddressesAgain has another interface hold the address that the server gives, for a
// while.
func TestAddressesAgain(t *testing.T) {
	for _, test := range []struct {
		name  string
		again func(t *testing.T, d *daemon)
	}{
		{"HUP", func(_ *testing.T, d *daemon) { d.reload() }},
		{"after a time", func(t *testing.T, d *daemon) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				go d.retake(ctx)
				time.Sleep(againAfter)
				synctest.Wait()
				cancel(errors.New("the end"))
			})
		}},
		{"the next link", func(_ *testing.T, d *daemon) { d.takeAddresses(linkOf("172.16.0.10")) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			aloneOnHost(t)
			lan, address := other(t, "172.16.0.10/32")
			path, _ := autoClient(t)
			d, log := assembled(t, path)
			d.takeAddresses(linkOf("172.16.0.10"))
			d.reload() // says nothing new
			if log.says("addresses of the server not taken") != 1 || d.given.Load() != nil {
				t.Errorf("the log says\n%s", log.text.String())
			}
			must(t, netlink.AddrDel(lan, address))
			test.again(t, d)
			if !hasAddress(t, d, "172.16.0.10") || log.says("addresses of the server taken") != 1 {
				t.Errorf("the address is missing: %s", log.text.String())
			}
		})
	}
}
