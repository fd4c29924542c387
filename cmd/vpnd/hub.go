package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/conf"
	"vpnd/crypto"
	"vpnd/tunnel"
	"vpnd/tunnel/loglimit"
	"vpnd/tunnel/netif"
	"vpnd/tunnel/pool"
)

// openPool opens the addresses of a hub's clients, nil for another end.
func openPool(c *conf.Config, log *slog.Logger) (*pool.Pool, error) {
	if len(c.Pool) == 0 {
		return nil, nil
	}
	p, err := pool.Open(poolFile(c), c.Pool, loglimit.NewLogger(log))
	if err != nil {
		return nil, exit.With(exit.Config, err)
	}
	p.Reserve(c.Local)
	return p, nil
}

// poolFile is where a hub writes down which client has which address.
func poolFile(c *conf.Config) string { return filepath.Join(c.StateDir, c.Name+".pool") }

// hub returns what makes the tunnel one of many clients, nil for another end.
func (d *daemon) hub(c *conf.Config) *tunnel.Hub {
	if !c.Hub() {
		return nil
	}
	h := &tunnel.Hub{ClientToClient: c.ClientToClient}
	if c.Peers == "" {
		h.Guest, h.Settle = d.guest, d.settle
	}
	return h
}

// guest offers a client that shares its key a name and addresses.
func (d *daemon) guest(id crypto.ClientID, wish []netip.Addr, busy func(name string) bool) (tunnel.HubPeer, error) {
	name := id.String()
	addrs, err := d.pool.Offer(name, wish, busy)
	return tunnel.HubPeer{Name: name, Addrs: addrs}, err
}

// settle gives such a client what it was offered, if that is to be had still.
func (d *daemon) settle(p tunnel.HubPeer, busy func(name string) bool) error {
	addrs, err := d.pool.Take(p.Name, p.Addrs, busy)
	if err == nil && !slices.Equal(addrs, p.Addrs) {
		err = fmt.Errorf("%v is taken by now", p.Addrs)
	}
	return err
}

// newRoster returns what keeps the clients of a hub as their files say, nil for another
// end.
func (d *daemon) newRoster(c *conf.Config) *roster {
	if c.Peers == "" {
		return nil
	}
	r := &roster{config: d.conf.Load, admit: d.admit, reserve: func([]netip.Addr) {}, log: d.log}
	if d.pool != nil {
		r.reserve = d.pool.Reserve
		r.take = func(name string) ([]netip.Addr, error) { return d.pool.Take(name, nil, d.lists) }
	}
	return r
}

// lists reports whether the hub has a client of a name: its address is not given away,
// though it may be out.
func (d *daemon) lists(name string) bool {
	_, err := os.Lstat(filepath.Join(d.conf.Load().Peers, name+conf.PeerSuffix))
	return err == nil
}

// admit makes these the clients of the hub, with routes to what is behind them. A route
// that the host cannot have keeps no client out; unrouted says why it is missing.
func (d *daemon) admit(members []member) (unrouted, err error) {
	c := d.conf.Load()
	var callers []tunnel.Peer
	var peers []tunnel.HubPeer
	var routes []netif.Route
	for _, m := range members {
		callers = append(callers, tunnel.Peer{Name: m.Name, Public: m.public, Secret: m.secret})
		peers = append(peers, m.HubPeer)
		for _, n := range m.Subnets {
			routes = append(routes, netif.Route{Dest: n, Where: m.file})
		}
		for _, a := range m.Addrs {
			if len(c.Pool) == 0 {
				routes = append(routes, netif.Route{Dest: netip.PrefixFrom(a, a.BitLen()), Where: m.file})
			}
		}
	}
	if err := d.auth.door.SetPeers(callers); err != nil { // who is out cannot call again
		return nil, err
	}
	if err := d.tunnel.SetPeers(peers); err != nil {
		return nil, err
	}
	return d.lead(routes), nil
}

// lead sets the routes to the clients, as far as the host can have them.
func (d *daemon) lead(routes []netif.Route) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := wanted(d.addressed(d.conf.Load()))
	st.Routes = append(st.Routes, routes...)
	there, err := d.set.ApplyMost(d.set.Device(), st)
	if err != nil { // what is missing must not stop a later change
		has := make(map[netif.Route]bool)
		for _, r := range there {
			has[r] = true
		}
		routes = slices.DeleteFunc(routes, func(r netif.Route) bool { return !has[r] })
	}
	d.behind = routes
	return err
}

// wanted is what the host should have by now. d.mu is held.
func (d *daemon) wanted(c *conf.Config) netif.State {
	st := wanted(d.addressed(c))
	st.Routes = append(st.Routes, d.behind...)
	return st
}

// assigned is the inner addresses of both ends that a client has from its server.
type assigned struct{ local, remote []netip.Addr }

func (a *assigned) is(b *assigned) bool {
	return a != nil && slices.Equal(a.local, b.local) && slices.Equal(a.remote, b.remote)
}

// addressed returns the configuration with the addresses of the server that the
// interface has.
func (d *daemon) addressed(c *conf.Config) *conf.Config {
	a := d.given.Load()
	if a == nil {
		return c
	}
	with := *c
	with.Local, with.Remote = a.local, a.remote
	return &with
}

// takeAddresses gives the interface the addresses that came with a link.
func (d *daemon) takeAddresses(l tunnel.Link) {
	if !d.conf.Load().LocalAuto {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.offered = &assigned{l.Local, l.Remote[:min(len(l.Local), len(l.Remote))]}
	d.refused = ""
	d.takeOffered()
}

// takeOffered takes the addresses that came with the last link, if the interface does not
// have them. d.mu is held.
func (d *daemon) takeOffered() {
	a, old := d.offered, d.given.Load()
	if a == nil || old.is(a) {
		return
	}
	d.given.Store(a)
	if err := d.set.Apply(d.set.Device(), d.wanted(d.conf.Load())); err != nil {
		d.given.Store(old)
		if d.refused != err.Error() {
			d.refused = err.Error()
			d.log.Error("addresses of the server not taken", "local", a.local, "error", err)
		}
		return
	}
	d.log.Info("addresses of the server taken", "local", a.local, "remote", a.remote)
}

// retake tries now and then to take addresses that were in use elsewhere, until ctx ends.
func (d *daemon) retake(ctx context.Context) {
	ticker := time.NewTicker(againAfter)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		d.mu.Lock()
		d.takeOffered()
		d.mu.Unlock()
	}
}

// poolRoutes lead to the clients of a hub.
func poolRoutes(c *conf.Config) (routes []netif.Route) {
	for _, p := range c.Pool {
		routes = append(routes, netif.Route{Dest: p, Where: c.Where("pool")})
	}
	return routes
}
