package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestClosed(t *testing.T) {
	_, s := openLogged(t, t.TempDir(), preparedKernel())
	check(t, s.Apply("vpn0", State{}))
	check(t, s.Close())
	check(t, s.Close())
	if err := s.Apply("vpn0", State{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("apply: %v", err)
	}
	if err := s.Pin(netip.MustParseAddr("192.0.2.1")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("pin: %v", err)
	}
}

func TestNoDevice(t *testing.T) {
	k := preparedKernel()
	_, s := openLogged(t, t.TempDir(), k)
	check(t, s.Pin(netip.MustParseAddr("192.0.2.1"))) // nothing can be swallowed yet
	if err := s.Apply("vpn1", State{}); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "vpn1") {
		t.Errorf("apply: %v", err)
	}
	check(t, s.Apply("vpn0", parseState("route 10.1.0.0/16\n")))
	k.host = host{}
	if err := s.Pin(netip.MustParseAddr("192.0.2.1")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("pin: %v", err)
	}
	check(t, s.Close())
}

// TestOtherDevice moves a Set from one device to another.
func TestOtherDevice(t *testing.T) {
	h := foreign([]section{{"host", "link vpn0 1500 up\nlink vpn1 1500 down\n"}})
	k := &fakeKernel{*h}
	before := k.host.String()
	dir := t.TempDir()
	_, s := openLogged(t, dir, k)
	state := parseState("mtu 1400\naddr 10.0.0.1 10.0.0.2\nroute 10.1.0.0/16\n")
	check(t, s.Apply("vpn0", state))
	check(t, s.Apply("vpn1", state))
	want := `addr vpn1 10.0.0.1/32 peer 10.0.0.2 noprefixroute
link vpn0 1500 up
link vpn1 1400 up
route 10.1.0.0/16 dev vpn1 proto 118
`
	if got := k.host.String(); got != want {
		t.Errorf("host:\n%swant:\n%s", got, want)
	}
	check(t, s.Close())
	if got := k.host.String(); got != before {
		t.Errorf("host after close:\n%swant:\n%s", got, before)
	}
}

