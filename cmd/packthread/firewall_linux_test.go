package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vpnd/cmd/internal/lab"
	"vpnd/cmd/internal/meshlab"
)

// refusedAfter is how long a packet without an answer is waited for.
const refusedAfter = time.Second

// nft runs nft at a gateway, and returns what it prints.
func (w *world) nft(s *meshlab.Site, args ...string) string {
	w.t.Helper()
	program, err := exec.LookPath("nft")
	if err != nil {
		w.t.Fatal("nft is missing: make nft installs it")
	}
	p, err := s.Gateway.Start(exec.Command(program, args...))
	must(w.t, err)
	if code, err := p.Wait(w.ctx); err != nil || code != 0 {
		w.t.Fatalf("nft %q: code %d, %v, %s", args, code, err, p.Stderr)
	}
	return p.Stdout.String()
}

// protect loads the example's rules at a gateway, with its names and its network. To load
// them again, as after a change, replaces them.
func (w *world) protect(s *meshlab.Site) {
	w.t.Helper()
	text, err := os.ReadFile(examples + "firewall.nft")
	must(w.t, err)
	names := strings.NewReplacer("ppp0", meshlab.Outside, "eth0", meshlab.Inside, "192.168.20.0/24", s.Subnet().String())
	path := w.Path(s.Name + ".nft")
	must(w.t, os.WriteFile(path, []byte(names.Replace(string(text))), 0o600))
	w.nft(s, "-f", path)
	once := w.nft(s, "list", "ruleset")
	w.nft(s, "-f", path)
	if twice := w.nft(s, "list", "ruleset"); twice != once || !strings.Contains(once, "masquerade") {
		w.t.Errorf("loaded once:\n%s\ntwice:\n%s", once, twice)
	}
}

// knock is an attempt to connect.
type knock struct {
	name     string
	from, to *lab.Namespace
	addr     netip.Addr
	port     uint16
	allowed  bool
	seen     netip.Addr // whom to sees, if that is said
}

// try returns whom the other end sees, and why there is no connection.
func (k *knock) try(ctx context.Context, limit time.Duration) (seen netip.Addr, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	at := netip.AddrPortFrom(k.addr, k.port)
	l, err := k.to.Listen(at)
	if err != nil {
		return seen, err
	}
	defer l.Close()
	c, err := k.from.Dial(ctx, netip.Addr{}, at)
	if err != nil {
		return seen, err
	}
	defer c.Close()
	caller, err := l.AcceptTCP()
	if err != nil {
		return seen, err
	}
	defer caller.Close()
	return caller.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap(), nil
}

// knock tries all at once. What is refused gets no answer at all.
func (w *world) knock(what string, list []knock) {
	w.t.Helper()
	var all sync.WaitGroup
	for _, k := range list {
		all.Go(func() {
			limit := refusedAfter
			if k.allowed {
				limit = patience
			}
			seen, err := k.try(w.ctx, limit)
			timeout := net.Error(nil)
			switch {
			case k.allowed && err != nil:
				w.t.Errorf("%s: %s: %v", what, k.name, err)
			case k.allowed && k.seen.IsValid() && seen != k.seen:
				w.t.Errorf("%s: %s: comes from %v, want %v", what, k.name, seen, k.seen)
			case !k.allowed && !(errors.As(err, &timeout) && timeout.Timeout()):
				w.t.Errorf("%s: %s is not refused: %v", what, k.name, err)
			}
		})
	}
	all.Wait()
}

