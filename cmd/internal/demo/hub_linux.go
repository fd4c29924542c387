package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"vpnd/cmd/internal/lab"
)

// The addresses of examples/hub. The desk is a host behind the office.
var (
	hubInner  = netip.MustParseAddr("10.99.0.1")
	deskInner = netip.MustParseAddr("192.168.30.2")
	hubPool   = netip.MustParsePrefix("10.99.0.0/24")
)

// hubDemo is a hub, which is the server of the demo, and two clients, of which the
// laptop is the client.
type hubDemo struct {
	*demo
	dir  string
	desk *lab.Namespace
}

func (d *demo) overHub(l *lab.Lab) []step {
	h := &hubDemo{demo: d, dir: l.Dir()}
	return []step{
		{"a hub, an office with a desk behind it, and a laptop", func(ctx context.Context) error { return h.build(ctx, l) }},
		{"the office and the laptop are invited", h.invite},
		{"each has one file, and is up", h.arrive},
		{"from the laptop to the desk, by the hub and the office", h.cross},
		{"what vpnd --status says on the hub", func(context.Context) error { return show(d.vpnd, "--status", "-f", d.server.config) }},
		{"the laptop is lost: it is revoked", h.revoke},
		{"it is found, and invited again", h.again},
		{"the end", d.stop},
	}
}

// build makes the hosts, and starts the hub with the file of the examples.
func (h *hubDemo) build(ctx context.Context, l *lab.Lab) (err error) {
	for name, ns := range map[string]**lab.Namespace{"hub": &h.server.Namespace, "laptop": &h.client.Namespace, "office": &h.office.Namespace, "desk": &h.desk} {
		if *ns, err = l.Namespace(name); err != nil {
			return err
		}
	}
	for _, link := range []struct {
		a, b         *lab.Namespace
		addrA, addrB string
	}{
		{h.server.Namespace, h.client.Namespace, "192.0.2.1/24", "192.0.2.2/24"},
		{h.server.Namespace, h.office.Namespace, "198.51.100.1/24", "198.51.100.2/24"},
		{h.office.Namespace, h.desk, "192.168.30.1/24", "192.168.30.2/24"},
	} {
		if _, err := l.Connect(link.a, link.b, lab.Prefixes(link.addrA), lab.Prefixes(link.addrB)); err != nil {
			return err
		}
	}
	if err := errors.Join(h.office.Forward(true), h.desk.AddRoute(hubPool, netip.MustParseAddr("192.168.30.1"))); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(filepath.Join(h.dir, "peers"), 0o700), show(h.vpnd, "-x", h.dir)); err != nil {
		return err
	}
	if h.server.config, err = copyConfig(l, "examples/hub", "server", "", func(_ string, text []byte) []byte { return text }); err != nil {
		return err
	}
	h.server.daemon, err = h.server.Start(exec.Command(h.vpnd, "-n", "-f", h.server.config))
	if err == nil {
		_, err = h.server.daemon.Stderr.WaitFor(ctx, "interface is up")
	}
	return err
}

func (h *hubDemo) invite(context.Context) error {
	return errors.Join(
		h.invites(&h.office, "office", "--server", "198.51.100.1", "--subnet", "192.168.30.0/24"),
		h.invites(&h.client, "laptop", "--server", "192.0.2.1", "--route", "192.168.30.0/24"),
	)
}

// invites lets a host in. Its file is taken as it is, but for the places of what the
// daemon writes.
func (h *hubDemo) invites(to *host, name string, options ...string) error {
	to.config = filepath.Join(h.dir, name+".conf")
	fmt.Println("vpnd invite", name, strings.Join(options, " "))
	if err := show(h.vpnd, append([]string{"invite", name, "-f", h.server.config, "-o", to.config}, options...)...); err != nil {
		return err
	}
	f, err := os.OpenFile(to.config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "statedir %s\ncontrol %s\n", filepath.Join(h.dir, "state"), filepath.Join(h.dir, name+".sock"))
	return errors.Join(err, f.Close())
}

func (h *hubDemo) arrive(ctx context.Context) error {
	for _, to := range []*host{&h.office, &h.client} {
		if err := h.starts(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

// starts starts a client and waits for the hub's first answer.
func (h *hubDemo) starts(ctx context.Context, to *host) (err error) {
	if to.daemon, err = to.Start(exec.Command(h.vpnd, "-n", "-f", to.config)); err != nil {
		return err
	}
	took, err := to.WaitPing(ctx, hubInner, time.Millisecond)
	if err == nil {
		fmt.Printf("%s: first reply through the tunnel %v after it was started\n", to.Name(), took.Round(100*time.Microsecond))
	}
	return err
}

func (h *hubDemo) cross(ctx context.Context) error {
	if _, err := h.client.WaitPing(ctx, deskInner, time.Millisecond); err != nil {
		return err
	}
	st, err := h.client.Ping(ctx, deskInner, lab.PingOptions{Size: 56, Count: 200, Interval: 5 * time.Millisecond})
	if err != nil || len(st.RTT) != st.Sent {
		return fmt.Errorf("%d of %d replies: %w", len(st.RTT), st.Sent, err)
	}
	fmt.Printf("%d of %d replies, round trip p50 %v, p99 %v\n", len(st.RTT), st.Sent, st.Percentile(50).Round(time.Microsecond), st.Percentile(99).Round(time.Microsecond))
	return nil
}

// revoke shuts the laptop out, while somebody at the office works on.
func (h *hubDemo) revoke(ctx context.Context) error {
	inner, err := lab.Ends{Client: h.office.Namespace, Server: h.server.Namespace, Dst: hubInner}.Converse(ctx)
	if err != nil {
		return err
	}
	defer inner.Close()
	began := time.Now()
	if err := show(h.vpnd, "revoke", "laptop", "-f", h.server.config); err != nil {
		return err
	}
	said, err := h.client.daemon.Stderr.WaitFor(ctx, `msg="link is down" .*key revoked.*`)
	if err != nil {
		return err
	}
	fmt.Printf("after %v the laptop says: %s\n", time.Since(began).Round(time.Millisecond), said[0])
	if _, err := inner.Exchange(ctx, 1000); err != nil {
		return err
	}
	fmt.Println("a TCP connection of the office lived through it")
	return nil
}

// again invites the laptop by its old name.
func (h *hubDemo) again(ctx context.Context) error {
	if err := h.ends(ctx, &h.client); err != nil {
		return err
	}
	if err := h.invites(&h.client, "laptop", "--server", "192.0.2.1", "--route", "192.168.30.0/24"); err != nil {
		return err
	}
	return h.starts(ctx, &h.client)
}
