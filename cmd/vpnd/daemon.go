package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.zx2c4.com/wireguard/tun"

	"vpnd/conf"
	"vpnd/crypto"
	"vpnd/tunnel"
	"vpnd/tunnel/link"
	"vpnd/tunnel/netif"
)

// daemon is the parts of one running instance.
type daemon struct {
	conf    atomic.Pointer[conf.Config] // HUP changes it
	log     *slog.Logger
	name    string // of the interface
	set     *netif.Set
	hooks   *hooks
	tunnel  *tunnel.Tunnel
	started time.Time
}

// serve brings the interface up, calls ready, and carries packets until a signal
// ends it. What fails before ready is the command's error.
func serve(c *conf.Config, sys system, log *slog.Logger, ready func() error) (err error) {
	closing := func(what string, f func() error) {
		if cerr := f(); cerr != nil && err == nil {
			err = fmt.Errorf("%s: %w", what, cerr)
		}
	}
	s, err := prepare(c)
	if err != nil {
		return err
	}
	defer s.close()
	set, err := netif.Open(c.StateDir, c.Name, log)
	if err != nil {
		return err
	}
	defer closing("restore the host", set.Close)
	if c.PidFile != "" {
		p, err := lockPidfile(c.PidFile)
		if err != nil {
			return err
		}
		defer closing("remove pidfile", p.remove)
	}
	d := &daemon{log: log, set: set, started: time.Now()}
	d.conf.Store(c)
	if err := d.assemble(s); err != nil {
		return err
	}
	control, err := listenControl(c.Control)
	if err != nil {
		log.Warn("no control socket, --status will not work", "error", err)
	} else {
		control.serve(d.status)
		defer closing("remove control socket", control.close)
	}
	// Before ready: whoever waits for that may send a signal at once.
	signals, release := sys.signals()
	if err := ready(); err != nil {
		return errors.Join(err, d.run(signals, release, true))
	}
	return d.run(signals, release, false)
}

// device is the TUN device with what belongs to its end: slipdown runs, and the
// host is put back, before the interface goes.
type device struct {
	tun.Device
	d *daemon
}

func (dev device) Close() error {
	dev.d.hooks.interfaceDown()
	return errors.Join(dev.d.set.Close(), dev.Device.Close())
}

// assemble opens the socket and the device, and makes the tunnel. On an error
// nothing of it is left.
func (d *daemon) assemble(s *secrets) (err error) {
	c := d.conf.Load()
	t := d.tunnelConfig(c, s)
	if c.Mode == conf.Server {
		if t.Listener, err = listen(c); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				t.Listener.Close()
			}
		}()
	}
	dev, name, err := netif.OpenTUN(c.TunDev)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.set.Close(), dev.Close())
		}
	}()
	d.name = name
	if err := d.set.Apply(name, wanted(c)); errors.Is(err, netif.ErrPermission) {
		return err
	} else if err != nil {
		return exit(exitUnavailable, err)
	}
	d.hooks = newHooks(d.conf.Load, name, d.log)
	t.Device, t.Up, t.Down = device{dev, d}, d.hooks.linkUp, d.hooks.linkDown
	if d.tunnel, err = tunnel.New(t); err != nil {
		return err
	}
	d.log.Info("interface is up", "interface", name, "mtu", c.MTU, "local", c.Local, "remote", c.Remote)
	d.hooks.interfaceUp()
	return nil
}

func listen(c *conf.Config) (net.Listener, error) {
	l, err := link.Listen(context.Background(), c.Server[0].String())
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, os.ErrPermission):
		return nil, exitf(exitNoPerm, "%s: %w: ports below 1024 need root (CAP_NET_BIND_SERVICE)", c.Where("server"), err)
	}
	return nil, exitf(exitUnavailable, "%s: %w", c.Where("server"), err)
}