// TestFirewall has the rules of the example at all gateways of a mesh. What they refuse
// passes without them.
func TestFirewall(t *testing.T) {
	w := newWorld(t, meshlab.Config{Sites: 4, NAT: []int{1, 2}})
	one, two, three, four := w.Sites[0], w.Sites[1], w.Sites[2], w.Sites[3]
	stranger, err := w.Namespace("stranger")
	must(t, err)
	_, err = w.Connect(w.Internet, stranger, lab.Prefixes("198.51.100.1/24"), lab.Prefixes("198.51.100.2/24"))
	must(t, err)
	must(t, stranger.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("198.51.100.1")))
	outer, outside := three.Outer(), netip.MustParseAddr("198.51.100.2")
	must(t, w.Internet.AddRoute(netip.MustParsePrefix("10.77.0.0/16"), outer)) // a wrong one
	// The network of the stranger is one that the third gateway could pass on.
	text, err := os.ReadFile(w.Path("networks"))
	must(t, err)
	own := "    subnet=" + three.Subnet().String() + "\n"
	must(t, os.WriteFile(w.Path("networks"), []byte(strings.Replace(string(text), own, own+"    subnet=198.51.100.0/24\n", 1)), 0o600))

	for _, s := range w.Sites {
		w.protect(s)
	}
	w.start()
	w.paths("start", startLimit)
	w.until(three, "called", func(r report) bool {
		l := r.peer(one.Name).Link
		return l != nil && l.Through == "" && !strings.HasSuffix(l.Peer, ":2002")
	})
	w.until(one, "calling", func(r report) bool {
		l := r.peer(three.Name).Link
		return l != nil && l.Through == "" && strings.HasSuffix(l.Peer, ":2002")
	})
	w.until(one, "linked through a third gateway", func(r report) bool {
		l := r.peer(two.Name).Link
		return l != nil && (l.Through == three.Name || l.Through == four.Name)
	})

	knocks := func(protected bool) []knock {
		masked := three.Addr()
		if protected {
			masked = outer
		}
		g, c, far := three.Gateway, three.Computer, four.Computer
		inner, refused := three.Subnet().Addr().Next(), !protected
		return []knock{
			{"Internet to ssh of the gateway", stranger, g, outer, 22, refused, outside},
			{"Internet to another port of the gateway", stranger, g, outer, 8080, refused, outside},
			{"Internet to a computer", stranger, c, three.Addr(), 22, refused, outside},
			{"Internet into the mesh", stranger, far, four.Addr(), 22, refused, outside},
			{"mesh to the Internet", far, stranger, outside, 25, refused, four.Addr()},
			{"mesh to another port of the gateway", far, g, inner, 8080, refused, four.Addr()},
			{"mesh to ssh of the gateway", far, g, inner, 22, true, four.Addr()},
			{"mesh to a computer", far, c, three.Addr(), 8080, true, four.Addr()},
			{"computer to the mesh", c, far, four.Addr(), 8081, true, three.Addr()},
			{"computer to the gateway", c, g, inner, 8082, true, three.Addr()},
			{"computer to the Internet", c, stranger, outside, 8080, true, masked},
			{"gateway to the Internet", g, stranger, outside, 8081, true, outer},
			{"gateway to the mesh", g, far, four.Addr(), 8082, true, inner},
		}
	}
	w.knock("with the rules", knocks(true))
	w.nft(three, "delete", "table", "inet", "dynvpn")
	w.knock("without them", knocks(false))

	// In the place of packthread: what nexus sends arrives, and no other datagram.
	if _, err := four.Kill(w.ctx, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if !w.datagram(stranger, four, 2002, patience) {
		t.Error("a datagram to port 2002 does not arrive")
	}
	if w.datagram(stranger, four, 2003, refusedAfter) {
		t.Error("a datagram to port 2003 arrives")
	}
	w.nft(four, "delete", "table", "inet", "dynvpn")
	if !w.datagram(stranger, four, 2003, patience) {
		t.Error("without the rules a datagram does not arrive")
	}
}

// datagram reports whether a datagram arrives at the outer address of a gateway, which is
// waited for until a limit.
func (w *world) datagram(from *lab.Namespace, s *meshlab.Site, port uint16, limit time.Duration) bool {
	w.t.Helper()
	at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.Outer(), port))
	var conn, sender *net.UDPConn
	must(w.t, s.Gateway.Do(func() (err error) { conn, err = net.ListenUDP("udp4", at); return err }))
	defer conn.Close()
	must(w.t, from.Do(func() (err error) { sender, err = net.DialUDP("udp4", nil, at); return err }))
	defer sender.Close()
	_, err := sender.Write([]byte("hello"))
	must(w.t, err)
	must(w.t, conn.SetReadDeadline(time.Now().Add(limit)))
	n, err := conn.Read(make([]byte, 10))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Fatal(err)
	}
	return n > 0
}
