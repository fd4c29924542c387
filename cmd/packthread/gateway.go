package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/mesh"
	"vpnd/cmd/internal/registry"
	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
	"vpnd/tunnel"
	"vpnd/tunnel/link"
	"vpnd/tunnel/netif"
)

const (
	mtu       = 1500
	keyTTL    = 10 * time.Minute
	keepalive = 10 * time.Second
	noAnswer  = 2
	retry     = time.Minute
	sendBuf   = 16 << 10
	// lookEvery is how often the host's own networks are looked at.
	lookEvery = 5 * time.Second
)

// gateway is the parts of one that runs.
type gateway struct {
	*settings.Packthread
	name     string
	own      *crypto.Identity
	instance *mesh.Instance
	log      *slog.Logger

	set      *netif.Set
	door     *tunnel.StrongDoor
	tunnel   *tunnel.Tunnel
	follower *mesh.Follower
	started  time.Time

	table   atomic.Pointer[registry.Table] // the latest; nil: none
	news    chan struct{}                  // it has changed, or the host's networks may have
	applied atomic.Pointer[applied]        // what the host has by now; nil: nothing
	known   chan struct{}                  // closed when something was applied
	nexus   atomic.Pointer[netip.Addr]     // whose way was refused; nil: none
}

// run keeps the gateway in the mesh until ctx ends. What fails before ready is the
// command's error.
func (g *gateway) run(ctx context.Context, ready func() error) (err error) {
	g.started, g.news, g.known = time.Now(), make(chan struct{}, 1), make(chan struct{})
	saved, err := mesh.NewSaved(g.StateDir, g.name, g.own.Public(), g.ServerKey)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	client, err := registry.NewClient(g.name, g.own, g.Packthread)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	g.follower = mesh.NewFollower(client, saved, g.log, g.take)
	listener, nudges, err := g.listen(ctx)
	if err != nil {
		return err
	}
	device, err := g.open(listener)
	if err != nil {
		return errors.Join(err, listener.Close(), nudges.Close())
	}
	client.Way = way{g}
	g.log.Info("interface is up", "interface", g.set.Device(), "port", g.Port, "key", g.own.Public())
	if err = ready(); err != nil {
		return errors.Join(err, listener.Close(), nudges.Close(), device.Close())
	}
	return g.explain(together(ctx,
		func(ctx context.Context) error { return g.carry(ctx, listener, device) },
		g.follower.Run,
		func(ctx context.Context) error { return g.follower.Listen(ctx, nudges) },
		func(ctx context.Context) error { return g.instance.Serve(ctx, g.obey) },
		g.set.Keep,
		g.follow,
	))
}

// way is the way to nexus outside of the mesh.
type way struct{ g *gateway }

// Pin is that of the Set. The interface may be gone, and its routes with it: then the mesh
// has left this host. A network that is nexus alone loses its route: who cannot ask does
// not learn either that the network was withdrawn.
func (w way) Pin(nexus netip.Addr) error {
	err := w.g.set.Pin(nexus)
	if errors.Is(err, netif.ErrUnavailable) {
		return os.ErrClosed
	}
	if err != nil {
		w.g.nexus.Store(&nexus)
		w.g.look()
	}
	return err
}

func (w way) Settle(nexus netip.Addr) error {
	if a := w.g.nexus.Load(); a != nil && *a != nexus {
		w.g.nexus.Store(nil)
		w.g.look()
	}
	return w.g.set.Settle(nexus)
}

// carry runs the tunnel, as soon as it is known who may call: a caller that is not known
// yet would be kept waiting for nothing.
func (g *gateway) carry(ctx context.Context, listener net.Listener, device device) error {
	select {
	case <-ctx.Done():
		return errors.Join(listener.Close(), device.Close())
	case <-g.known:
		return g.tunnel.Run(ctx)
	}
}

// together runs all parts until one fails or ctx ends, and waits for all of them. It
// returns the first error.
func together(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	var first error
	var once sync.Once
	for _, part := range parts {
		running.Go(func() {
			if err := part(ctx); err != nil {
				once.Do(func() { first = err })
				cancel(err)
			}
		})
	}
	running.Wait()
	return first
}

