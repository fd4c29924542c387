package lab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

func TestDoReturnsHome(t *testing.T) {
	n := newNamespaceIn(t, newLab(t), "a")
	tests := []struct {
		name string
		end  func()
	}{
		{"return", func() {}},
		{"panic", func() { panic("on purpose") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			runtime.LockOSThread() // to look at the same one afterwards
			defer runtime.UnlockOSThread()
			before := threadNamespace(t)
			var inside string
			func() {
				defer func() { _ = recover() }()
				_ = n.Do(func() error {
					inside = threadNamespace(t)
					tt.end()
					return nil
				})
			}()
			if inside == "" || inside == before {
				t.Errorf("function ran in %q", inside)
			}
			if after := threadNamespace(t); after != before {
				t.Errorf("thread is in %s, was in %s", after, before)
			}
		})
	}
}

func threadNamespace(t *testing.T) string {
	t.Helper()
	h, err := netns.Get()
	check(t, err)
	defer h.Close()
	return h.UniqueId()
}

func TestSocketsStayInside(t *testing.T) {
	l := newLab(t)
	a, b := newNamespaceIn(t, l, "a"), newNamespaceIn(t, l, "b")
	ln, err := a.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	check(t, err)
	defer ln.Close()
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	c, err := a.Dial(timeout(t), netip.MustParseAddr("127.0.0.2"), addr)
	check(t, err)
	defer c.Close()
	if got := c.LocalAddr().(*net.TCPAddr).IP.String(); got != "127.0.0.2" {
		t.Errorf("source address is %s", got)
	}
	if c, err := b.Dial(timeout(t), netip.Addr{}, addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial from the other namespace: %v, %v", c, err)
	}
}

func TestPing(t *testing.T) {
	r := newRoute(t)
	for _, f := range families() {
		for _, size := range []int{0, 56, 1472, 20000} {
			s, err := r.a.Ping(timeout(t), netip.MustParseAddr(f.dst), PingOptions{Size: size, Count: 5})
			check(t, err)
			if s.Sent != 5 || len(s.RTT) != 5 || s.Damaged != 0 || s.Err != nil {
				t.Errorf("%s size %d: %+v", f.name, size, s)
			}
		}
	}
}

func TestPingInterval(t *testing.T) {
	n := newNamespaceIn(t, newLab(t), "a")
	start := time.Now()
	s, err := n.Ping(timeout(t), netip.MustParseAddr("127.0.0.1"), PingOptions{Count: 5, Interval: 10 * time.Millisecond})
	check(t, err)
	if took := time.Since(start); len(s.RTT) != 5 || took < 50*time.Millisecond {
		t.Errorf("%+v after %s", s, took)
	}
}

func TestPingReportsErrors(t *testing.T) {
	r := newRoute(t)
	far := netip.MustParseAddr("203.0.113.1")
	check(t, r.a.AddRoute(netip.PrefixFrom(far, 32), netip.MustParseAddr("192.0.2.2")))
	s, err := r.a.Ping(timeout(t), far, PingOptions{Count: 1})
	check(t, err)
	if s.Err == nil || !strings.Contains(s.Err.Error(), "192.0.2.2: destination unreachable") || len(s.RTT) != 0 {
		t.Errorf("the router has no route: %+v", s)
	}
	if _, err := r.a.Ping(timeout(t), far, PingOptions{Count: maxPingCount + 1}); err == nil {
		t.Error("sequence numbers may not repeat")
	}
}

