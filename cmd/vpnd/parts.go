package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"vpnd/cmd/internal/exit"
	"vpnd/conf"
	"vpnd/crypto"
	"vpnd/tunnel"
	"vpnd/tunnel/link"
	"vpnd/tunnel/netif"
)

// The parts of a daemon as a configuration wants them.

func listen(c *conf.Config) (net.Listener, error) {
	l, err := link.Listen(context.Background(), c.Server[0].String())
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, os.ErrPermission):
		return nil, exit.Withf(exit.NoPerm, "%s: %w: ports below 1024 need root (CAP_NET_BIND_SERVICE)", c.Where("server"), err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, exit.Withf(exit.Unavailable, "%s: %w: this host does not have the address; say \"server %d\" to listen at all it has",
			c.Where("server"), err, c.Server[0].Port)
	}
	return nil, exit.Withf(exit.Unavailable, "%s: %w", c.Where("server"), err)
}

// wanted is what the host should have.
func wanted(c *conf.Config) netif.State {
	st := netif.State{MTU: c.MTU, AutoRoute: c.AutoRoute, Outer: outer(c)}
	for i, local := range c.Local {
		a := netif.Addr{Local: local}
		if i < len(c.Remote) {
			a.Remote = c.Remote[i]
		}
		st.Addrs = append(st.Addrs, a)
	}
	for _, r := range c.Routes {
		if len(c.Local) == 0 && (len(c.Remote) == 0 || slices.Contains(c.Remote, r.Gateway)) {
			r.Gateway = netip.Addr{} // it is known, and reached, when the server has given the addresses
		}
		st.Routes = append(st.Routes, netif.Route{Dest: r.Dest, Gateway: r.Gateway, Metric: r.Metric, Where: r.Where})
	}
	st.Routes = append(st.Routes, poolRoutes(c)...)
	return st
}

// outer returns the peer's outer addresses as far as the configuration has them
// as numbers; names are looked up when they are dialled.
func outer(c *conf.Config) (addrs []netip.Addr) {
	ends := []conf.Endpoint{c.Client}
	if c.Mode == conf.Client {
		ends = c.Server
	}
	for _, e := range ends {
		if a, err := netip.ParseAddr(e.Host); err == nil {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

func (d *daemon) tunnelConfig(c *conf.Config, s *secrets) tunnel.Config {
	t := tunnel.Config{
		MTU:         c.MTU,
		NoIPv6:      c.NoIPv6,
		NoMulticast: c.NoMulticast,
		Local:       c.Local,
		Remote:      c.Remote,
		Keys:        s.keys,
		Random:      s.random,
		KeyBits:     c.KeySize,
		KeyTTL:      c.KeyTTL,
		MaxDelay:    c.MaxDelay,
		Auto:        c.LocalAuto,
		Hub:         d.hub(c),
		Tuning:      tuning(c),
		Log:         d.log,
	}
	for _, name := range c.Ciphers {
		cipher, err := crypto.ParseCipher(name)
		if err != nil {
			panic(err) // conf knows the same names; a test compares them
		}
		t.Ciphers = append(t.Ciphers, cipher)
	}
	d.auth.configure(&t)
	if c.Mode == conf.Client && s.keys != nil {
		t.Client = s.keys[0].ClientID(machineID(), c.Name)
	}
	if c.Device != "" {
		return t
	}
	// The present configuration at each call: HUP changes it.
	t.Prepare = func(conn net.Conn) error { return socketOptions(d.conf.Load()).Apply(conn) }
	if c.Mode == conf.Server {
		t.Admit = newFilter(c.Client, d.log).admit
		return t
	}
	t.FixedPort = c.Client.Port != 0
	local := d.localEnd(c.Client)
	for _, e := range c.Server {
		dialer := &link.Dialer{Options: socketOptions(c), Host: e.Host, Port: e.Port, Local: local, Before: d.set.Pin, Log: d.log}
		t.Servers = append(t.Servers, dialer.Dial)
	}
	return t
}

// socketOptions are those of the outer connection.
func socketOptions(c *conf.Config) (o link.Options) {
	o.SetIPOpts(c.IPOpts)
	return o
}

func tuning(c *conf.Config) tunnel.Tuning {
	return tunnel.Tuning{Keepalive: c.Keepalive, NoAnswer: c.NoAnswer, Retry: c.Retry, Compress: c.Compress, SendBuf: c.SendBuf}
}

// localEnd is where a client connects from: any address when there is none of
// the name.
func (d *daemon) localEnd(e conf.Endpoint) netip.AddrPort {
	if e.Host == "" {
		return netip.AddrPortFrom(netip.Addr{}, e.Port)
	}
	addrs, err := lookup(e.Host)
	if err != nil {
		d.log.Warn("local address not found, using any", "host", e.Host, "error", err)
		return netip.AddrPortFrom(netip.Addr{}, e.Port)
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), e.Port)
}

// lookup returns the addresses of a name, or the address that it is.
func lookup(host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// machineID tells machines apart that share a key: what systemd and D-Bus
// use, or else the host's name.
func machineID() string {
	if id, err := os.ReadFile("/etc/machine-id"); err == nil {
		return string(id)
	}
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}
