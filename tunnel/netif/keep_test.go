package netif

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// keptHost is a host whose vpn0 shall be as keptState says.
const (
	keptHost = `link eth0 1500 up
link vpn0 1500 down
addr eth0 192.0.2.2/24
route 192.0.2.0/24 dev eth0 src 192.0.2.2 proto 2
route 0.0.0.0/0 dev eth0 via 192.0.2.1 metric 100
`
	keptState = `mtu 1400
addr 10.0.0.1 10.0.0.2
addr fd00::1 fd00::2
autoroute
route 10.1.0.0/16 # vpnd.conf:8
route 0.0.0.0/0 # vpnd.conf:9
outer 198.51.100.7
`
)

// openKept returns a Set that has applied keptState, and what it logs from then on.
func openKept(t *testing.T) (*fakeKernel, *spyKernel, *Set, *bytes.Buffer) {
	t.Helper()
	k := &fakeKernel{*foreign([]section{{"host", keptHost}})}
	spy := &spyKernel{kernel: k}
	log, s := openLogged(t, t.TempDir(), k)
	s.kernel = spy
	check(t, s.Apply("vpn0", parseState(keptState)))
	log.Reset()
	return k, spy, s, log
}

// setDown does what the kernel does then.
func setDown(t *testing.T, k *fakeKernel) {
	t.Helper()
	dev, _ := k.host.named("vpn0")
	check(t, k.do(step{op: opDown, dev: dev}))
}

// TestRepair takes one thing after the other away.
func TestRepair(t *testing.T) {
	edit := func(lines ...string) func(*testing.T, *fakeKernel) {
		return func(_ *testing.T, k *fakeKernel) {
			for _, line := range lines {
				k.host.edit(line)
			}
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(*testing.T, *fakeKernel)
		steps string
		error string
		log   string // "": as steps and error say
	}{
		{name: "nothing", spoil: edit()},
		{name: "other things", spoil: edit("addr vpn0 10.9.9.9/32", "route 10.8.0.0/16 dev vpn0", "link eth1 1500 up", "link vpn0 1400 up")},
		{name: "set down", spoil: setDown, log: "it was set down"},
		{name: "set down and up", spoil: func(t *testing.T, k *fakeKernel) {
			setDown(t, k)
			k.host.edit("link vpn0 1400 up")
		}, steps: `ip addr add fd00::1/128 dev vpn0 nodad noprefixroute
ip route add 10.0.0.2/32 dev vpn0 src 10.0.0.1
ip route add fd00::2/128 dev vpn0 metric 256
ip route add 10.1.0.0/16 dev vpn0
ip route add 0.0.0.0/0 dev vpn0
`},
		{name: "larger mtu", spoil: edit("link vpn0 1600 up"), steps: "ip link set dev vpn0 mtu 1400\n"},
		{name: "mtu too small for IPv6", spoil: edit("link vpn0 1000 up", "del addr vpn0 fd00::1/128", "del route fd00::2/128 dev vpn0 metric 256 proto 118"),
			steps: "ip link set dev vpn0 mtu 1400\nip addr add fd00::1/128 dev vpn0 nodad noprefixroute\nip route add fd00::2/128 dev vpn0 metric 256\n"},
		{name: "address", spoil: edit("del addr vpn0 10.0.0.1/32 peer 10.0.0.2", "del route 10.0.0.2/32 dev vpn0 src 10.0.0.1 proto 118"),
			steps: "ip addr add 10.0.0.1 peer 10.0.0.2 dev vpn0 noprefixroute\nip route add 10.0.0.2/32 dev vpn0 src 10.0.0.1\n"},
		{name: "route", spoil: edit("del route 10.1.0.0/16 dev vpn0 proto 118"), steps: "ip route add 10.1.0.0/16 dev vpn0\n"},
		{name: "pin", spoil: edit("del route 198.51.100.7/32 dev eth0 via 192.0.2.1 metric 30000 proto 119"),
			steps: "ip route add 198.51.100.7/32 via 192.0.2.1 dev eth0 metric 30000\n"},
		{name: "pin without a way", spoil: edit("del route 198.51.100.7/32 dev eth0 via 192.0.2.1 metric 30000 proto 119",
			"del route 0.0.0.0/0 dev eth0 via 192.0.2.1 metric 100", "del route 10.1.0.0/16 dev vpn0 proto 118"),
			steps: "ip route add 10.1.0.0/16 dev vpn0\n"},
		{name: "route replaced, address gone", spoil: edit("del route 10.1.0.0/16 dev vpn0 proto 118", "route 10.1.0.0/16 dev eth0 via 192.0.2.9",
			"del addr vpn0 fd00::1/128"),
			steps: "ip addr add fd00::1/128 dev vpn0 nodad noprefixroute\n",
			error: "route 10.1.0.0/16 (vpnd.conf:8): this host already has 10.1.0.0/16 via 192.0.2.9 dev eth0"},
		{name: "address elsewhere, route gone", spoil: edit("addr eth0 10.0.0.1/24", "del route 10.1.0.0/16 dev vpn0 proto 118"),
			steps: "ip route add 10.1.0.0/16 dev vpn0\n",
			error: "local address 10.0.0.1: interface eth0 has it already"},
		{name: "renamed", spoil: func(_ *testing.T, k *fakeKernel) {
			k.host.edit("del route 10.1.0.0/16 dev vpn0 proto 118")
			k.host.links[1].name = "office"
		}, steps: "ip route add 10.1.0.0/16 dev office\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, spy, s, log := openKept(t)
			spy.log = nil
			tt.spoil(t, k)
			changes, err := s.repair()
			if diff := cmp.Diff(tt.steps, outcome(spy.log, nil)); diff != "" || changes > 0 != (tt.steps != "") {
				t.Errorf("%d changes, steps:\n%s", changes, diff)
			}
			if got := outcome(nil, err); got != outcome(nil, wantError(tt.error)) {
				t.Errorf("error %q, want %q", got, tt.error)
			}
			if quiet := log.Len() == 0; quiet != (tt.steps+tt.error+tt.log == "") || !strings.Contains(log.String(), tt.log) {
				t.Errorf("log:\n%s", log)
			}
			log.Reset()
			spy.log = nil
			if changes, _ := s.repair(); changes > 0 || len(spy.log) > 0 || log.Len() > 0 {
				t.Errorf("the second look changes %q and says %q", spy.log, log)
			}
			check(t, s.Close())
		})
	}
}