func TestPingCountsRepliesOnce(t *testing.T) {
	run := pingRun{pinger: &pinger{}, sent: []time.Time{time.Now(), time.Now()}}
	run.take(echo{seq: 0, damaged: true})
	run.take(echo{seq: 0}) // a duplicate
	run.take(echo{seq: 1})
	run.take(echo{seq: 1, damaged: true})
	run.take(echo{seq: 2}) // never sent
	if s := run.result(); s.Sent != 2 || s.Damaged != 1 || len(s.RTT) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestPingerTakesItsReplies(t *testing.T) {
	peer, other := net.IPv4(192, 0, 2, 1), net.IPv4(192, 0, 2, 2)
	message := func(kind byte, payload string) []byte {
		return append([]byte{kind, 0, 0, 0, 1, 2, 0, 7}, payload...)
	}
	tests := []struct {
		name    string
		message []byte
		from    net.IP
		want    []bool // damaged, of each reply reported
	}{
		{"reply", message(0, "payload"), peer, []bool{false}},
		{"altered", message(0, "Payload"), peer, []bool{true}},
		{"cut short", message(0, "payloa"), peer, []bool{true}},
		{"request", message(8, "payload"), peer, nil},
		{"from another host", message(0, "payload"), other, nil},
		{"to another pinger", append([]byte{0, 0, 0, 0, 1, 3}, message(0, "payload")[6:]...), peer, nil},
		{"nothing", nil, peer, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &pinger{
				dst:     &net.IPAddr{IP: peer},
				kind:    pingKindOf(netip.MustParseAddr("192.0.2.1")),
				id:      0x0102,
				payload: []byte("payload"),
				replies: make(chan echo, 1),
			}
			p.parse(tt.message, tt.from, time.Now())
			close(p.replies)
			var got []bool
			for e := range p.replies {
				if e.seq != 7 {
					t.Errorf("sequence number %d", e.seq)
				}
				got = append(got, e.damaged)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("replies %v, want %v", got, tt.want)
			}
		})
	}
}

func FuzzPingerParse(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 2, 0, 7})
	f.Add(append([]byte{3, 1, 0, 0, 0, 0, 0, 0, 0x45}, make([]byte, 27)...))
	f.Add([]byte{3, 1, 0, 0, 0, 0, 0, 0, 0x6f})
	f.Fuzz(func(t *testing.T, message []byte) {
		for _, dst := range []string{"192.0.2.1", "2001:db8::1"} {
			addr := netip.MustParseAddr(dst)
			p := &pinger{
				dst:     &net.IPAddr{IP: addr.AsSlice()},
				kind:    pingKindOf(addr),
				replies: make(chan echo, 1),
				errs:    make(chan error, 1),
			}
			p.parse(message, p.dst.IP, time.Now())
		}
	})
}

func TestPercentile(t *testing.T) {
	s := PingStats{RTT: []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}
	for _, tt := range []struct {
		p    float64
		want time.Duration
	}{{0, 1}, {10, 1}, {11, 2}, {50, 5}, {99, 10}, {100, 10}} {
		if got := s.Percentile(tt.p); got != tt.want {
			t.Errorf("percentile %g is %d, want %d", tt.p, got, tt.want)
		}
	}
	if got := (PingStats{}).Percentile(50); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}

func TestCutIsSilentAndHeals(t *testing.T) {
	r := newRoute(t)
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			dst := netip.MustParseAddr(f.dst)
			c, err := r.ends(f.dst).Converse(timeout(t))
			check(t, err)
			defer c.Close()
			_, err = c.Exchange(timeout(t), 1000)
			check(t, err)

			check(t, r.Cut())
			if _, err := c.Exchange(timeout(t, 300*time.Millisecond), 1000); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("exchange while cut: %v", err)
			}
			s, err := r.a.Ping(timeout(t), dst, PingOptions{Count: 10, Interval: time.Millisecond})
			check(t, err)
			if len(s.RTT) != 0 || s.Err != nil {
				t.Errorf("cut is not silent: %+v", s)
			}
			_, err = r.a.WaitPing(timeout(t, 50*time.Millisecond), dst, 2*time.Millisecond)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("ping while cut: %v", err)
			}

			check(t, r.Heal())
			_, err = r.a.WaitPing(timeout(t), dst, 2*time.Millisecond)
			check(t, err)
			_, err = c.Exchange(timeout(t), 0)
			check(t, err)
			_, err = c.Exchange(timeout(t), maxExchange)
			check(t, err)
		})
	}
}

func TestWaitPingMeasuresOutage(t *testing.T) {
	l := newLab(t)
	a, b := newNamespaceIn(t, l, "a"), newNamespaceIn(t, l, "b")
	k, err := l.Connect(a, b, Prefixes("192.0.2.1/24"), Prefixes("192.0.2.2/24"))
	check(t, err)
	check(t, k.Down())
	const outage = 200 * time.Millisecond
	up := make(chan error, 1)
	ctx, start := timeout(t), time.Now()
	go func() {
		err := poll(ctx, a.pings) // the measurement has begun
		time.Sleep(outage)
		up <- errors.Join(err, k.Up())
	}()
	took, err := a.WaitPing(ctx, netip.MustParseAddr("192.0.2.2"), 2*time.Millisecond)
	check(t, err)
	check(t, <-up)
	if took < outage || took > time.Since(start) {
		t.Errorf("outage of at least %s measured as %s", outage, took)
	}
}

