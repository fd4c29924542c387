package meshlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/lab"
)

// Outside and Inside are the interfaces of a gateway, to the Internet and to its network.
const (
	Outside = "eth0"
	Inside  = "eth1"
)

// Site is one network with its gateway.
type Site struct {
	*World
	N       int
	Name    string
	Gateway *lab.Namespace
	// Computer is in the network behind the gateway; in a Bare world it is the gateway.
	Computer *lab.Namespace
	// Process is the packthread that was started last.
	Process *lab.Process

	link string // to the Internet
	key  string
	last int // number of the outer address
}

// Subnet returns the network.
func (s *Site) Subnet() netip.Prefix {
	if s.Bare {
		return netip.PrefixFrom(s.inner(1), 32)
	}
	return netip.PrefixFrom(s.inner(0), 24)
}

func (s *Site) inner(host int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 77, byte(s.N), byte(host)})
}

// Addr returns the inner address of the computer.
func (s *Site) Addr() netip.Addr {
	if s.Bare {
		return s.inner(1)
	}
	return s.inner(2)
}

// Outer returns the outer address of the gateway, or of the router that hides it.
func (s *Site) Outer() netip.Addr { return s.outer(s.last) }

func (s *Site) outer(host int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(s.N), byte(host)})
}

func (s *Site) build() (err error) {
	if s.Gateway, err = s.Namespace(s.Name); err != nil {
		return err
	}
	if slices.Contains(s.NAT, s.N) {
		err = s.buildNAT()
	} else {
		err = s.connect(s.Gateway)
	}
	if err != nil {
		return err
	}
	if s.Computer = s.Gateway; !s.Bare {
		if err := s.buildLAN(); err != nil {
			return err
		}
	}
	if err := s.configure(); err != nil {
		return err
	}
	out, err := s.Command("-m", s.Name).Output()
	if err != nil {
		return fmt.Errorf("packthread -m: %w", err)
	}
	_, key, _ := strings.Cut(string(out), "key=")
	s.key = strings.TrimSpace(key)
	return nil
}

// connect gives a namespace its way to the Internet.
func (s *Site) connect(n *lab.Namespace) error {
	s.last = 2
	l, err := s.Connect(s.Internet, n, []netip.Prefix{netip.PrefixFrom(s.outer(1), 24)}, []netip.Prefix{netip.PrefixFrom(s.outer(2), 24)})
	if err != nil {
		return err
	}
	s.link = l.B
	return n.AddRoute(everywhere, s.outer(1))
}

func (s *Site) buildNAT() error {
	router, err := s.Namespace(s.Name + "-nat")
	if err != nil {
		return err
	}
	private := func(host byte) netip.Addr { return netip.AddrFrom4([4]byte{172, 16, byte(s.N), host}) }
	public := netip.AddrFrom4([4]byte{203, 0, 113, byte(s.N)})
	l, err := s.Connect(router, s.Gateway, []netip.Prefix{netip.PrefixFrom(private(1), 24)}, []netip.Prefix{netip.PrefixFrom(private(2), 24)})
	if err != nil {
		return err
	}
	if err := s.connect(router); err != nil {
		return err
	}
	return errors.Join(
		s.Gateway.AddRoute(everywhere, private(1)),
		s.Internet.AddRoute(netip.PrefixFrom(public, 32), s.outer(2)),
		router.NAT(l.A, private(2), public))
}

func (s *Site) buildLAN() (err error) {
	if s.Computer, err = s.Namespace(s.Name + "-computer"); err != nil {
		return err
	}
	_, err = s.Connect(s.Gateway, s.Computer, []netip.Prefix{netip.PrefixFrom(s.inner(1), 24)}, []netip.Prefix{netip.PrefixFrom(s.inner(2), 24)})
	if err != nil {
		return err
	}
	return errors.Join(s.Computer.AddRoute(everywhere, s.inner(1)), s.Gateway.Forward(true))
}

func (s *Site) configure() error {
	return s.write(s.Name+".conf", s.url+fmt.Sprintf("password = '%s'\nserver_key = %s\nkey_path = %s.key\nstate_path = %s.state\n", password, strings.TrimSpace(s.World.key), s.Name, s.Name))
}

// Command returns a packthread with the settings of the site.
func (s *Site) Command(args ...string) *exec.Cmd {
	return exec.Command(s.Packthread, append([]string{"-f", s.Path(s.Name + ".conf")}, args...)...)
}

// Start starts packthread.
func (s *Site) Start() (err error) {
	s.Process, err = s.Gateway.Start(s.Command("-n", s.Name))
	return err
}

// Kill ends packthread with a signal.
func (s *Site) Kill(ctx context.Context, sig syscall.Signal) (code int, err error) {
	if err := s.Process.Signal(sig); err != nil {
		return 0, err
	}
	return s.Process.Wait(ctx)
}

// Again runs packthread while it is running, as ip-up.d does.
func (s *Site) Again(ctx context.Context) error {
	p, err := s.Gateway.Start(s.Command(s.Name))
	if err != nil {
		return err
	}
	if code, err := p.Wait(ctx); err != nil || code != 0 {
		return fmt.Errorf("packthread %s, again: code %d, %v: %s", s.Name, code, err, p.Stderr)
	}
	return nil
}

// Move gives the gateway another outer address, as a provider does each night.
func (s *Site) Move() error {
	old := netip.PrefixFrom(s.outer(s.last), 24)
	s.last++
	return s.Gateway.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		l, err := h.LinkByName(s.link)
		if err != nil {
			return err
		}
		addr := func(p netip.Prefix) *netlink.Addr {
			a, _ := netlink.ParseAddr(p.String())
			return a
		}
		if err := errors.Join(h.AddrDel(l, addr(old)), h.AddrAdd(l, addr(netip.PrefixFrom(s.outer(s.last), 24)))); err != nil {
			return err
		}
		return s.Gateway.AddRoute(everywhere, s.outer(1))
	})
}