// listen opens the port for links, and that for nudges.
func (g *gateway) listen(ctx context.Context) (net.Listener, net.PacketConn, error) {
	address := ":" + strconv.Itoa(int(g.Port))
	listener, err := link.Listen(ctx, address)
	if err != nil {
		return nil, nil, refusedPort(err)
	}
	nudges, err := new(net.ListenConfig).ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, nil, errors.Join(refusedPort(err), listener.Close())
	}
	return listener, nudges, nil
}

func refusedPort(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return exit.With(exit.NoPerm, fmt.Errorf("%w: ports below 1024 need root", err))
	}
	return exit.With(exit.Unavailable, err)
}

// device is the TUN device. The host is put back before it goes.
type device struct {
	*netif.TUN
	set *netif.Set
}

func (d device) Close() error { return errors.Join(d.set.Close(), d.TUN.Close()) }

// open makes the device and the tunnel.
func (g *gateway) open(listener net.Listener) (dev device, err error) {
	if g.set, err = netif.Open(g.StateDir, g.name, g.log); err != nil {
		return dev, err
	}
	tun, name, err := netif.OpenTUN("")
	if err != nil {
		return dev, errors.Join(err, g.set.Close())
	}
	dev = device{tun, g.set}
	if err = g.set.Apply(name, netif.State{MTU: mtu}); err == nil {
		g.door = tunnel.NewMeshDoor(rand.Reader, g.own)
		g.tunnel, err = tunnel.New(g.config(dev, listener))
	}
	if err != nil {
		return dev, errors.Join(err, dev.Close())
	}
	return dev, nil
}

func (g *gateway) config(dev device, listener net.Listener) tunnel.Config {
	return tunnel.Config{
		Device:   dev,
		MTU:      mtu,
		Listener: listener,
		Prepare:  link.Options{}.Apply,
		Door:     g.door,
		Random:   rand.Reader,
		Ciphers:  []crypto.Cipher{crypto.AES256GCM, crypto.ChaCha20Poly1305},
		KeyTTL:   keyTTL,
		Hub:      &tunnel.Hub{Mesh: &tunnel.Mesh{Dial: g.dial, Through: g.dialThrough, Astray: g.follower.Doubt}},
		Tuning:   tunnel.Tuning{Keepalive: keepalive, NoAnswer: noAnswer, Retry: retry, Compress: "auto", SendBuf: sendBuf},
		Log:      g.log,
	}
}

func (g *gateway) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	d := &link.Dialer{Host: to.Addr().String(), Port: to.Port(), Log: g.log}
	return d.Dial(ctx)
}

// dialThrough calls the inner address of a peer.
func (g *gateway) dialThrough(ctx context.Context, to netip.Addr) (net.Conn, error) {
	a := g.applied.Load()
	if a == nil || !a.inner.IsValid() || a.inner.Is4() != to.Is4() {
		return nil, errors.New("this gateway has no inner address to call from")
	}
	d := &link.Dialer{Host: to.String(), Port: tunnel.InnerPort, Local: netip.AddrPortFrom(a.inner, tunnel.InnerCallPort), Log: g.log}
	return d.Dial(ctx)
}

// take notes a table.
func (g *gateway) take(t *registry.Table) {
	g.table.Store(t)
	g.look()
}

// look has follow look at table and host.
func (g *gateway) look() {
	select {
	case g.news <- struct{}{}:
	default:
	}
}

// follow keeps links and routes as the table and the host's networks say, until ctx ends.
func (g *gateway) follow(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.news:
		case <-ticker.C:
		}
		g.apply(g.table.Load())
	}
}

// obey does what a second process says.
func (g *gateway) obey(command string) []byte {
	switch command {
	case cmdRegister:
		g.log.Info("registering at once, looking at all links")
		g.follower.Register()
		g.tunnel.Redial()
		g.look()
		return []byte(replyDone)
	case cmdStatus:
		return g.status().encode()
	}
	return nil
}

// explain gives the end of a part its exit code.
func (g *gateway) explain(err error) error {
	switch {
	case errors.Is(err, netif.ErrUnavailable), errors.Is(err, tunnel.ErrDevice):
		return exit.With(exit.Unavailable, fmt.Errorf("interface %s: %w", cmp.Or(g.set.Device(), "of the mesh"), err))
	}
	return err
}