// pings returns nil when somebody in the namespace has a raw socket.
func (n *Namespace) pings() error {
	return n.Do(func() error {
		sockets, err := os.ReadFile("/proc/thread-self/net/raw")
		if err == nil && strings.Count(string(sockets), "\n") < 2 { // the first line is a head
			err = errors.New("nobody pings")
		}
		return err
	})
}

func TestExchangeDetectsDamage(t *testing.T) {
	r := newRoute(t)
	c, err := r.ends("198.51.100.1").Converse(timeout(t))
	check(t, err)
	defer c.Close()
	_, _ = c.in.Read(make([]byte, 1)) // expects a later byte
	if _, err := c.Exchange(timeout(t), 10); !errors.Is(err, ErrDamaged) {
		t.Errorf("exchange: %v", err)
	}
	if _, err := c.Exchange(timeout(t), maxExchange+1); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("exchange of more than fits: %v", err)
	}
}

func TestResetTCP(t *testing.T) {
	r := newRoute(t)
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			hit, err := r.ends(f.dst).Converse(timeout(t))
			check(t, err)
			defer hit.Close()
			spared, err := r.ends(f.dst).Converse(timeout(t))
			check(t, err)
			defer spared.Close()
			for _, c := range []*Conversation{hit, spared} {
				_, err = c.Exchange(timeout(t), 1)
				check(t, err)
			}
			n, err := r.b.ResetTCP(uint16(hit.conn.RemoteAddr().(*net.TCPAddr).Port))
			check(t, err)
			if n != 1 {
				t.Errorf("%d connections were reset", n)
			}
			if _, err := hit.Exchange(timeout(t), 1); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("exchange after reset: %v", err)
			}
			_, err = spared.Exchange(timeout(t), 1)
			check(t, err)
		})
	}
}

func TestDump(t *testing.T) {
	r := newRoute(t)
	got, err := r.a.Dump()
	check(t, err)
	want, err := os.ReadFile("testdata/dump.golden")
	check(t, err)
	if got != string(want) {
		t.Errorf("dump is\n%s\nwant\n%s", got, want)
	}
}

func TestDumpShowsChange(t *testing.T) {
	l := newLab(t)
	a, b := newNamespaceIn(t, l, "a"), newNamespaceIn(t, l, "b")
	before, err := a.Dump()
	check(t, err)
	k, err := l.Connect(a, b, Prefixes("192.0.2.1/24"), Prefixes("192.0.2.2/24"))
	check(t, err)
	check(t, a.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.0.2.2")))
	during, err := a.Dump()
	check(t, err)
	for _, line := range []string{"link eth0", "addr eth0 192.0.2.1/24", "route 0.0.0.0/0 via 192.0.2.2"} {
		if !strings.Contains(during, line) {
			t.Errorf("no %q in\n%s", line, during)
		}
	}
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Table = netlink.FAMILY_V6, 7, 42
	check(t, a.nl.RuleAdd(rule))
	with, err := a.Dump()
	check(t, err)
	if diff := cmp.Diff(during+"rule inet6 7: from all to all table 42\n", with); diff != "" {
		t.Error(diff)
	}
	check(t, a.nl.RuleDel(rule))
	check(t, k.Delete())
	after, err := a.Dump()
	check(t, err)
	if before != after {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

func TestLinkDownKeepsAddresses(t *testing.T) {
	l := newLab(t)
	a, b := newNamespaceIn(t, l, "a"), newNamespaceIn(t, l, "b")
	k, err := l.Connect(a, b, Prefixes("192.0.2.1/24", "2001:db8::1/64"), Prefixes("192.0.2.2/24", "2001:db8::2/64"))
	check(t, err)
	for range 3 {
		check(t, k.Down())
		check(t, k.Up())
		for _, dst := range []string{"192.0.2.2", "2001:db8::2"} {
			_, err = a.WaitPing(timeout(t), netip.MustParseAddr(dst), 2*time.Millisecond)
			check(t, err)
		}
	}
}
