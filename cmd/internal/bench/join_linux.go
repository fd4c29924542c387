package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"vpnd/cmd/internal/router"
	"vpnd/serial/serialtest"
)

// directly joins the hosts by a link that is as fast as it can be.
func directly(b *bed) error {
	_, err := b.Connect(b.a, b.b, []netip.Prefix{netip.PrefixFrom(outerA, 24)}, []netip.Prefix{netip.PrefixFrom(outerB, 24)})
	return err
}

// through returns what joins the hosts by a router that treats both directions alike,
// but for which packets it loses.
func through(way router.Way) func(*bed) error {
	return func(b *bed) (err error) {
		b.path, err = b.Path(b.a, b.b, []netip.Prefix{netip.PrefixFrom(outerA, 25)}, []netip.Prefix{netip.PrefixFrom(outerB, 25)})
		if err != nil {
			return err
		}
		back := way
		back.Seed++
		b.router, err = router.Insert(b.path, way, back)
		return err
	}
}

// overCable returns what joins the hosts by nothing but a serial line of that many
// bit/s.
func overCable(rate int) func(*bed) error {
	return func(b *bed) error {
		b.cable = &cable{dir: b.Dir(), rate: rate, line: serialtest.New(serialtest.Wire{Rate: rate}, 1)}
		for end, plug := range map[string]*serialtest.End{"server": b.cable.line.B, "client": b.cable.line.A} {
			if err := b.cable.plug(end, plug); err != nil {
				return err
			}
		}
		return nil
	}
}

// part takes away what joins the hosts.
func (b *bed) part() error {
	switch {
	case b.router != nil:
		return b.router.Close()
	case b.cable != nil:
		b.cable.close()
	}
	return nil
}

// cable is a null-modem cable between two pseudo terminals.
type cable struct {
	dir  string
	rate int // bit/s, of which a byte takes ten
	line *serialtest.Line

	far, near []*os.File
	bridges   sync.WaitGroup
}

// device is the name of an end's serial port.
func (c *cable) device(end string) string { return c.dir + "/tty-" + end }

// plug gives an end its serial port.
func (c *cable) plug(end string, plug *serialtest.End) error {
	far, near, err := serialtest.Terminal()
	if err != nil {
		return err
	}
	// The near one stays open: a pseudo terminal that nobody uses is hung up.
	c.far, c.near = append(c.far, far), append(c.near, near)
	c.bridges.Go(func() { serialtest.Bridge(plug, far) })
	return os.Symlink(near.Name(), c.device(end))
}

func (c *cable) close() {
	for i, near := range c.near {
		// The lock of a vpnd that has to be killed. Once the terminal is closed, its
		// name may be that of somebody else's.
		_ = os.Remove("/run/lock/LCK..pts_" + filepath.Base(near.Name()))
		_ = near.Close()
		_ = c.far[i].Close() // the bridge may have done it
	}
	c.line.Close()
	c.bridges.Wait()
}
