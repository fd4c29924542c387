package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"vpnd/cmd/internal/background"
	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/settings"
)

// defaultFile is the settings, where nothing else is said.
const defaultFile = "/etc/dynvpn/packthread.conf"

// options is the command line.
type options struct {
	name       string
	file       string
	foreground bool
	makeKey    bool
	status     bool
	json       bool
	version    bool
	help       bool
	flags      *pflag.FlagSet
}

const usage = "usage: packthread [-n] [-f FILE] NETWORK    keep the gateway of a network in the mesh;\n" +
	"                                            if one does, have it register at once\n" +
	"       packthread -m [-f FILE] [NETWORK]    make the key pair, print lines for nexus\n" +
	"       packthread --status [--json] [-f FILE] NETWORK\n"

func parseOptions(args []string) (*options, error) {
	o := &options{flags: pflag.NewFlagSet("packthread", pflag.ContinueOnError)}
	f := o.flags
	f.SortFlags = false
	f.Usage = func() {}
	f.StringVarP(&o.file, "file", "f", defaultFile, "settings")
	f.BoolVarP(&o.foreground, "foreground", "n", false, "stay in the foreground, log to standard error")
	f.BoolVarP(&o.makeKey, "make-key", "m", false, "make the key pair if there is none, print the lines for the network file of nexus")
	f.BoolVar(&o.status, "status", false, "print the state of the mesh")
	f.BoolVar(&o.json, "json", false, "with --status: as JSON")
	f.BoolVar(&o.version, "version", false, "print the version")
	f.BoolVarP(&o.help, "help", "h", false, "print this help")
	err := f.Parse(args)
	if err == nil {
		err = o.validate()
	}
	if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("%w\n%s", err, usage))
	}
	return o, nil
}

func (o *options) validate() error {
	o.name = o.flags.Arg(0)
	switch {
	case o.help || o.version:
		return nil
	case o.makeKey && o.status:
		return errors.New("-m and --status exclude each other")
	case o.json && !o.status:
		return errors.New("--json goes with --status")
	case o.flags.NArg() > 1:
		return fmt.Errorf("unexpected argument %q", o.flags.Arg(1))
	case o.flags.NArg() == 0 && o.makeKey:
		return nil
	case o.flags.NArg() == 0:
		return errors.New("the name of the network is missing")
	}
	return settings.CheckName(o.name)
}

// run is the whole command. It returns the exit code.
func run(ctx context.Context, args []string, sys system) int {
	o, err := parseOptions(args)
	if err == nil {
		err = o.run(ctx, sys)
	}
	if err == nil {
		return exit.OK
	}
	if !exit.IsSaid(err) {
		fmt.Fprintln(sys.stderr, prefixed(err))
	}
	return background.Code(err)
}

// prefixed names the program in front of errors; those of files begin with file and
// line, which tools understand.
func prefixed(err error) string {
	if errors.As(err, new(settings.Problems)) {
		return err.Error()
	}
	return "packthread: " + err.Error()
}

func (o *options) run(ctx context.Context, sys system) error {
	switch {
	case o.help:
		_, err := fmt.Fprintf(sys.stdout, "%s\n%s\npackthread(8) says more.\n", usage, o.flags.FlagUsages())
		return err
	case o.version:
		_, err := fmt.Fprintln(sys.stdout, exit.About("packthread"))
		return err
	case o.makeKey:
		return o.runMakeKey(sys)
	case o.status:
		return o.runStatus(sys)
	}
	return o.runGateway(ctx, sys)
}
