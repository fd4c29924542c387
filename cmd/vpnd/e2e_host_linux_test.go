package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintln(f, line)
	return err
}

// script writes an executable shell script and returns its path.
func (s *site) script(name, body string) string {
	s.t.Helper()
	path := s.file(name)
	must(s.t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}

// mss returns the segment size that a connection to a peer agreed on.
func (s *site) mss(peer *site, dst netip.Addr) (mss int) {
	s.t.Helper()
	l, err := peer.ns.Listen(netip.AddrPortFrom(dst, 0))
	must(s.t, err)
	defer l.Close()
	conn, err := s.ns.Dial(s.t.Context(), netip.Addr{}, l.Addr().(interface{ AddrPort() netip.AddrPort }).AddrPort())
	must(s.t, err)
	defer conn.Close()
	raw, err := conn.SyscallConn()
	must(s.t, err)
	must(s.t, raw.Control(func(fd uintptr) {
		info, e := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err = e; err == nil {
			// The timestamp option takes 12 bytes of every segment.
			if mss = int(info.Snd_mss); info.Options&1 != 0 {
				mss += 12
			}
		}
	}))
	must(s.t, err)
	return mss
}

// TestEndToEndDefaultRoute sends everything into the tunnel, except the way to
// the server itself.
func TestEndToEndDefaultRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.client.dump()
	w.configure()
	must(t, appendLine(w.client.config(), "route 0.0.0.0/0 metric 5"))
	must(t, appendLine(w.client.config(), "route 192.0.2.0/25"))
	w.up()
	w.client.reaches(serverInner)
	if d := w.client.dump(); !strings.Contains(d, "route "+serverOuter.String()+"/32 via 198.51.100.2") {
		t.Errorf("the server's address is not pinned:\n%s", d)
	}
	// The pin is what a kill leaves; the next start sweeps it.
	w.client.kill()
	if d := w.client.dump(); d == before {
		t.Errorf("nothing was left to sweep:\n%s", d)
	}
	w.client.start()
	w.client.until("up", isUp)
	w.client.reaches(serverInner)
	w.client.stop()
	if after := w.client.dump(); after != before {
		t.Errorf("left behind:\nbefore\n%s\nafter\n%s", before, after)
	}
}

// TestEndToEndNoOtherWay starts a client before its host has a network, with a route
// that covers the server: the client waits, and nothing goes around the tunnel.
func TestEndToEndNoOtherWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.client
	c.also("route 192.0.2.0/25")
	host := c.dump()
	outside, via := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParseAddr("198.51.100.2")
	must(t, c.ns.Do(func() error { return netlink.RouteDel(route(outside.String())) }))
	w.server.start()
	c.start()
	c.says(`msg="no link" cause="pin 192\.0\.2\.1: route 192\.0\.2\.0/25 \(\S+client\.conf:\d+\) would swallow the path to the server 192\.0\.2\.1 and this host has no other way to it"`)
	if r := c.until("waiting", func(r report) bool { return r.Reason != "" }); !strings.Contains(r.Reason, "no other way") || isUp(r) {
		t.Errorf("status says %s: %s", r.State, r.Reason)
	}
	must(t, c.ns.AddRoute(outside, via))
	c.until("up", isUp)
	c.reaches(serverInner)
	c.stop()
	c.becomes(host)
}

