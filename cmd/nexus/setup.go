package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/registry"
	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
)

// keyFile is the registry's key pair in its state directory.
const keyFile = "nexus.key"

// setup is nexus as its settings say.
type setup struct {
	*settings.Nexus
	own   *crypto.Identity
	store *registry.Store
}

// load reads settings and key. All errors are of exit.Config.
func load(file string, log *slog.Logger) (*setup, error) {
	s, err := settings.LoadNexus(file)
	if err != nil {
		return nil, exit.With(exit.Config, err)
	}
	store, err := registry.OpenStore(s.StateDir, log)
	if err != nil {
		return nil, exit.With(exit.Config, err)
	}
	own, err := crypto.LoadIdentity(filepath.Join(s.StateDir, keyFile))
	if err != nil {
		return nil, exit.With(exit.Config, err)
	}
	return &setup{s, own, store}, nil
}

// prefixed names the program in front of errors; those of files begin with file and
// line, which tools understand.
func prefixed(err error) string {
	if errors.As(err, new(settings.Problems)) || errors.As(err, new(problem)) {
		return err.Error()
	}
	return "nexus: " + err.Error()
}

// runMakeKey is nexus -m.
func runMakeKey(file string, sys system) error {
	s, err := settings.LoadNexus(file)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	if err := os.Mkdir(s.StateDir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("state directory: %w", err)
	}
	if _, err := registry.OpenStore(s.StateDir, slog.New(slog.DiscardHandler)); err != nil {
		return exit.With(exit.Config, err)
	}
	path := filepath.Join(s.StateDir, keyFile)
	own, err := crypto.LoadIdentity(path)
	if _, missing := os.Lstat(path); errors.Is(missing, os.ErrNotExist) {
		own, err = crypto.MakeIdentity(path, rand.Reader)
	} else if err == nil {
		fmt.Fprintf(sys.stderr, "nexus: %s exists already: it was left as it is\n", path)
	}
	if err != nil {
		return exit.With(exit.Config, err)
	}
	_, err = fmt.Fprintf(sys.stdout, "# for packthread.conf on each gateway:\nserver_key = \"%v\"\n", own.Public())
	return err
}

// runCheck is nexus --check: it finds every mistake.
func runCheck(file string, out io.Writer) error {
	s, err := settings.LoadNexus(file)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	var own *crypto.Identity
	_, problems := registry.OpenStore(s.StateDir, slog.New(slog.DiscardHandler))
	if problems == nil {
		own, problems = crypto.LoadIdentity(filepath.Join(s.StateDir, keyFile))
	}
	if problems != nil {
		problems = fmt.Errorf("nexus: %w", problems)
	}
	if s.Certificate != "" {
		if _, err := newCertificate(s.Certificate, s.CertificateKey).get(nil); err != nil {
			problems = join(problems, fmt.Errorf("nexus: %w", err))
		}
	}
	networks, err := settings.LoadNetworks(s.Networks)
	switch {
	case err != nil:
		problems = join(problems, errors.New(prefixed(err)))
	case own != nil:
		if i := slices.IndexFunc(networks, func(n settings.Network) bool { return n.Key == own.Public() }); i >= 0 {
			problems = join(problems, fmt.Errorf("%s:%d: %s has the key of nexus itself: packthread -m makes that of the gateway",
				s.Networks, networks[i].Line, networks[i].Name))
		}
	}
	if problems != nil {
		return exit.With(exit.Config, problem{problems})
	}
	return report(out, file, s, networks, own)
}

// problem is errors that name what they concern.
type problem struct{ error }

func join(a, b error) error {
	if a == nil {
		return b
	}
	return fmt.Errorf("%w\n%w", a, b)
}

func report(out io.Writer, file string, s *settings.Nexus, networks []settings.Network, own *crypto.Identity) error {
	subnets, off := 0, 0
	for _, n := range networks {
		subnets += len(n.Subnets)
		if n.Disabled {
			off++
		}
	}
	_, err := fmt.Fprintf(out, "%s and %s are right: %d networks, %d of them disabled, with %d subnets\nserver_key = \"%v\"\n",
		file, s.Networks, len(networks), off, subnets, own.Public())
	return err
}
