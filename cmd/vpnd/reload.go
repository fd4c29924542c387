package main

import (
	"reflect"

	"vpnd/conf"
)

// reload is what HUP does: it reads the configuration again, applies what can
// be changed while the link is up, and names the rest. A configuration with
// mistakes changes nothing.
func (d *daemon) reload() {
	old := d.conf.Load()
	c, err := conf.ParseFile(old.Path)
	if err != nil {
		d.log.Error("configuration not reloaded", "error", err)
		return
	}
	s, err := prepare(c)
	if err != nil {
		d.log.Error("configuration not reloaded", "error", err)
		return
	}
	s.close()
	keywords := needRestart(old, c)
	if c.ModemChat == old.ModemChat && !reflect.DeepEqual(s.chat, d.chat) {
		keywords = append(keywords, "modemchat")
	}
	for _, keyword := range keywords {
		d.log.Warn("change needs a restart", "keyword", keyword)
	}
	// What needs a restart stays as it is, so that the state of the host and of
	// this process agree.
	next := *old
	next.Keepalive, next.NoAnswer, next.Retry = c.Keepalive, c.NoAnswer, c.Retry
	next.Compress, next.SendBuf = c.Compress, c.SendBuf
	next.LinkUp, next.LinkDown, next.SlipUp, next.SlipDown, next.HookTimeout = c.LinkUp, c.LinkDown, c.SlipUp, c.SlipDown, c.HookTimeout
	next.Routes, next.AutoRoute = c.Routes, c.AutoRoute
	d.change(&next)
	d.tunnel.Tune(tuning(&next))
	if d.roster != nil {
		d.roster.look(true)
	}
	d.log.Info("configuration reloaded")
}

// change makes a configuration the one that counts, with its routes if the host can have
// them.
func (d *daemon) change(next *conf.Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.set.Apply(d.set.Device(), d.wanted(next)); err != nil {
		d.log.Error("routes not changed", "error", err)
		old := d.conf.Load()
		next.Routes, next.AutoRoute = old.Routes, old.AutoRoute
	}
	d.conf.Store(next)
	d.takeOffered()
}

// needRestart returns the keywords whose change a running daemon cannot follow.
func needRestart(old, new *conf.Config) (keywords []string) {
	for _, k := range []struct {
		keyword  string
		was, now any
	}{
		{"mode", old.Mode, new.Mode},
		{"server", old.Server, new.Server},
		{"client", old.Client, new.Client},
		{"local", old.Local, new.Local},
		{"local", old.LocalAuto, new.LocalAuto},
		{"remote", old.Remote, new.Remote},
		{"pool", old.Pool, new.Pool},
		{"peers", old.Peers, new.Peers},
		{"clienttoclient", old.ClientToClient, new.ClientToClient},
		{"key", old.Key, new.Key},
		{"keyfile", old.KeyFile, new.KeyFile},
		{"oldkeyfile", old.OldKeyFile, new.OldKeyFile},
		{"passphrase", old.Passphrase, new.Passphrase},
		{"keysize", old.KeySize, new.KeySize},
		{"keyttl", old.KeyTTL, new.KeyTTL},
		{"maxdelay", old.MaxDelay, new.MaxDelay},
		{"pidfile", old.PidFile, new.PidFile},
		{"randomdev", old.RandomDev, new.RandomDev},
		{"mtu", old.MTU, new.MTU},
		{"ipopts", old.IPOpts, new.IPOpts},
		{"auth", old.Auth, new.Auth},
		{"cipher", old.Ciphers, new.Ciphers},
		{"tundev", old.TunDev, new.TunDev},
		{"statedir", old.StateDir, new.StateDir},
		{"control", old.Control, new.Control},
		{"speed", old.Speed, new.Speed},
		{"localline", old.LocalLine, new.LocalLine},
		{"nortscts", old.NoRTSCTS, new.NoRTSCTS},
		{"xfilter", old.XFilter, new.XFilter},
		{"telnet", old.Telnet, new.Telnet},
		{"rs485", old.RS485, new.RS485},
		{"halfduplex", old.HalfDuplex, new.HalfDuplex},
		{"modemchat", old.ModemChat, new.ModemChat},
		{"demand", old.Demand, new.Demand},
		{"idle", old.Idle, new.Idle},
		{"noipv6", old.NoIPv6, new.NoIPv6},
		{"nomulticast", old.NoMulticast, new.NoMulticast},
	} {
		if !reflect.DeepEqual(k.was, k.now) {
			keywords = append(keywords, k.keyword)
		}
	}
	return keywords
}
