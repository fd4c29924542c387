package meshlab

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

const (
	nexusAddr = "192.0.2.2"
	script    = "/cgi-bin/nexus.cgi"
	password  = "correct horse battery"
	// startTime bounds the wait for a program to be there.
	startTime = 30 * time.Second
)

// Config is what a World is made of.
type Config struct {
	// Nexus and Packthread are the programs.
	Nexus, Packthread string
	// Examples is the directory with lighttpd.conf.
	Examples string
	// Sites is how many networks there are. Bare ones are a gateway without a network,
	// which has an address in the mesh alone.
	Sites int
	Bare  bool
	// NAT lists the sites, counted from 1, whose gateway is behind a NAT.
	NAT []int
}

// World is nexus and some networks.
type World struct {
	*lab.Lab
	Config
	Internet, Nexus *lab.Namespace
	Sites           []*Site

	served *lab.Process
	url    string // settings of the gateways that say where nexus is
	key    string // of nexus
}

// New builds networks and files, and starts nothing. The caller closes the World.
func New(c Config) (w *World, err error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	w = &World{Lab: l, Config: c}
	if err := w.build(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return w, nil
}

func (w *World) build() (err error) {
	if w.Internet, err = w.Namespace("internet"); err != nil {
		return err
	}
	if w.Nexus, err = w.Namespace("nexus"); err != nil {
		return err
	}
	if err = w.Internet.Forward(true); err != nil {
		return err
	}
	if _, err = w.Connect(w.Internet, w.Nexus, lab.Prefixes("192.0.2.1/24"), lab.Prefixes(nexusAddr+"/24")); err != nil {
		return err
	}
	if err = w.Nexus.AddRoute(everywhere, netip.MustParseAddr("192.0.2.1")); err != nil {
		return err
	}
	if err = w.makeNexus(); err != nil {
		return err
	}
	for n := 1; n <= w.Config.Sites; n++ {
		s := &Site{World: w, N: n, Name: fmt.Sprint("net", n)}
		if err := s.build(); err != nil {
			return err
		}
		w.Sites = append(w.Sites, s)
	}
	return w.WriteNetworks()
}

var everywhere = netip.MustParsePrefix("0.0.0.0/0")

// Path returns the path of a file of the world.
func (w *World) Path(name string) string { return filepath.Join(w.Dir(), name) }

func (w *World) write(name, text string) error {
	return os.WriteFile(w.Path(name), []byte(text), 0o600)
}

// makeNexus writes the files of nexus and makes its key.
func (w *World) makeNexus() error {
	w.url = fmt.Sprintf("server_addr = '%s'\ncgi_script = '%s'\n", nexusAddr, script)
	if err := errors.Join(w.write("networks", "\n"), w.configureNexus()); err != nil {
		return err
	}
	out, err := exec.Command(w.Config.Nexus, "-m", "-f", w.Path("nexus.conf")).Output()
	if err != nil {
		return fmt.Errorf("nexus -m: %w", err)
	}
	_, w.key, _ = strings.Cut(string(out), "server_key = ")
	return nil
}

func (w *World) configureNexus() error {
	return w.write("nexus.conf", fmt.Sprintf("password = '%s'\nconfig_path = networks\ngw_addrs_path = state\n", password))
}

// WriteNetworks writes the network file, with these networks disabled.
func (w *World) WriteNetworks(disabled ...string) error {
	var text strings.Builder
	for _, s := range w.Sites {
		fmt.Fprintf(&text, "%s\n    subnet=%v\n    key=%s\n", s.Name, s.Subnet(), s.key)
		for _, name := range disabled {
			if name == s.Name {
				text.WriteString("    disabled\n")
			}
		}
	}
	if err := w.write("networks.new", text.String()); err != nil {
		return err
	}
	return os.Rename(w.Path("networks.new"), w.Path("networks"))
}

// StartNexus starts the web server with nexus, as the example has it.
func (w *World) StartNexus(ctx context.Context) error {
	const port = 80
	server := WebServer{Example: filepath.Join(w.Examples, "lighttpd.conf"), Dir: w.Dir(),
		Nexus: w.Config.Nexus, Conf: w.Path("nexus.conf"), Bind: nexusAddr, Port: port}
	cmd, err := server.Command()
	if err != nil {
		return err
	}
	return w.serve(ctx, cmd, port)
}

func (w *World) serve(ctx context.Context, cmd *exec.Cmd, port uint16) (err error) {
	if w.served, err = w.Nexus.Start(cmd); err != nil {
		return err
	}
	return w.await(ctx, port)
}

// await waits until nexus listens.
func (w *World) await(ctx context.Context, port uint16) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	to := netip.AddrPortFrom(netip.MustParseAddr(nexusAddr), port)
	for {
		c, err := w.Nexus.Dial(ctx, netip.Addr{}, to)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nexus does not listen: %w\n%s", err, w.served.Stderr)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Standalone has nexus run without a web server from now on, started by start; the
// gateways that are started later ask there.
func (w *World) Standalone(ctx context.Context, start func(*exec.Cmd) (*lab.Process, error)) (err error) {
	w.url = fmt.Sprintf("server_addr = '%s'\n", nexusAddr)
	for _, s := range w.Sites {
		if err := s.configure(); err != nil {
			return err
		}
	}
	if w.served, err = start(exec.Command(w.Config.Nexus, "-f", w.Path("nexus.conf"))); err != nil {
		return err
	}
	return w.await(ctx, 2002)
}

// StopNexus kills it.
func (w *World) StopNexus(ctx context.Context) error {
	if err := w.served.Signal(os.Kill); err != nil {
		return err
	}
	_, err := w.served.Wait(ctx)
	return err
}

// Logs is what all programs said.
func (w *World) Logs() string {
	var text strings.Builder
	if w.served != nil {
		breakage, _ := os.ReadFile(w.Path("breakage.log"))
		fmt.Fprintf(&text, "-- nexus\n%s%s", w.served.Stderr, breakage)
	}
	for _, s := range w.Sites {
		if s.Process != nil {
			fmt.Fprintf(&text, "-- %s\n%s", s.Name, s.Process.Stderr)
		}
	}
	return text.String()
}

// Paths waits until the computer of each site, or its gateway if there is none, reaches
// that of each other one, and returns how long that took.
func (w *World) Paths(ctx context.Context, sites ...*Site) (time.Duration, error) {
	if len(sites) == 0 {
		sites = w.Sites
	}
	began, results, n := time.Now(), make(chan error), 0
	for _, from := range sites {
		for _, to := range sites {
			if from == to {
				continue
			}
			n++
			go func() {
				_, err := from.Computer.WaitPing(ctx, to.Addr(), 50*time.Millisecond)
				results <- err
			}()
		}
	}
	var errs []error
	for range n {
		errs = append(errs, <-results)
	}
	return time.Since(began), errors.Join(errs...)
}
