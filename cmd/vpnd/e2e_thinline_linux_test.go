package main

import (
	"cmp"
	"fmt"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/lab"
	"vpnd/serial/serialtest"
)

// TestSerialLossy has lines that do not pass everything, each with the keyword for
// that.
func TestSerialLossy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		keyword string
		wire    serialtest.Wire
		volume  int64
	}{
		{"xfilter", serialtest.Wire{Eaten: []byte{0x11, 0x13, 0x91, 0x93}}, 100_000},
		{"telnet", serialtest.Wire{Eaten: []byte{0xff, 0x0d}}, 100_000},
		{"halfduplex", serialtest.Wire{Rate: 1_000_000, HalfDuplex: true}, 10_000},
	} {
		t.Run(tt.keyword, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.cable(tt.wire)
			w.configureLine("speed 1000000", tt.keyword)
			w.up()
			w.client.comesBack(serverInner)
			moved, err := lab.Ends{Client: w.client.ns, Server: w.server.ns, Dst: serverInner}.Transfer(t.Context(), lab.Load{Up: tt.volume, Down: tt.volume})
			must(t, err)
			for _, s := range []*site{w.client, w.server} {
				r := s.tells()
				t.Logf("%s: up %v, down %v, %d damaged frames", s.name, moved.Up.Elapsed, moved.Down.Elapsed, r.Damaged)
				if tt.keyword != "halfduplex" && r.Damaged > 0 {
					t.Errorf("%s: %d damaged frames", s.name, r.Damaged)
				}
			}
			w.client.stop()
			w.server.stop()
		})
	}
}

// TestUnwanted sends what noipv6 and nomulticast keep off a link, and what they do
// not.
func TestUnwanted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ keyword, unwanted, wanted string }{
		{"nomulticast", "udp4 239.1.1.1", "udp4 10.77.0.1"},
		{"noipv6", "udp6 ff02::1%vpn0", "udp4 239.1.1.1"},
	} {
		t.Run(tt.keyword, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.client
			w.server.write("mode server", "server 24741", fmt.Sprintf("local %v\nremote %v", serverInner, clientInner))
			c.write("mode client", fmt.Sprintf("server %v 24741", serverOuter), fmt.Sprintf("local %v\nremote %v", clientInner, serverInner), tt.keyword)
			w.up()
			c.reaches(serverInner)
			unwanted := func(r report) uint64 { return r.DropsOut["unwanted"] }
			before := unwanted(c.conserved())
			c.emit(tt.unwanted)
			r := c.until("unwanted", func(r report) bool { return unwanted(r) > before })
			sent := r.Wire.PacketsOut
			c.emit(tt.wanted)
			c.until("sent", func(r report) bool { return r.Wire.PacketsOut > sent })
		})
	}
}

// emit sends a datagram through the tunnel, whatever the routes say.
func (s *site) emit(to string) {
	s.t.Helper()
	var network, host string
	_, err := fmt.Sscan(to, &network, &host)
	must(s.t, err)
	bind := func(_, _ string, c syscall.RawConn) error {
		var inner error
		err := c.Control(func(fd uintptr) { inner = unix.BindToDevice(int(fd), "vpn0") })
		return cmp.Or(err, inner)
	}
	must(s.t, s.ns.Do(func() error {
		d := net.Dialer{Control: bind}
		conn, err := d.Dial(network, net.JoinHostPort(host, "9"))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("hello"))
		return err
	}))
}
