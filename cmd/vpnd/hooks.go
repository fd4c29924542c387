package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"vpnd/conf"
	"vpnd/tunnel"
	"vpnd/tunnel/hook"
	"vpnd/tunnel/loglimit"
)

const (
	// maxScripts is how many clients' scripts run at a time: all may come at once.
	maxScripts = 8
	// maxRuns is how many runs of these are logged at once: all clients of a hub may come
	// back to it.
	maxRuns = 1000
	// stopPatience is how long a stop waits for scripts of links to begin: on a hub a great
	// many may wait, and systemd kills the daemon after a time.
	stopPatience = 30 * time.Second
)

// hooks runs the scripts of the configuration that holds when an event comes.
type hooks struct {
	config func() *conf.Config
	device func() string // its name
	log    *slog.Logger
	links  *hook.Runner   // linkup and linkdown: not waited for
	runs   loglimit.Limit // of links, which callers can bring about as often as they like
}

func newHooks(config func() *conf.Config, device func() string, log *slog.Logger) *hooks {
	return &hooks{config: config, device: device, log: log,
		links: hook.NewRunner(context.Background(), maxScripts, log), runs: loglimit.Limit{Burst: maxRuns}}
}

// interfaceUp runs slipup, interfaceDown slipdown; both wait for the script. A
// script that fails is logged and stops nothing.
func (h *hooks) interfaceUp() {
	c := h.config()
	h.wait(c.SlipUp, h.script(c, c.SlipUp, event{name: "slipup", peer: endpoint(c)}))
}

func (h *hooks) interfaceDown() {
	h.links.Stop(stopPatience)
	c := h.config()
	h.wait(c.SlipDown, h.script(c, c.SlipDown, event{name: "slipdown", peer: endpoint(c)}))
}

func (h *hooks) wait(path string, s hook.Script) {
	if path == "" {
		return
	}
	if err := s.Run(context.Background()); err != nil {
		h.log.Error("hook ended with an error", "error", err)
	}
}

// linkUp and linkDown start linkup and linkdown.
func (h *hooks) linkUp(l tunnel.Link) {
	c := h.config()
	h.start(l, h.script(c, c.LinkUp, event{name: "linkup", peer: l.Peer, link: &l}))
}

func (h *hooks) linkDown(l tunnel.Link, cause error) {
	c := h.config()
	h.start(l, h.script(c, c.LinkDown, event{name: "linkdown", peer: l.Peer, reason: cause.Error(), link: &l, over: true}))
}

// start starts a script of a link; those of another client of a hub do not wait for it.
func (h *hooks) start(l tunnel.Link, s hook.Script) {
	if s.Path == "" {
		return
	}
	s.Log = h.runs.Together(s.Log) // when it runs, if it does
	h.links.Start(l.Name, s)
}

// event is what a script is told about.
type event struct {
	name   string
	peer   string       // outer host and port, or the device
	reason string       // of linkdown
	link   *tunnel.Link // of linkup and linkdown
	over   bool         // the link has ended: say what it carried
}

// endpoint is the outer address that the configuration names, or the device.
func endpoint(c *conf.Config) string { return cmp.Or(c.Device, c.Server[0].String()) }

func (h *hooks) script(c *conf.Config, path string, e event) hook.Script {
	transport, speed, host, port := "serial", c.Speed, "", ""
	if c.Device == "" {
		transport, speed = "tcp", 0
		host, port, _ = net.SplitHostPort(e.peer)
	}
	remotes := c.Remote
	if e.link != nil && c.Hub() {
		remotes = e.link.Remote
	}
	local, remote, device := first(c.Local), first(remotes), h.device()
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C",
		"VPND_EVENT=" + e.name,
		"VPND_INSTANCE=" + c.Name,
		"VPND_CONFIG=" + c.Path,
		"VPND_MODE=" + string(c.Mode),
		"VPND_IFNAME=" + device,
		fmt.Sprintf("VPND_MTU=%d", c.MTU),
		"VPND_LOCAL=" + local,
		"VPND_REMOTE=" + remote,
		"VPND_TRANSPORT=" + transport,
		"VPND_PEER=" + e.peer,
		"VPND_PEER_ADDR=" + host,
		"VPND_PEER_PORT=" + port,
		"VPND_DEVICE=" + c.Device,
		fmt.Sprintf("VPND_SPEED=%d", speed),
		"VPND_REASON=" + e.reason,
		"IFNAME=" + device,
		"DEVICE=" + c.Device,
		fmt.Sprintf("SPEED=%d", speed),
		"IPLOCAL=" + local,
		"IPREMOTE=" + remote,
	}
	if len(c.Local) > 1 {
		env = append(env, "VPND_LOCAL6="+c.Local[1].String())
	}
	if len(remotes) > 1 {
		env = append(env, "VPND_REMOTE6="+remotes[1].String())
	}
	if e.link != nil && c.Hub() {
		env = append(env, "VPND_CLIENT="+e.link.Name)
	}
	if e.over {
		env = append(env,
			fmt.Sprintf("VPND_CONNECT_TIME=%d", int(time.Since(e.link.Established).Seconds())),
			fmt.Sprintf("VPND_BYTES_SENT=%d", e.link.BytesOut),
			fmt.Sprintf("VPND_BYTES_RCVD=%d", e.link.BytesIn))
	}
	return hook.Script{
		Path:    path,
		Args:    []string{device, e.peer, strconv.Itoa(speed), local, remote, c.Name},
		Env:     env,
		Timeout: c.HookTimeout,
		Log:     h.log,
	}
}

func first(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return ""
	}
	return addrs[0].String()
}
