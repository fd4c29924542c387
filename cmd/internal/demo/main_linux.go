package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"vpnd/cmd/internal/lab"
)

// The addresses of examples/simple.
var (
	serverOuter = lab.Prefixes("192.0.2.1/24")
	clientOuter = lab.Prefixes("192.0.2.2/24")
	serverInner = netip.MustParseAddr("192.168.200.1")
	clientInner = netip.MustParseAddr("192.168.200.2")
)

const (
	port    = 24741
	volume  = 100 << 20 // bytes moved each way
	tooLong = 2 * time.Minute
)

func main() {
	vpnd := flag.String("vpnd", "bin/vpnd", "the program to show")
	serial := flag.Bool("serial", false, "over a serial line instead of TCP")
	hub := flag.Bool("hub", false, "one server with two clients")
	mesh := flag.String("mesh", "", "show nexus and packthread instead, which are in this directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	demo := func() error { return run(ctx, *vpnd, *serial, *hub) }
	if *mesh != "" {
		demo = func() error { return runMesh(ctx, *mesh) }
	}
	if err := demo(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is two or three hosts, each with the files of its vpnd.
type demo struct {
	vpnd                   string
	server, client, office host // office: only of a hub
}

type host struct {
	*lab.Namespace
	config string
	daemon *lab.Process
}

// A step is one scene of the demo.
type step struct {
	title string
	run   func(context.Context) error
}

func run(ctx context.Context, vpnd string, serial, hub bool) (err error) {
	vpnd, err = filepath.Abs(vpnd)
	if err != nil {
		return err
	}
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	d := demo{vpnd: vpnd}
	steps := d.overTCP(l)
	switch {
	case serial:
		c := newCable(l)
		defer c.close()
		steps = d.overCable(l, c)
	case hub:
		steps = d.overHub(l)
	}
	return play(ctx, steps, d.logs)
}

// play runs one scene after the other. logs is what is said of the programs when one
// fails.
func play(ctx context.Context, steps []step, logs func() string) error {
	for _, step := range steps {
		fmt.Printf("\n== %s\n", step.title)
		limited, cancel := context.WithTimeout(ctx, tooLong)
		err := step.run(limited)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w%s", step.title, err, logs())
		}
	}
	return nil
}

func (d *demo) overTCP(l *lab.Lab) []step {
	return []step{
		{"two hosts, two files, one key", func(context.Context) error { return d.build(l) }},
		{"the link comes up", func(ctx context.Context) error { return d.start(ctx, time.Millisecond) }},
		{"ping both ways", func(ctx context.Context) error {
			return d.ping(ctx, lab.PingOptions{Size: 56, Count: 200, Interval: 5 * time.Millisecond})
		}},
		{fmt.Sprintf("the Go source tree, %d MB each way at once", volume>>20), func(ctx context.Context) error { return d.transfer(ctx, volume) }},
		{"the connection is cut", d.cut},
		{"what vpnd --status says on the client", d.status},
		{"the end", d.stop},
	}
}

// hosts makes the namespaces.
func (d *demo) hosts(l *lab.Lab) (err error) {
	if d.server.Namespace, err = l.Namespace("server"); err != nil {
		return err
	}
	d.client.Namespace, err = l.Namespace("client")
	return err
}

// build joins the namespaces with a network and copies the examples into them.
func (d *demo) build(l *lab.Lab) (err error) {
	if err = d.hosts(l); err != nil {
		return err
	}
	if _, err = l.Connect(d.server.Namespace, d.client.Namespace, serverOuter, clientOuter); err != nil {
		return err
	}
	return d.configure(l, "examples/simple", func(_ string, text []byte) []byte { return text })
}

// configure copies the examples, each changed by adapt, and makes the key.
func (d *demo) configure(l *lab.Lab, examples string, adapt func(name string, text []byte) []byte) (err error) {
	hook := filepath.Join(l.Dir(), "linkup")
	if err := os.WriteFile(hook, []byte(linkup), 0o755); err != nil {
		return err
	}
	if d.server.config, err = copyConfig(l, examples, "server", "", adapt); err != nil {
		return err
	}
	if d.client.config, err = copyConfig(l, examples, "client", "linkup "+hook, adapt); err != nil {
		return err
	}
	return show(d.vpnd, "-m", filepath.Join(l.Dir(), "vpnd.key"))
}

// linkup is the hook that the client runs.
const linkup = `#!/bin/sh
echo "linkup hook: $VPND_IFNAME is up, $VPND_LOCAL to $VPND_REMOTE through $VPND_PEER"
`

// copyConfig copies one of the examples, and keeps what the daemon writes inside
// the lab's directory.
func copyConfig(l *lab.Lab, examples, name, more string, adapt func(name string, text []byte) []byte) (string, error) {
	text, err := os.ReadFile(filepath.Join(examples, name+".conf"))
	if err != nil {
		return "", err
	}
	path := filepath.Join(l.Dir(), name+".conf")
	text = fmt.Appendf(adapt(name, text), "\nstatedir %s\ncontrol %s\n%s\n", filepath.Join(l.Dir(), "state"), filepath.Join(l.Dir(), name+".sock"), more)
	fmt.Printf("%s/%s.conf\n", examples, name)
	return path, os.WriteFile(path, text, 0o644)
}

// show runs a command and its output.
func show(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

func (d *demo) start(ctx context.Context, pingEvery time.Duration) (err error) {
	if d.server.daemon, err = d.server.Start(exec.Command(d.vpnd, "-n", "-f", d.server.config)); err != nil {
		return err
	}
	if _, err = d.server.daemon.Stderr.WaitFor(ctx, "interface is up"); err != nil {
		return err
	}
	if d.client.daemon, err = d.client.Start(exec.Command(d.vpnd, "-n", "-f", d.client.config)); err != nil {
		return err
	}
	took, err := d.client.WaitPing(ctx, serverInner, pingEvery)
	if err != nil {
		return err
	}
	fmt.Printf("first reply through the tunnel %v after the client was started\n", took.Round(100*time.Microsecond))
	said, err := d.client.daemon.Stderr.WaitFor(ctx, `linkup hook: [^"\n]*`)
	if err == nil {
		fmt.Println(said[0])
	}
	return err
}

func (d *demo) ping(ctx context.Context, o lab.PingOptions) error {
	for _, p := range []struct {
		from host
		to   netip.Addr
	}{{d.client, serverInner}, {d.server, clientInner}} {
		st, err := p.from.Ping(ctx, p.to, o)
		if err != nil {
			return err
		}
		if len(st.RTT) != st.Sent {
			return fmt.Errorf("%d of %d replies from %v: %w", len(st.RTT), st.Sent, p.to, st.Err)
		}
		fmt.Printf("%s to %v: %d of %d replies, round trip p50 %v, p99 %v\n", p.from.Name(), p.to,
			len(st.RTT), st.Sent, st.Percentile(50).Round(time.Microsecond), st.Percentile(99).Round(time.Microsecond))
	}
	return nil
}

func (d *demo) transfer(ctx context.Context, volume int) error {
	dir, err := lab.GoSource()
	if err != nil {
		return err
	}
	tree, err := lab.Tree(dir, volume)
	if err != nil {
		return err
	}
	ends := lab.Ends{Client: d.client.Namespace, Server: d.server.Namespace, Dst: serverInner}
	m, err := ends.Transfer(ctx, lab.Load{Up: int64(volume), Down: int64(volume), Content: tree})
	if err != nil {
		return err
	}
	st, err := d.ask()
	if err != nil {
		return err
	}
	fmt.Printf("client to server %.3g Mbit/s, server to client %.3g Mbit/s, SHA-256 equal\n", m.Up.Rate()*8/1e6, m.Down.Rate()*8/1e6)
	fmt.Printf("compression %.2f out, %.2f in\n", st.CompressionOut, st.CompressionIn)
	return nil
}

// cut resets the connection under the tunnel a few times, with an inner
// connection open that must live on.
func (d *demo) cut(ctx context.Context) error {
	ends := lab.Ends{Client: d.client.Namespace, Server: d.server.Namespace, Dst: serverInner}
	inner, err := ends.Converse(ctx)
	if err != nil {
		return err
	}
	defer inner.Close()
	for range 3 {
		if _, err := inner.Exchange(ctx, 1000); err != nil {
			return err
		}
		// A link that lived for a second is one worth dialling for at once.
		if _, err := d.client.Ping(ctx, serverInner, lab.PingOptions{Count: 100, Interval: 10 * time.Millisecond}); err != nil {
			return err
		}
		if n, err := d.client.ResetTCP(port); err != nil || n == 0 {
			return fmt.Errorf("%d connections reset: %w", n, err)
		}
		took, err := d.client.WaitPing(ctx, serverInner, time.Millisecond)
		if err != nil {
			return err
		}
		fmt.Printf("reset; next reply through the tunnel after %v\n", took.Round(100*time.Microsecond))
	}
	_, err = inner.Exchange(ctx, 1000)
	if err == nil {
		fmt.Println("a TCP connection inside the tunnel lived through all of them")
	}
	return err
}

func (d *demo) status(context.Context) error { return show(d.vpnd, "--status", "-f", d.client.config) }

// ask returns the two figures of the client's status that the demo prints.
func (d *demo) ask() (st struct {
	CompressionOut float64 `json:"compression_out"`
	CompressionIn  float64 `json:"compression_in"`
}, err error) {
	text, err := exec.Command(d.vpnd, "--status", "--json", "-f", d.client.config).Output()
	if err == nil {
		err = json.Unmarshal(text, &st)
	}
	return st, err
}

// stop ends all daemons and looks whether they put the hosts back.
func (d *demo) stop(ctx context.Context) error {
	for _, h := range []*host{&d.client, &d.office, &d.server} {
		if err := d.ends(ctx, h); err != nil {
			return err
		}
	}
	fmt.Println("all daemons ended, interfaces and routes are gone, and so are the namespaces in a moment")
	return nil
}

// ends ends the daemon of a host that has one.
func (d *demo) ends(ctx context.Context, h *host) error {
	if h.daemon == nil {
		return nil
	}
	if err := h.daemon.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if code, err := h.daemon.Wait(ctx); err != nil || code != 0 {
		return fmt.Errorf("%s ended with code %d: %w", h.Name(), code, err)
	}
	return nil
}

// logs is what the daemons said, for a demo that failed.
func (d *demo) logs() (text string) {
	for _, h := range []host{d.server, d.client, d.office} {
		if h.daemon != nil {
			text += "\n-- log of " + h.Name() + "\n" + h.daemon.Stderr.String()
		}
	}
	return text
}
