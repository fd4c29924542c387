package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"vpnd/cmd/internal/lab"
	"vpnd/serial/serialtest"
)

// The figures of the demo over a serial line.
const (
	lineSpeed  = 115200
	lineVolume = 256 << 10 // bytes moved each way
)

// cable is a null-modem cable between two pseudo terminals, which it leads to by
// names of their own.
type cable struct {
	dir            string
	line           *serialtest.Line
	server, client plug
}

// plug is one end of a cable.
type plug struct {
	end       *serialtest.End
	far, near *os.File
}

func newCable(l *lab.Lab) *cable {
	c := &cable{dir: l.Dir(), line: serialtest.New(serialtest.Wire{Rate: lineSpeed}, 1)}
	c.server.end, c.client.end = c.line.A, c.line.B
	return c
}

// device is the name of an end's serial port.
func (c *cable) device(host string) string { return filepath.Join(c.dir, "tty-"+host) }

// in plugs an end into a new pseudo terminal. Its near end stays open: one that nobody
// uses is hung up.
func (c *cable) in(p *plug, host string) (err error) {
	if p.far, p.near, err = serialtest.Terminal(); err != nil {
		return err
	}
	go serialtest.Bridge(p.end.Open(), p.far)
	return os.Symlink(p.near.Name(), c.device(host))
}

// out unplugs an end.
func (c *cable) out(p *plug, host string) error {
	return errors.Join(os.Remove(c.device(host)), p.near.Close(), p.far.Close())
}

func (c *cable) close() {
	for _, p := range []plug{c.server, c.client} {
		if p.far != nil {
			p.near.Close()
			p.far.Close()
		}
	}
	c.line.Close()
}

func (d *demo) overCable(l *lab.Lab, c *cable) []step {
	return []step{
		{fmt.Sprintf("two hosts, a null-modem cable of %d bit/s, two files, one key", lineSpeed), func(context.Context) error { return d.wire(l, c) }},
		{"the link comes up", func(ctx context.Context) error { return d.start(ctx, 100*time.Millisecond) }},
		{"ping both ways", func(ctx context.Context) error {
			return d.ping(ctx, lab.PingOptions{Size: 56, Count: 20, Interval: 100 * time.Millisecond})
		}},
		{fmt.Sprintf("the Go source tree, %d kB each way at once", lineVolume>>10), func(ctx context.Context) error { return d.transfer(ctx, lineVolume) }},
		{"the client's adapter is pulled out and put in again", func(ctx context.Context) error { return d.replug(ctx, c) }},
		{"what vpnd --status says on the client", d.status},
		{"the end", d.stop},
	}
}

var deviceArgument = regexp.MustCompile(`(?m)^(server|client) /\S+`)

// wire joins two hosts that have no network between them with the cable.
func (d *demo) wire(l *lab.Lab, c *cable) error {
	if err := d.hosts(l); err != nil {
		return err
	}
	if err := errors.Join(c.in(&c.server, "server"), c.in(&c.client, "client")); err != nil {
		return err
	}
	return d.configure(l, "examples/cable", func(name string, text []byte) []byte {
		return deviceArgument.ReplaceAll(text, []byte("$1 "+c.device(name)))
	})
}

// replug takes the adapter away and brings another one.
func (d *demo) replug(ctx context.Context, c *cable) error {
	if err := c.out(&c.client, "client"); err != nil {
		return err
	}
	said, err := d.client.daemon.Stderr.WaitFor(ctx, `msg="link is down".*`)
	if err != nil {
		return err
	}
	fmt.Println("out; the client says:", said[0])
	if err := c.in(&c.client, "client"); err != nil {
		return err
	}
	took, err := d.client.WaitPing(ctx, serverInner, 100*time.Millisecond)
	if err == nil {
		fmt.Printf("in; next reply through the tunnel after %v\n", took.Round(time.Millisecond))
	}
	return err
}