// TestEndToEndHooks runs all four hooks and looks at what they are told.
func TestEndToEndHooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	dump := `echo "$VPND_EVENT args: $*" >> ` + w.client.file("hooks") + `
env | sort | sed "s/^/$VPND_EVENT env: /" >> ` + w.client.file("hooks") + `
grep -q "$1:" /proc/net/dev && echo "$VPND_EVENT sees $1"; echo "$VPND_EVENT done" >> ` + w.client.file("hooks")
	for _, name := range []string{"slipup", "linkup", "linkdown", "slipdown"} {
		must(t, appendLine(w.client.config(), name+" "+w.client.script(name, dump)))
	}
	w.up()
	w.client.reaches(serverInner)
	w.client.stop()
	text, err := os.ReadFile(w.client.file("hooks"))
	must(t, err)
	got := string(text)
	var order []string
	for _, line := range strings.Split(got, "\n") {
		if name, ok := strings.CutSuffix(line, " done"); ok {
			order = append(order, name)
		}
	}
	if fmt.Sprint(order) != "[slipup linkup linkdown slipdown]" {
		t.Errorf("order %v", order)
	}
	peer := serverOuter.String() + ":24741"
	for _, want := range []string{
		"slipup args: vpn0 " + peer + " 0 10.77.0.2 10.77.0.1 client",
		"linkup args: vpn0 " + peer + " 0 10.77.0.2 10.77.0.1 client",
		"slipdown args: vpn0 " + peer + " 0 10.77.0.2 10.77.0.1 client",
		"linkup env: VPND_IFNAME=vpn0", "linkup env: VPND_MODE=client", "linkup env: VPND_MTU=1500",
		"linkup env: VPND_LOCAL=10.77.0.2", "linkup env: VPND_REMOTE=10.77.0.1",
		"linkup env: VPND_LOCAL6=" + clientIPv6.String(), "linkup env: VPND_REMOTE6=" + serverIPv6.String(),
		"linkup env: VPND_TRANSPORT=tcp", "linkup env: VPND_PEER=" + peer,
		"linkup env: VPND_PEER_ADDR=192.0.2.1", "linkup env: VPND_PEER_PORT=24741",
		"linkup env: VPND_INSTANCE=client", "linkup env: VPND_CONFIG=" + w.client.config(),
		"linkup env: IFNAME=vpn0", "linkup env: IPLOCAL=10.77.0.2", "linkup env: IPREMOTE=10.77.0.1", "linkup env: SPEED=0",
		"linkdown env: VPND_REASON=shutdown", "linkdown env: VPND_CONNECT_TIME=", "linkdown env: VPND_BYTES_SENT=", "linkdown env: VPND_BYTES_RCVD=",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("hooks were not told %q", want)
		}
	}
	for _, name := range order {
		w.client.says(name + " sees vpn0")
	}
	if t.Failed() {
		t.Log(got)
	}
}

// TestEndToEndHookDoesNotHold starts a linkup that never ends: packets pass all
// the same, and the time limit ends it.
func TestEndToEndHookDoesNotHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	must(t, appendLine(w.client.config(), "linkup "+w.client.script("linkup", "echo started; while :; do sleep 1; done")+"\nhooktimeout 5")) // less may be over before it starts
	w.up()
	w.client.reaches(serverInner)
	w.client.says("started")
	w.client.says("hook failed.*5s")
	w.client.stop()
}

// TestEndToEndOrdinaryUser runs the daemon without privilege on a device that
// root prepared for it.
func TestEndToEndOrdinaryUser(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	w := newWorld(t)
	w.configure()
	must(t, appendLine(w.client.config(), "tundev tunjoe\nmtu 1400"))
	must(t, w.client.ns.Do(func() error { return persistentTUN("tunjoe", nobody, 1400) }))
	must(t, os.Chmod(w.Dir(), 0o755))
	for _, f := range []string{w.client.dir, w.client.file("vpnd.key"), w.client.config()} {
		must(t, os.Chown(f, nobody, nobody))
	}
	usable := filepath.Join(w.Dir(), "vpnd") // the other copy lies where only root can look
	must(t, exec.Command("cp", binary, usable).Run())
	before := w.client.dump()
	w.server.start()
	cmd := stage{User: nobody}.on(exec.Command(usable, "-n", "-f", w.client.config()))
	p, err := w.client.ns.Start(cmd)
	must(t, err)
	w.client.Process = p
	defer func() {
		if t.Failed() {
			t.Log(p.Stderr)
		}
	}()
	w.client.until("up", isUp)
	w.client.reaches(serverInner)
	w.client.reaches(serverIPv6)
	w.client.stop()
	if after := w.client.dump(); after != before {
		t.Errorf("changed:\nbefore\n%s\nafter\n%s", before, after)
	}
}

// persistentTUN does what root does for an ordinary user: a device, its
// addresses, its routes.
func persistentTUN(name string, owner uint32, mtu int) error {
	link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, Owner: owner, Group: owner}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	v4, v6 := &netlink.Addr{IPNet: netlink.NewIPNet(clientInner.AsSlice()), Peer: netlink.NewIPNet(serverInner.AsSlice())},
		&netlink.Addr{IPNet: netlink.NewIPNet(clientIPv6.AsSlice()), Flags: unix.IFA_F_NODAD}
	for _, a := range []*netlink.Addr{v4, v6} {
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("add %v: %w", a, err)
		}
	}
	// Not by a peer of the address: without a carrier the kernel may never add
	// the IPv6 route for it.
	return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Index, Dst: netlink.NewIPNet(serverIPv6.AsSlice()), Priority: 256})
}
