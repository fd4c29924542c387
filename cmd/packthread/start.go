package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"vpnd/cmd/internal/background"
	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/mesh"
	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
)

// runMakeKey is packthread -m.
func (o *options) runMakeKey(sys system) error {
	s, err := settings.LoadPackthread(o.file)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	own, err := crypto.LoadIdentity(s.KeyFile)
	if _, missing := os.Lstat(s.KeyFile); errors.Is(missing, os.ErrNotExist) {
		own, err = crypto.MakeIdentity(s.KeyFile, rand.Reader)
	} else if err == nil {
		fmt.Fprintf(sys.stderr, "packthread: %s exists already: it was left as it is\n", s.KeyFile)
	}
	if err != nil {
		return exit.With(exit.Config, err)
	}
	name := o.name
	if name == "" {
		name = "NETWORK"
	}
	_, err = fmt.Fprintf(sys.stdout, "# for the network file of nexus, with the networks behind this gateway:\n%s\n    subnet=ADDRESS/BITS\n    key=%v\n",
		name, own.Public())
	return err
}

// runGateway keeps the gateway in the mesh, or tells the process that does.
func (o *options) runGateway(ctx context.Context, sys system) error {
	second, _ := background.Begin()
	s, err := settings.LoadPackthread(o.file)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	own, err := crypto.LoadIdentity(s.KeyFile)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	if own.Public() == s.ServerKey {
		return exit.With(exit.Config, fmt.Errorf("%s has the key of nexus: packthread -m makes that of the gateway", s.KeyFile))
	}
	if !second {
		if err := tellRunning(s.StateDir, o.name, sys); err == nil {
			return nil
		}
	}
	if !o.foreground && !second {
		return background.Detach(nil, sys.stdout, sys.stderr)
	}
	instance, err := mesh.Claim(s.StateDir, o.name)
	if errors.Is(err, mesh.ErrRunning) { // it came first
		if err = waitRunning(s.StateDir, o.name, sys); err == nil && second {
			err = background.Ready()
		}
		return err
	}
	if err != nil {
		return exit.With(exit.Config, err)
	}
	self := &background.Program{Name: "packthread", Instance: o.name, CrashFile: filepath.Join(s.StateDir, o.name+".crash"), Stderr: sys.stderr}
	run := self.Foreground
	if second {
		run = self.Background
	}
	return run(func(log *slog.Logger, ready func() error) error {
		defer self.DropCrashes()
		return (&gateway{Packthread: s, name: o.name, own: own, instance: instance, log: log}).run(ctx, ready)
	})
}

// Commands to the running process.
const (
	cmdRegister = "register"
	cmdStatus   = "status"
	replyDone   = "done\n"
)

// tellRunning has the process that keeps the gateway in the mesh register at once.
func tellRunning(dir, name string, sys system) error {
	reply, err := mesh.Tell(dir, name, cmdRegister)
	if err != nil {
		return err
	}
	if string(reply) != replyDone {
		return errors.New("no answer")
	}
	_, err = fmt.Fprintf(sys.stdout, "packthread %s is running: it registers now\n", name)
	return err
}

// waitRunning is tellRunning for a process that came first a moment ago. It listens
// already, and answers when its interface is there.
func waitRunning(dir, name string, sys system) error {
	if err := tellRunning(dir, name, sys); err != nil {
		return exit.With(exit.Unavailable, fmt.Errorf("another packthread %s holds %s and does not answer: %w", name, strings.TrimSuffix(dir, "/"), err))
	}
	return nil
}
