package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"vpnd/serial/serialtest"
)

// tty is a serial device made of a pseudo terminal, one end of a cable. Its name is a
// link that comes back when it is pulled out and put in again, as those in
// /dev/serial/by-id.
type tty struct {
	t    *testing.T
	name string
	end  *serialtest.End
	pull func() // takes the device away, as if it was unplugged
}

// plug makes the device.
func (d *tty) plug() {
	d.t.Helper()
	// The near end stays open: a pseudo terminal that nobody uses is hung up.
	far, near, err := serialtest.Terminal()
	must(d.t, err)
	bridged := make(chan struct{})
	end := d.end.Open()
	go func() {
		defer close(bridged)
		serialtest.Bridge(end, far)
	}()
	d.pull = func() {
		d.pull = func() {}
		lock := d.lock()
		os.Remove(d.name)
		os.Remove(lock) // of somebody who was killed; behind Close it may be another terminal's
		near.Close()
		far.Close()
		<-bridged
	}
	must(d.t, os.Symlink(near.Name(), d.name))
}

// lock is the lock file of the device.
func (d *tty) lock() string {
	d.t.Helper()
	near, err := os.Readlink(d.name)
	must(d.t, err)
	return "/run/lock/LCK..pts_" + filepath.Base(near)
}

// device is what the site's serial device is called.
func (s *site) device() string { return s.file("tty") }

// cable joins the two sites with a line between two devices.
func (w *world) cable(wire serialtest.Wire) (server, client *tty) {
	t := w.server.t
	t.Helper()
	line := serialtest.New(wire, 1)
	t.Cleanup(line.Close)
	server, client = &tty{t: t, name: w.server.device(), end: line.A}, &tty{t: t, name: w.client.device(), end: line.B}
	for _, d := range []*tty{server, client} {
		d.plug()
		t.Cleanup(func() { d.pull() })
	}
	return server, client
}

// modem gives the site a device with a modem behind it.
func (s *site) modem(x *serialtest.Exchange, number string) *serialtest.Jack {
	s.t.Helper()
	j := &serialtest.Jack{Path: s.device(), Exchange: x, Number: number}
	must(s.t, j.Plug())
	s.t.Cleanup(func() { j.Unplug() })
	return j
}

// configureLine writes the two halves of a link over the devices, and what the test
// adds to both.
func (w *world) configureLine(both ...string) {
	w.server.t.Helper()
	both = append(both, "retry 2")
	w.server.write(append(both, "mode server", "server "+w.server.device(), fmt.Sprintf("local %v\nremote %v", serverInner, clientInner))...)
	w.client.write(append(both, "mode client", "client "+w.client.device(), fmt.Sprintf("local %v\nremote %v", clientInner, serverInner))...)
}
