package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"vpnd/cmd/internal/exit"
)

// defaultFile is the settings, where nothing else is said.
const defaultFile = "/etc/dynvpn/nexus.conf"

// options is the command line.
type options struct {
	file    string
	makeKey bool
	check   bool
	version bool
	help    bool
	flags   *pflag.FlagSet
}

const usage = "usage: nexus [-f FILE]            answer gateways without a web server\n" +
	"       nexus -m [-f FILE]         make the key pair, print server_key\n" +
	"       nexus --check [-f FILE]    check settings, network file and key\n"

func parseOptions(args []string) (*options, error) {
	o := &options{flags: pflag.NewFlagSet("nexus", pflag.ContinueOnError)}
	f := o.flags
	f.SortFlags = false
	f.Usage = func() {}
	f.StringVarP(&o.file, "file", "f", defaultFile, "settings")
	f.BoolVarP(&o.makeKey, "make-key", "m", false, "make the key pair if there is none, print the line server_key for the gateways")
	f.BoolVar(&o.check, "check", false, "check settings, network file, key and state directory, change nothing")
	f.BoolVar(&o.version, "version", false, "print the version")
	f.BoolVarP(&o.help, "help", "h", false, "print this help")
	err := f.Parse(args)
	switch {
	case err != nil:
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.makeKey && o.check:
		err = errors.New("-m and --check exclude each other")
	}
	if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("%w\n%s", err, usage))
	}
	return o, nil
}

// run is the whole command. It returns the exit code.
func run(ctx context.Context, args []string, sys system) int {
	if sys.getenv("GATEWAY_INTERFACE") != "" {
		return runCGI(sys) // and arguments come from who asks
	}
	o, err := parseOptions(args)
	if err == nil {
		err = o.run(ctx, sys)
	}
	if err == nil {
		return exit.OK
	}
	fmt.Fprintln(sys.stderr, prefixed(err))
	return exit.Code(err)
}

func (o *options) run(ctx context.Context, sys system) error {
	switch {
	case o.help:
		_, err := fmt.Fprintf(sys.stdout, "%s\n%s\nnexus(8) says more.\n", usage, o.flags.FlagUsages())
		return err
	case o.version:
		_, err := fmt.Fprintln(sys.stdout, exit.About("nexus"))
		return err
	case o.makeKey:
		return runMakeKey(o.file, sys)
	case o.check:
		return runCheck(o.file, sys.stdout)
	}
	return runServer(ctx, o.file, sys.stderr)
}