// TestLost: on record are those IPv6 addresses of others that the kernel drops
// when the device goes down or its MTU becomes too small, and no others.
func TestLost(t *testing.T) {
	h := foreign([]section{{"host", `link eth0 1500 up
link vpn0 1500 up
addr eth0 fd08::8/64
addr vpn0 10.9.9.9/32
addr vpn0 fe80::1/64
addr vpn0 fd09::9/64
`}})
	k := &fakeKernel{*h}
	_, s := openLogged(t, t.TempDir(), k)
	state := parseState("mtu 1280\naddr fd00::1 fd00::2\n")
	lost := func(want ...string) {
		t.Helper()
		var got []string
		for _, a := range s.rec.Device.Lost {
			got = append(got, a.Local.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("lost %v, want %v", got, want)
		}
	}
	check(t, s.Apply("vpn0", state))
	lost()
	k.host.edit("link vpn0 1280 down") // by somebody who makes little difference
	check(t, s.Apply("vpn0", state))
	lost("fd09::9/64")
	k.host.edit("addr vpn0 fd09::a/64")
	state.MTU, state.Addrs = 1279, nil
	check(t, s.Apply("vpn0", state))
	lost("fd09::9/64", "fd09::a/64")
	check(t, s.Close())
	for _, a := range []string{"fd09::9", "fd09::a", "fd08::8"} {
		if _, ok := k.host.owner(netip.MustParseAddr(a)); !ok {
			t.Errorf("%s is lost", a)
		}
	}
}

// TestDialed dials a server whose name means another address every day.
func TestDialed(t *testing.T) {
	h := foreign([]section{{"host", "link eth0 1500 up\nlink vpn0 1500 up\nroute 0.0.0.0/0 dev eth0 via 192.0.2.1 metric 9\n"}})
	k := &fakeKernel{*h}
	_, s := openLogged(t, t.TempDir(), k)
	check(t, s.Apply("vpn0", parseState("route 0.0.0.0/0\nouter 198.51.100.0\n")))
	for i := 1; i <= maxDialed+2; i++ {
		check(t, s.Pin(netip.MustParseAddr(fmt.Sprintf("::ffff:198.51.100.%d", i))))
		check(t, s.Pin(netip.MustParseAddr("198.51.100.1"))) // is still in use
	}
	pins := map[string]bool{}
	for _, r := range k.host.routes {
		if r.Proto == protoPin {
			pins[r.Dest.String()] = true
		}
	}
	if len(pins) != maxDialed+1 || !pins["198.51.100.0/32"] || !pins["198.51.100.1/32"] || !pins["198.51.100.34/32"] {
		t.Errorf("pins: %v", pins)
	}
	check(t, s.Close())
}

// TestFileComesAndGoes: there is a state file exactly while something is
// installed, even when others take it away.
func TestFileComesAndGoes(t *testing.T) {
	dir := t.TempDir()
	_, s := openLogged(t, dir, preparedKernel())
	state := parseState("route 10.1.0.0/16\n")
	for range 2 {
		check(t, s.Apply("vpn0", state))
		wantFiles(t, dir, "x.lock", "x.state")
		check(t, s.Apply("vpn0", State{}))
		wantFiles(t, dir, "x.lock")
	}
	check(t, s.Apply("vpn0", state))
	check(t, os.Remove(filepath.Join(dir, "x.state")))
	check(t, s.Close())
	wantFiles(t, dir)
}

// busyKernel is one that somebody else changes at each step.
type busyKernel struct {
	*fakeKernel
	steps, rest int // the change ends after so many steps
}

func (k *busyKernel) do(s step) error {
	if k.steps++; k.steps > k.rest {
		return k.fakeKernel.do(s)
	}
	return fmt.Errorf("%w: file exists", errChanged)
}

func TestHostChanges(t *testing.T) {
	for rest, works := range map[int]bool{1: true, maxRounds - 2: true, maxRounds - 1: false} {
		k := &busyKernel{preparedKernel(), 0, rest}
		_, s := openLogged(t, t.TempDir(), k)
		err := s.Apply("vpn0", parseState("mtu 1400\n"))
		if works && err != nil || !works && !errors.Is(err, errChanged) {
			t.Errorf("changed %d times: %v", rest, err)
		}
		k.rest = k.steps + 1
		check(t, s.Close())
	}
}

// failingKernel refuses the steps after the first, for a while.
type failingKernel struct {
	*fakeKernel
	steps, failures int
}

func (k *failingKernel) do(s step) error {
	if k.steps++; k.steps > 1 && k.failures > 0 {
		k.failures--
		return errors.New("refused")
	}
	return k.fakeKernel.do(s)
}

// TestFailedStep: what was done is undone when the next step fails, or said.
func TestFailedStep(t *testing.T) {
	for failures, undone := range map[int]bool{1: true, 2: false} {
		k := &failingKernel{preparedKernel(), 0, failures}
		before := k.host.String()
		log, s := openLogged(t, t.TempDir(), k)
		err := s.Apply("vpn0", parseState("mtu 1400\naddr 10.1.0.1\n"))
		if err == nil || !strings.Contains(err.Error(), "ip addr add 10.1.0.1/32 dev vpn0 noprefixroute: refused") {
			t.Errorf("apply: %v", err)
		}
		if undone != (k.host.String() == before) || undone != s.rec.empty() || undone == strings.Contains(log.String(), "cannot go back to the state before") {
			t.Errorf("undone %v, record %+v, host:\n%s, log:\n%s", undone, s.rec, k.host, log)
		}
		check(t, s.Close())
	}
}

// TestUnswept: what an ordinary user cannot sweep stays on record, in the way
// only when it is in the way.
func TestUnswept(t *testing.T) {
	dir := t.TempDir()
	k := &spyKernel{kernel: preparedKernel()}
	_, s := openLogged(t, dir, k)
	state := parseState("mtu 1400\naddr 10.0.0.1 10.0.0.2\nroute 10.1.0.0/16\n")
	check(t, s.Apply("vpn0", state))
	s.store.lock.Close()

	k.deny = true
	log, s := openLogged(t, dir, k)
	if !strings.Contains(log.String(), "cannot sweep") {
		t.Errorf("log:\n%s", log)
	}
	check(t, s.Apply("vpn0", state))
	if err := s.Apply("vpn0", State{MTU: 1400}); !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "ip route del 10.1.0.0/16 dev vpn0") {
		t.Errorf("apply: %v", err)
	}
	if err := s.Close(); !errors.Is(err, ErrPermission) {
		t.Errorf("close: %v", err)
	}
	wantFiles(t, dir, "x.state")

	k.deny = false
	_, s = openLogged(t, dir, k)
	if want := preparedKernel().host.String(); k.kernel.(*fakeKernel).host.String() != want {
		t.Errorf("host:\n%swant:\n%s", k.kernel.(*fakeKernel).host, want)
	}
	check(t, s.Close())
}

