package link

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// option reads an option of a socket.
func option(t *testing.T, c syscall.Conn, level, name int) (value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	cerr := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, name) })
	if cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return value
}

// TestOptions reads back what the sockets of both ends were given.
func TestOptions(t *testing.T) {
	o := Options{TOS: 0x10, Priority: 6}
	for _, a := range loopbacks(t) {
		t.Run(a.String(), func(t *testing.T) {
			at, accepted := listen(t, netip.AddrPortFrom(a, 0).String())
			d := dialTo(at)
			d.Options = o
			client, server := connect(t, d, accepted)
			if err := o.Apply(server); err != nil {
				t.Fatal(err)
			}
			level, tos := unix.IPPROTO_IP, unix.IP_TOS
			if a.Is6() {
				level, tos = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
			}
			for name, c := range map[string]net.Conn{"client": client, "server": server} {
				for _, want := range []struct {
					name                string
					level, option, want int
				}{
					{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0},
					{"TCP_NOTSENT_LOWAT", unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes},
					{"type of service", level, tos, 0x10},
					{"SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, 6},
					{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0},
					{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
					{"SO_PROTOCOL", unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP},
				} {
					if got := option(t, c.(*net.TCPConn), want.level, want.option); got != want.want {
						t.Errorf("%s: %s is %d, want %d", name, want.name, got, want.want)
					}
				}
			}
		})
	}
}

// TestMappedAddress gives the options to an IPv4 connection that came in through
// a socket for both families.
func TestMappedAddress(t *testing.T) {
	any, accepted := listen(t, ":0")
	_, server := connect(t, dialTo(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), any.Port())), accepted)
	if err := (Options{TOS: 0x08}).Apply(server); err != nil {
		t.Fatal(err)
	}
	if got := option(t, server.(*net.TCPConn), unix.IPPROTO_IP, unix.IP_TOS); got != 0x08 {
		t.Errorf("type of service is %#x", got)
	}
}

// TestNoOptions leaves alone what is not asked for.
func TestNoOptions(t *testing.T) {
	at, accepted := listen(t, "127.0.0.1:0")
	client, _ := connect(t, dialTo(at), accepted)
	for _, o := range [][2]int{{unix.IPPROTO_IP, unix.IP_TOS}, {unix.SOL_SOCKET, unix.SO_PRIORITY}, {unix.SOL_SOCKET, unix.SO_REUSEADDR}} {
		if got := option(t, client.(*net.TCPConn), o[0], o[1]); got != 0 {
			t.Errorf("option %v is %d", o, got)
		}
	}
}

// TestBadOption has a value that the kernel does not take.
func TestBadOption(t *testing.T) {
	for _, a := range loopbacks(t) {
		if a.Is4() {
			continue // there the kernel takes the low byte of any
		}
		at, _ := listen(t, netip.AddrPortFrom(a, 0).String())
		d := dialTo(at)
		d.TOS = 256
		if conn, err := d.Dial(t.Context()); err == nil {
			conn.Close()
			t.Error("taken")
		}
	}
}

// TestStuckAddress has a first address that never answers: the second one gets
// its share of the time.
func TestStuckAddress(t *testing.T) {
	stuck := stuckListener(t)
	good := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), stuck.Port())
	_, accepted := listen(t, good.String())
	d := &Dialer{Host: noName, Port: good.Port(), known: []netip.Addr{stuck.Addr(), good.Addr()}}
	ctx := &extended{t.Context(), time.Now().Add(3 * time.Second)}
	d.Before = func(a netip.Addr) error {
		if a == stuck.Addr() { // it has its share: the other one may be slow, but not late
			ctx.end = time.Now().Add(time.Minute)
		} else if time.Now().After(ctx.end) {
			t.Error("the first address had all the time")
		}
		return nil
	}
	conn, err := d.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	(<-accepted).Close()
}

// extended is a context whose deadline can be put off.
type extended struct {
	context.Context
	end time.Time
}

func (e *extended) Deadline() (time.Time, bool) { return e.end, true }

// stuckListener returns an address on loopback whose kernel drops what comes, for
// its queue is full.
func stuckListener(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 2}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), uint16(sa.(*unix.SockaddrInet4).Port))
	for {
		if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err != nil {
			t.Fatal(err)
		} else if info.Unacked > info.Sacked { // these are what waits in its queue, and what that is for
			return at
		}
		if conn, err := net.DialTimeout("tcp", at.String(), 200*time.Millisecond); err == nil {
			t.Cleanup(func() { conn.Close() })
		}
	}
}
