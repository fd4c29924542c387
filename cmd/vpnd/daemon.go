package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"vpnd/cmd/internal/background"
	"vpnd/cmd/internal/exit"
	"vpnd/conf"
	"vpnd/serial/chat"
	"vpnd/tunnel"
	"vpnd/tunnel/netif"
	"vpnd/tunnel/pool"
)

// daemon is the parts of one running instance.
type daemon struct {
	conf    atomic.Pointer[conf.Config] // HUP changes it
	log     *slog.Logger
	set     *netif.Set
	hooks   *hooks
	tunnel  *tunnel.Tunnel
	auth    *auth                    // nil: shared keys
	pool    *pool.Pool               // nil: no hub
	roster  *roster                  // nil: no files of clients
	given   atomic.Pointer[assigned] // of the server, that the interface has; nil: none
	line    *line                    // nil: over TCP
	chat    *chat.Script             // as it was read at the start
	started time.Time

	// mu is held while the host is brought to something else: what is wanted of it is made
	// of conf, given and behind, which change with that.
	mu      sync.Mutex
	behind  []netif.Route // to the clients' subnets, that the host has
	offered *assigned     // by the server with the last link; nil: none
	refused string        // why the interface does not have them, as logged
}

// garbage is how much may pile up before it is collected, in percent of the memory
// in use. Packets make none; callers do, and a flood of them must not be felt.
const garbage = 25

// serve brings the interface up, calls ready, and carries packets until a signal
// ends it. What fails before ready is the command's error.
func serve(c *conf.Config, phrases *passphrases, sys system, self *background.Program, log *slog.Logger, ready func() error) (err error) {
	debug.SetGCPercent(garbage)
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
	if err := s.unlock(c, phrases); err != nil {
		return err
	}
	set, err := netif.Open(c.StateDir, c.Name, log)
	if err != nil {
		return err
	}
	defer closing("restore the host", set.Close)
	defer closing("remove crash file", self.DropCrashes)
	if c.PidFile != "" {
		p, err := lockPidfile(c.PidFile)
		if err != nil {
			return err
		}
		defer closing("remove pidfile", p.remove)
	}
	auth, err := openAuth(c, s, log)
	if err != nil {
		return err
	}
	defer closing("transaction numbers", auth.close)
	pool, err := openPool(c, log)
	if err != nil {
		return err
	}
	if pool != nil {
		defer closing("store the pool", pool.Close)
	}
	d := &daemon{log: log, set: set, auth: auth, pool: pool, chat: s.chat, started: time.Now()}
	d.conf.Store(c)
	// Before slipup: what is on the host by then must not be left by a signal.
	signals, release := sys.signals()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	orders, ends := sortSignals(ctx, signals, release)
	if err := d.assemble(s); err != nil {
		return err
	}
	control, err := listenControl(c.Control)
	if err != nil {
		log.Warn("no control socket, --status will not work", "error", err)
	} else {
		control.serve(d.status, d.auth.resync)
		defer closing("remove control socket", control.close)
	}
	if err := ready(); err != nil {
		return errors.Join(err, d.run(orders, ends, true))
	}
	return d.run(orders, ends, false)
}

// device is the TUN device with what belongs to its end: slipdown runs, and the
// host is put back, before the interface goes.
type device struct {
	*netif.TUN
	d *daemon
}

func (dev device) Close() error {
	dev.d.hooks.interfaceDown()
	return errors.Join(dev.d.set.Close(), dev.TUN.Close())
}