// wanted is what the host should have.
func wanted(c *conf.Config) netif.State {
	st := netif.State{MTU: c.MTU, AutoRoute: c.AutoRoute, Outer: outer(c)}
	for i := range c.Local {
		st.Addrs = append(st.Addrs, netif.Addr{Local: c.Local[i], Remote: c.Remote[i]})
	}
	for _, r := range c.Routes {
		st.Routes = append(st.Routes, netif.Route{Dest: r.Dest, Gateway: r.Gateway, Metric: r.Metric, Where: r.Where})
	}
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
		MTU:      c.MTU,
		Local:    c.Local,
		Remote:   c.Remote,
		Keys:     s.keys,
		Random:   s.random,
		KeyBits:  c.KeySize,
		KeyTTL:   c.KeyTTL,
		MaxDelay: c.MaxDelay,
		Tuning:   tuning(c),
		Log:      d.log,
	}
	for _, name := range c.Ciphers {
		cipher, err := crypto.ParseCipher(name)
		if err != nil {
			panic(err) // conf knows the same names; a test compares them
		}
		t.Ciphers = append(t.Ciphers, cipher)
	}
	o := link.Options{UserTimeout: time.Duration(c.NoAnswer+2) * c.Keepalive}
	o.SetIPOpts(c.IPOpts)
	if c.Mode == conf.Server {
		t.Accepted, t.Admit = o.Accepted, newFilter(c.Client, d.log).admit
		return t
	}
	t.Client = s.keys[0].ClientID(machineID(), c.Name)
	t.FixedPort = c.Client.Port != 0
	local := d.localEnd(c.Client)
	for _, e := range c.Server {
		dialer := &link.Dialer{Options: o, Host: e.Host, Port: e.Port, Local: local, Before: d.set.Pin, Log: d.log}
		t.Servers = append(t.Servers, dialer.Dial)
	}
	return t
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

// run carries packets until INT or TERM, or at once stops everything when over
// is set.
func (d *daemon) run(signals <-chan os.Signal, release func(), over bool) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.tunnel.Run(ctx) }()
	if over {
		cancel()
	}
	for {
		select {
		case err := <-done:
			return d.explain(err)
		case sig := <-signals:
			d.log.Info("signal", "signal", sig.String())
			switch sig {
			case syscall.SIGHUP:
				d.reload()
			case syscall.SIGUSR1:
				d.tunnel.Redial()
			default:
				release() // a second one ends the process at once
				cancel()
			}
		}
	}
}

// explain gives the end of the tunnel its exit code.
func (d *daemon) explain(err error) error {
	switch {
	case !errors.Is(err, tunnel.ErrDevice):
		return err
	case errors.Is(err, os.ErrClosed):
		return exitf(exitUnavailable, "interface %s was deleted: %w", d.name, err)
	}
	return exitf(exitUnavailable, "interface %s: %w", d.name, err)
}

// filter decides which callers a server talks to.
type filter struct {
	end conf.Endpoint
	log *slog.Logger
}

func newFilter(e conf.Endpoint, log *slog.Logger) *filter { return &filter{e, log} }

// admit reports whether a caller's address is the configured one. It says no
// when a name cannot be looked up.
func (f *filter) admit(from netip.AddrPort) bool {
	if f.end.Port != 0 && f.end.Port != from.Port() {
		return false
	}
	if f.end.Host == "" {
		return true
	}
	addrs, err := lookup(f.end.Host)
	if err != nil {
		f.log.Warn("look up the client", "host", f.end.Host, "error", err)
	}
	for _, a := range addrs {
		if a.Unmap() == from.Addr() {
			return true
		}
	}
	return false
}

// lookupTimeout bounds the look-up of a name.
const lookupTimeout = 2 * time.Second

func (d *daemon) status() report {
	c := d.conf.Load()
	return report{
		Instance:  c.Name,
		Version:   version,
		PID:       os.Getpid(),
		Started:   d.started,
		Mode:      string(c.Mode),
		Interface: d.name,
		MTU:       c.MTU,
		Local:     texts(c.Local),
		Remote:    texts(c.Remote),
		Outer:     endpoint(c),
		Stats:     d.tunnel.Stats(),
	}
}

func texts(addrs []netip.Addr) []string {
	out := []string{}
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}