func wantError(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

// TestRepairSaysAllIsWell: what was wrong and is not any more is said, once.
func TestRepairSaysAllIsWell(t *testing.T) {
	k, _, s, log := openKept(t)
	setDown(t, k)
	s.repair()
	k.host.edit("link vpn0 1400 up")
	for range 2 {
		_, err := s.repair()
		check(t, err)
	}
	if n := strings.Count(log.String(), "as it should be again"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log)
	}
	if _, err := s.repair(); err != nil || s.Device() != "vpn0" {
		t.Errorf("device %s: %v", s.Device(), err)
	}
}

// TestRepairGone: a device that is not there any more cannot be repaired, and one
// that was made in its place is not ours.
func TestRepairGone(t *testing.T) {
	k, _, s, _ := openKept(t)
	k.host = host{links: []link{{index: 77, name: "vpn0", mtu: 1500, up: true}}}
	if _, err := s.repair(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("repair: %v", err)
	}
	if err := s.Pin(netip.MustParseAddr("198.51.100.7")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("pin: %v", err)
	}
	check(t, s.Close())
	if changes, err := s.repair(); changes > 0 || err != nil {
		t.Errorf("after close: %v %v", changes, err)
	}
}

// TestPace: a fight slows down, and is forgotten after a while.
func TestPace(t *testing.T) {
	now := time.Now()
	p := pace{since: now}
	look := func(changes int, want time.Duration) {
		t.Helper()
		pause := p.next(now, changes)
		if pause != want {
			t.Fatalf("look after %d changes: pause %v, want %v", p.times, pause, want)
		}
		now = now.Add(pause)
	}
	look(0, shortPause)
	for range patience {
		look(1, shortPause)
	}
	look(0, shortPause)
	for range 100 {
		look(1, longPause)
	}
	now = now.Add(longPause)
	look(0, shortPause)
	now = now.Add(patience * longPause)
	for range patience {
		look(1, shortPause)
	}
}

// TestConcerns: of all that changes on a host little is ours.
func TestConcerns(t *testing.T) {
	_, _, s, _ := openKept(t)
	dest := func(p string) change { return change{dest: netip.MustParsePrefix(p)} }
	for _, tt := range []struct {
		name string
		c    change
		want bool
	}{
		{"nothing", change{}, false},
		{"the device", change{dev: 2}, true},
		{"another device", change{dev: 1}, false},
		{"what was missed", change{unknown: true}, true},
		{"a route", dest("10.1.0.0/16"), true},
		{"another length", dest("10.1.0.0/17"), false},
		{"the default route", dest("0.0.0.0/0"), true},
		{"that of IPv6", dest("::/0"), false},
		{"the remote end", dest("fd00::2/128"), true},
		{"the pin", dest("198.51.100.7/32"), true},
	} {
		news := make(chan struct{}, 1)
		s.hear(tt.c, news)
		s.hear(tt.c, news) // does not block
		if got := len(news) == 1; got != tt.want {
			t.Errorf("%s: news %v, want %v", tt.name, got, tt.want)
		}
	}
	s.trouble = "an address of ours is on another device"
	if !s.concerns(change{dev: 1}) || s.concerns(change{}) {
		t.Error("while something is wrong, only other devices concern us too")
	}
	s.rec.Routes, s.want.AutoRoute = nil, false // a foreign route stands in place of ours
	if !s.concerns(dest("10.1.0.0/16")) {
		t.Error("a route that we wait for does not concern us")
	}
}

// TestRepairUnrecorded: what the state file lists already comes back on a disk that
// is full, and nothing else.
func TestRepairUnrecorded(t *testing.T) {
	k, spy, s, _ := openKept(t)
	s.store.err = errors.New("disk full")
	setDown(t, k)
	k.host.edit("link vpn0 1400 up")
	if _, err := s.repair(); err != nil {
		t.Errorf("repair: %v", err)
	}
	// The file may list more than there is to be.
	k.host.edit("del route 10.1.0.0/16 dev vpn0 proto 118")
	k.host.edit("route 10.1.0.0/16 dev eth0 via 192.0.2.9")
	k.host.edit("del addr vpn0 fd00::1/128")
	spy.log = nil
	if _, err := s.repair(); err == nil || strings.Contains(err.Error(), "recorded") || len(spy.log) != 1 {
		t.Errorf("repair: %v, steps %q", err, spy.log)
	}
	k.host.edit("del route 10.1.0.0/16 dev eth0 via 192.0.2.9")
	_, err := s.repair()
	check(t, err)
	spy.log = nil
	err = s.Apply("vpn0", parseState(keptState+"route 10.7.0.0/16\n"))
	if err == nil || !strings.Contains(err.Error(), "it cannot be recorded: disk full") || len(spy.log) > 0 {
		t.Errorf("apply: %v, steps %q", err, spy.log)
	}
}