func TestSweepLog(t *testing.T) {
	for boot, want := range map[string]string{
		"1": "swept what a killed instance left",
		"2": "of another boot or network namespace",
	} {
		dir := t.TempDir()
		k := &spyKernel{kernel: preparedKernel(), boot: "1"}
		log, s := openLogged(t, dir, k)
		check(t, s.Apply("vpn0", parseState("mtu 1400\n")))
		if !strings.Contains(log.String(), "ip link set dev vpn0 mtu 1400") {
			t.Errorf("log of apply:\n%s", log)
		}
		s.store.lock.Close()
		k.boot = boot
		log, s = openLogged(t, dir, k)
		if done := strings.Contains(log.String(), "ip link set dev vpn0 mtu 1500"); done != (boot == "1") {
			t.Errorf("log of boot %s:\n%s", boot, log)
		}
		if text := log.String(); strings.Count(text, "level=INFO") != 1 || !strings.Contains(text, want) || !strings.Contains(text, "device=vpn0") {
			t.Errorf("log of boot %s, want %q:\n%s", boot, want, text)
		}
		check(t, s.Close())
	}
}

func TestConcurrent(t *testing.T) {
	h := foreign([]section{{"host", "link eth0 1500 up\nlink vpn0 1500 up\nroute 0.0.0.0/0 dev eth0 via 192.0.2.1 metric 9\n"}})
	k := &fakeKernel{*h}
	before := k.host.String()
	_, s := openLogged(t, t.TempDir(), k)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := s.Apply("vpn0", parseState(fmt.Sprintf("mtu %d\nroute 0.0.0.0/0\n", 1400+i))); err != nil {
				t.Error(err)
			}
			if err := s.Pin(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	check(t, s.Close())
	if got := k.host.String(); got != before {
		t.Errorf("host after close:\n%swant:\n%s", got, before)
	}
}

// TestCallerKeepsState: what the caller does with its lists afterwards is no
// concern of the Set.
func TestCallerKeepsState(t *testing.T) {
	k := preparedKernel()
	log, s := openLogged(t, t.TempDir(), k)
	state := parseState("addr 10.9.0.1 10.9.0.2\nroute 10.1.0.0/16\nouter 127.0.0.1\n")
	check(t, s.Apply("vpn0", state))
	before := k.host.String()
	state.Addrs[0].Local = netip.MustParseAddr("10.9.0.3")
	state.Routes[0].Dest = netip.MustParsePrefix("10.2.0.0/16")
	state.Outer[0] = netip.MustParseAddr("10.1.0.1")
	if err := s.Apply("vpn9", state); err == nil {
		t.Error("applied to nothing")
	}
	if got := k.host.String(); got != before || strings.Contains(log.String(), "cannot go back") {
		t.Errorf("host after going back:\n%swant:\n%s, log:\n%s", got, before, log)
	}
	check(t, s.Close())
}