// assemble opens the socket, or looks at the line, opens the device, and makes the
// tunnel. On an error nothing of it is left.
func (d *daemon) assemble(s *secrets) (err error) {
	c := d.conf.Load()
	t := d.tunnelConfig(c, s)
	switch {
	case c.Device != "":
		d.line = newLine(c, d.chat, d.log)
		if err := d.line.check(c); err != nil {
			return err
		}
		t.Line = d.line.tunnelLine(c)
	case c.Mode == conf.Server:
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
	if err := d.set.Apply(name, wanted(c)); errors.Is(err, netif.ErrPermission) {
		return err
	} else if err != nil {
		return exit.With(exit.Unavailable, err)
	}
	d.hooks = newHooks(func() *conf.Config { return d.addressed(d.conf.Load()) }, d.set.Device, d.log)
	t.Device, t.Up, t.Down = device{dev, d}, d.linkUp, d.hooks.linkDown
	if d.tunnel, err = tunnel.New(t); err != nil {
		return err
	}
	if d.roster = d.newRoster(c); d.roster != nil {
		d.roster.look(true)
	}
	d.log.Info("interface is up", "interface", name, "mtu", c.MTU, "local", c.Local, "remote", c.Remote)
	d.hooks.interfaceUp()
	return nil
}

// linkUp sees to the host's routes and calls the script.
func (d *daemon) linkUp(l tunnel.Link) {
	a, err := netip.ParseAddrPort(l.Peer)
	if err == nil && d.conf.Load().Mode == conf.Client { // a server pins nobody
		if err := d.set.Settle(a.Addr()); err != nil {
			d.log.Warn("pins not removed", "error", err)
		}
	}
	d.takeAddresses(l)
	d.hooks.linkUp(l)
}

// run carries packets until INT or TERM, or the end of the device, or at once stops
// everything when over is set.
func (d *daemon) run(orders, ends <-chan os.Signal, over bool) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	var keeping sync.WaitGroup
	keeping.Go(func() { d.keep(ctx, cancel) })
	if d.roster != nil {
		keeping.Go(func() { d.roster.run(ctx) })
	}
	if d.conf.Load().LocalAuto {
		keeping.Go(func() { d.retake(ctx) })
	}
	defer keeping.Wait()
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- d.tunnel.Run(ctx) }()
	if over {
		cancel(nil)
	}
	for {
		select {
		case err := <-done:
			d.sumUp()
			return d.explain(cmp.Or(err, lost(ctx)))
		case sig := <-ends:
			d.log.Info("signal", "signal", sig.String())
			cancel(nil)
		case sig := <-orders:
			d.log.Info("signal", "signal", sig.String())
			if sig == syscall.SIGHUP {
				d.reload()
			} else {
				d.tunnel.Redial()
			}
		}
	}
}

// maxOrders is how many HUP and USR1 wait. More are lost.
const maxOrders = 8

// sortSignals takes signals from in until ctx ends, also while slipup runs or a HUP is
// obeyed. With the first INT or TERM it calls release at once, so that a second one ends
// the process, and no HUP or USR1 stands in its way.
func sortSignals(ctx context.Context, in <-chan os.Signal, release func()) (orders, ends <-chan os.Signal) {
	o, e := make(chan os.Signal, maxOrders), make(chan os.Signal, 1)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case sig := <-in:
				to := o
				if sig == syscall.SIGINT || sig == syscall.SIGTERM {
					release()
					to = e
				}
				select {
				case to <- sig:
				default:
				}
			}
		}
	}()
	return o, e
}

// keep looks after the interface. When it is gone for good, so is the daemon: what
// supervises it starts it again, and a person sees why.
func (d *daemon) keep(ctx context.Context, end context.CancelCauseFunc) {
	err := d.set.Keep(ctx)
	switch {
	case errors.Is(err, netif.ErrUnavailable):
		end(err)
	case err != nil:
		d.log.Warn("what others change on the interface will not be seen", "error", err)
	}
}

// lost returns why the device is gone, if that is what ended ctx.
func lost(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, netif.ErrUnavailable) {
		return err
	}
	return nil
}

// sumUp logs what the tunnel has done: the last counters are to be had nowhere
// else.
func (d *daemon) sumUp() {
	st := d.tunnel.Stats()
	d.log.Info("stopped", "links", st.Links,
		"from_host", st.Inside.PacketsIn, "sent", st.Wire.PacketsOut, "dropped_out", nonZero(st.DropsOut),
		"received", st.Wire.PacketsIn, "to_host", st.Inside.PacketsOut, "dropped_in", nonZero(st.DropsIn))
}

// explain gives the end of the tunnel its exit code.
func (d *daemon) explain(err error) error {
	switch {
	case errors.Is(err, netif.ErrUnavailable), errors.Is(err, tunnel.ErrDevice) && errors.Is(err, os.ErrClosed):
		return exit.Withf(exit.Unavailable, "interface %s was deleted or moved to another network namespace: %w", d.set.Device(), err)
	case errors.Is(err, tunnel.ErrDevice):
		return exit.Withf(exit.Unavailable, "interface %s: %w", d.set.Device(), err)
	}
	return err
}

// lookupTimeout bounds the look-up of a name.
const lookupTimeout = 2 * time.Second

func (d *daemon) status() report {
	c := d.addressed(d.conf.Load())
	return report{
		Instance:  c.Name,
		Version:   exit.Version,
		PID:       os.Getpid(),
		Started:   d.started,
		Mode:      string(c.Mode),
		Interface: d.set.Device(),
		MTU:       c.MTU,
		Local:     texts(c.Local),
		Remote:    texts(c.Remote),
		Outer:     endpoint(c),
		Line:      d.line.report(),
		Stats:     d.tunnel.Stats(),

		Goroutines: runtime.NumGoroutine(),
	}
}

func texts(addrs []netip.Addr) []string {
	out := []string{}
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}
