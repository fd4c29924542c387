// Package link opens the byte stream to the peer: it dials and listens on TCP.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Options are what the sockets of a link are given. The zero value is usable.
type Options struct {
	// TOS is the type of service byte of outgoing packets (RFC 1349, RFC 2474), 0
	// leaves it to the kernel.
	TOS int
	// Priority is the socket's priority for the host's queueing disciplines, 0 to
	// 6.
	Priority int
}

// The bits of the configuration keyword ipopts.
const (
	reliability = 1 << iota
	throughput
	lowDelay
	priority
)

// SetIPOpts sets TOS and Priority from the sum of the configuration keyword
// ipopts: 1 reliability, 2 throughput, 4 low delay, 8 priority.
func (o *Options) SetIPOpts(sum int) {
	for bit, tos := range map[int]int{reliability: 0x04, throughput: 0x08, lowDelay: 0x10} {
		if sum&bit != 0 {
			o.TOS |= tos
		}
	}
	if sum&priority != 0 {
		o.Priority = 6 // the highest that needs no privilege
	}
}

// Dialer opens connections to a server. Its fields are set before the first
// Dial; it may be used by several goroutines.
type Dialer struct {
	Options
	// Host is an address, or a name that is looked up at every dial. When that
	// fails the addresses of the last time are used: the way to the name server
	// may lead through the tunnel that is down.
	Host string
	Port uint16
	// Local is the address to connect from; the zero value leaves both address
	// and port to the kernel, a port of 0 leaves the port.
	Local netip.AddrPort
	// Before is called with each server address before it is tried; an error
	// gives this address up.
	Before func(netip.Addr) error
	// Log gets a warning, once, when Local is no address of this host.
	Log *slog.Logger

	told  sync.Once
	mu    sync.Mutex
	known []netip.Addr
	turn  int
}

// lookupTimeout leaves time for dialling when the name server is silent.
const lookupTimeout = 2 * time.Second

// Dial connects once: it tries all addresses of the host, beginning with another
// one each time. The caller closes the connection.
func (d *Dialer) Dial(ctx context.Context) (net.Conn, error) {
	addrs, err := d.lookup(ctx)
	if err != nil {
		return nil, err
	}
	var failed []error
	for i, a := range addrs {
		conn, err := d.dial(ctx, netip.AddrPortFrom(a, d.Port), len(addrs)-i)
		if err == nil {
			return conn, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// lookup returns the addresses of the host, in the order of this turn.
func (d *Dialer) lookup(ctx context.Context) ([]netip.Addr, error) {
	limit, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(limit, "ip", d.Host)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.known = found
	}
	n := len(d.known)
	if n == 0 {
		return nil, err
	}
	addrs := make([]netip.Addr, n)
	for i := range addrs {
		addrs[i] = d.known[(d.turn+i)%n].Unmap()
	}
	d.turn++
	return addrs, nil
}

// dial tries one address, with its share of the time for all that are left.
func (d *Dialer) dial(ctx context.Context, to netip.AddrPort, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		share, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
		ctx = share
	}
	if d.Before != nil {
		if err := d.Before(to.Addr()); err != nil {
			return nil, err
		}
	}
	nd := net.Dialer{KeepAlive: -1, Control: d.control}
	if local := d.local(); local != (netip.AddrPort{}) {
		nd.LocalAddr = net.TCPAddrFromAddrPort(local)
	}
	return nd.DialContext(ctx, "tcp", to.String())
}

// local returns the address to connect from.
func (d *Dialer) local() netip.AddrPort {
	a := d.Local.Addr()
	if !a.IsValid() || a.IsUnspecified() || ours(a) {
		return d.Local
	}
	// Behind NAT the file may name an address that only the NAT has.
	d.told.Do(func() {
		d.Log.Warn("local address is not one of this host, using any", "address", a)
	})
	return netip.AddrPortFrom(netip.Addr{}, d.Local.Port())
}

func (d *Dialer) control(network, _ string, c syscall.RawConn) error {
	if err := reuseAddress(c, d.Local.Port() != 0); err != nil {
		return err
	}
	return d.set(c, network == "tcp6")
}

// ours reports whether this host has the address. Where the host does not tell,
// the dial will.
func ours(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(addrs, func(have net.Addr) bool {
		p, err := netip.ParsePrefix(have.String())
		return err == nil && p.Addr() == a
	})
}

// Listen opens the listening socket. An empty host listens on every address,
// IPv4 and IPv6.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // its subflows would escape the address filter
	lc.KeepAlive = -1
	l, err := lc.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port in use: %w", err)
	}
	return l, err
}

// Apply gives a connection the options.
func (o Options) Apply(conn net.Conn) error {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return fmt.Errorf("connection is %T, not TCP", conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	return o.set(raw, tcp.LocalAddr().(*net.TCPAddr).IP.To4() == nil)
}
