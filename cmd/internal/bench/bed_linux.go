package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"vpnd/cmd/internal/lab"
	"vpnd/cmd/internal/router"
)

const (
	port         = 7000
	tunnelDevice = "tun0"
	endTime      = 3 * time.Second // for a process to end by itself
	logTail      = 15              // lines shown of each log
	// pollTime is how often a condition is looked at that nothing reports.
	pollTime = 5 * time.Millisecond
)

var (
	outerA = netip.MustParseAddr("192.0.2.1")
	outerB = netip.MustParseAddr("192.0.2.129")
	innerA = netip.MustParseAddr("10.8.0.1")
	innerB = netip.MustParseAddr("10.8.0.2")
)

// bed is two hosts with a link, on which a row grows.
type bed struct {
	*lab.Lab
	o    options
	a, b *lab.Namespace
	dst  netip.Addr // B, as A reaches it through what is measured

	// What is between the hosts, nil where there is no such thing.
	path   *lab.Path
	router *router.Router
	cable  *cable

	processes []*lab.Process
	watchers  sync.WaitGroup
	broken    context.CancelCauseFunc
	leftovers []func() error
}

// newBed returns a bed with hosts that join connects, and a context that ends when
// one of the processes on it does.
func newBed(ctx context.Context, o options, join func(*bed) error) (*bed, context.Context, error) {
	l, err := lab.New()
	if err != nil {
		return nil, nil, err
	}
	b := &bed{Lab: l, o: o, dst: innerB}
	if err := b.build(join); err != nil {
		return nil, nil, errors.Join(err, b.part(), l.Close())
	}
	ctx, b.broken = context.WithCancelCause(ctx)
	return b, ctx, nil
}

func (b *bed) build(join func(*bed) error) (err error) {
	if b.a, err = b.Namespace("A"); err != nil {
		return err
	}
	if b.b, err = b.Namespace("B"); err != nil {
		return err
	}
	if err := setCongestion(b.o.cc, b.a, b.b); err != nil {
		return err
	}
	if err := join(b); err != nil {
		return err
	}
	// What one kernel says about IPv6 as soon as its end of a tunnel is up may find
	// the other end down, and there are peers that end then.
	const off = "ipv6/conf/default/disable_ipv6"
	return errors.Join(b.a.Sysctl(off, "1"), b.b.Sysctl(off, "1"))
}

// close lets the processes end by themselves first, so that they take away what
// they have put on the host.
func (b *bed) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	for _, p := range slices.Backward(b.processes) {
		_ = p.Signal(syscall.SIGTERM) // it may have ended
	}
	for _, p := range b.processes {
		_, _ = p.Wait(ctx) // the lab kills what is left
	}
	errs := []error{b.part(), b.Lab.Close()}
	b.watchers.Wait()
	b.broken(nil)
	for _, f := range slices.Backward(b.leftovers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func (b *bed) ends() lab.Ends { return lab.Ends{Client: b.a, Server: b.b, Dst: b.dst} }

// file returns a path in the directory of the bed.
func (b *bed) file(name string) string { return filepath.Join(b.Dir(), name) }

// write makes a file, with its directories, for its owner only, as keys have to
// be, and returns its path.
func (b *bed) write(name, text string) (string, error) {
	path := b.file(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// start starts a program in a namespace.
func (b *bed) start(n *lab.Namespace, cmd *exec.Cmd) error {
	p, err := n.Start(cmd)
	if err != nil {
		return err
	}
	b.processes = append(b.processes, p)
	b.watchers.Go(func() {
		<-p.Done()
		b.broken(fmt.Errorf("%s ended: %s", filepath.Base(cmd.Path), lastLines(p, 1)))
	})
	return nil
}

// lastLines is the end of what a process has said.
func lastLines(p *lab.Process, n int) string {
	said := strings.Split(strings.TrimSpace(p.Stdout.String()+p.Stderr.String()), "\n")
	return strings.Join(said[max(0, len(said)-n):], "\n")
}

// startBoth starts the listening end, waits until it listens, and starts the
// other one.
func (b *bed) startBoth(ctx context.Context, server, client *exec.Cmd) error {
	if err := b.start(b.b, server); err != nil {
		return err
	}
	if err := b.waitListening(ctx); err != nil {
		return err
	}
	return b.start(b.a, client)
}

// address gives both ends of the tunnel their addresses.
func (b *bed) address(ctx context.Context, mtu int) error {
	ctx, cancel := context.WithTimeout(ctx, setUpTime)
	defer cancel()
	return errors.Join(b.a.PointToPoint(ctx, tunnelDevice, innerA, innerB, mtu), b.b.PointToPoint(ctx, tunnelDevice, innerB, innerA, mtu))
}

// waitListening waits until B listens on the port.
func (b *bed) waitListening(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, setUpTime)
	defer cancel()
	ticker := time.NewTicker(pollTime)
	defer ticker.Stop()
	for {
		var tables []byte
		err := b.b.Do(func() error {
			for _, name := range []string{"tcp", "tcp6"} {
				text, err := os.ReadFile("/proc/thread-self/net/" + name)
				if err != nil {
					return err
				}
				tables = append(tables, text...)
			}
			return nil
		})
		if err != nil || listens(string(tables), port) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("nothing listens on port %d: %w", port, context.Cause(ctx))
		}
	}
}

// listens reports whether /proc/net/tcp has a listener on the port.
func listens(table string, port uint16) bool {
	const listening = "0A"
	for line := range strings.Lines(table) {
		f := strings.Fields(line) // number, local address, remote address, state, ...
		if len(f) > 3 && f[3] == listening && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			return true
		}
	}
	return false
}

// tool is a command of a program that may be installed.
func tool(name string, args ...string) (*exec.Cmd, error) {
	path, err := lookUp(name)
	if err != nil {
		return nil, err
	}
	return exec.Command(path, args...), nil
}

// errMissing says that a peer is not there.
var errMissing = errors.New(`not installed, see "make bench-peers"`)

// lookUp finds a program, also where daemons are and the path of an ordinary user
// does not lead.
func lookUp(name string) (string, error) {
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("%s is %w", name, errMissing)
}

// environ is the environment of daemons written in Go.
func (b *bed) environ(more ...string) []string {
	env := append(os.Environ(), more...)
	if b.o.procs > 0 {
		env = append(env, "GOMAXPROCS="+strconv.Itoa(b.o.procs))
	}
	return env
}

// logs returns the end of what each process has said.
func (b *bed) logs() (text string) {
	for _, p := range b.processes {
		text += fmt.Sprintf("-- %v\n%s\n", p, lastLines(p, logTail))
	}
	return text
}
