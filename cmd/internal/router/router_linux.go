package router

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/lab"
)

// side is where the path to one end leaves the namespace in the middle.
type side struct {
	link  string // the name that the lab gives it
	tun   string
	table int // of the route into the TUN device
	file  *os.File
	ruled bool
}

// Router is a router in a path.
type Router struct {
	ns       *lab.Namespace
	a, b     side
	up, down *pump // from A to B, and back
	running  sync.WaitGroup
	close    func() error
}

// Insert leads a path through the program, A being the first end of the path. The
// router must be closed before its lab. The path's Cut and Heal work as before.
func Insert(p *lab.Path, up, down Way) (*Router, error) {
	if err := errors.Join(up.check(), down.check()); err != nil {
		return nil, fmt.Errorf("insert router: %w", err)
	}
	r := &Router{
		ns: p.Router,
		a:  side{link: "eth0", tun: "tunA", table: 101},
		b:  side{link: "eth1", tun: "tunB", table: 102},
	}
	r.close = sync.OnceValue(r.remove)
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("insert router: %w", errors.Join(err, r.Close()))
	}
	r.up = &pump{from: r.a.file, to: r.b.file, line: newLine(up)}
	r.down = &pump{from: r.b.file, to: r.a.file, line: newLine(down)}
	r.running.Go(r.up.run)
	r.running.Go(r.down.run)
	return r, nil
}

// Close takes the router out again. What is on its way is lost. Later calls do
// nothing more.
func (r *Router) Close() error { return r.close() }

func (r *Router) remove() error {
	err := r.do(func(h *netlink.Handle) error {
		return errors.Join(r.a.close(h), r.b.close(h))
	})
	r.running.Wait()
	if err != nil {
		return fmt.Errorf("remove router: %w", err)
	}
	return nil
}

// Counters returns what has become of the packets from A to B, and back.
func (r *Router) Counters() (up, down Counters, err error) {
	up, down = r.up.counted(), r.down.counted()
	err = r.do(func(h *netlink.Handle) error {
		for _, d := range []struct {
			tun string
			of  *Counters
		}{{r.a.tun, &up}, {r.b.tun, &down}} {
			l, err := h.LinkByName(d.tun)
			if err != nil {
				return fmt.Errorf("read counters of %s: %w", d.tun, err)
			}
			d.of.Overrun = int64(l.Attrs().Statistics.TxDropped)
		}
		return nil
	})
	return up, down, err
}

// do runs f in the namespace in the middle.
func (r *Router) do(f func(*netlink.Handle) error) error {
	return r.ns.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		return f(h)
	})
}

func (r *Router) open() error {
	// IPv6 would have the kernel speak on the devices by itself.
	if err := r.ns.Sysctl("ipv6/conf/default/disable_ipv6", "1"); err != nil {
		return err
	}
	// What comes out of one device has a source that the routes expect elsewhere.
	for _, name := range []string{"all", "default", r.a.link, r.b.link} {
		if err := r.ns.Sysctl("ipv4/conf/"+name+"/rp_filter", "0"); err != nil {
			return err
		}
	}
	return r.do(func(h *netlink.Handle) error {
		return errors.Join(r.a.open(h), r.b.open(h))
	})
}

// open makes the device, and leads to it what comes in beside it.
func (s *side) open(h *netlink.Handle) (err error) {
	if s.file, err = openTUN(s.tun); err != nil {
		return err
	}
	tun, err := h.LinkByName(s.tun)
	if err != nil {
		return fmt.Errorf("find %s: %w", s.tun, err)
	}
	if err := h.LinkSetUp(tun); err != nil {
		return fmt.Errorf("set %s up: %w", s.tun, err)
	}
	everything := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	route := &netlink.Route{LinkIndex: tun.Attrs().Index, Dst: everything, Table: s.table, Scope: netlink.SCOPE_LINK}
	if err := h.RouteAdd(route); err != nil {
		return fmt.Errorf("add route to %s: %w", s.tun, err)
	}
	if err := h.RuleAdd(s.rule()); err != nil {
		return fmt.Errorf("add rule for %s: %w", s.link, err)
	}
	s.ruled = true
	return nil
}

// rule sends to the device what comes in beside it.
func (s *side) rule() *netlink.Rule {
	rule := netlink.NewRule()
	rule.Family, rule.IifName, rule.Table, rule.Priority = unix.AF_INET, s.link, s.table, s.table
	return rule
}

// close undoes as much of open as was done. The route goes with the device.
func (s *side) close(h *netlink.Handle) error {
	var errs []error
	if s.ruled {
		errs = append(errs, h.RuleDel(s.rule()))
	}
	if s.file != nil {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}
