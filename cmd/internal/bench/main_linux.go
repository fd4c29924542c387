package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	if role := os.Getenv(roleEnv); role != "" {
		fmt.Fprintln(os.Stderr, "bench:", play(role, os.Args[1:]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options is the command line.
type options struct {
	vpnd string
	runs int
	time time.Duration
	only string
	cc   string
	text bool
	// procs is GOMAXPROCS of the daemons that are written in Go, 0 for all CPUs.
	procs int
}

func parseOptions(args []string, stderr io.Writer) (o options, err error) {
	f := o.flags("bench", 3, stderr)
	f.DurationVar(&o.time, "time", 5*time.Second, "how long each stream runs")
	f.BoolVar(&o.text, "text", false, "send bytes that compress, Go source")
	random := f.Bool("random", false, "send bytes that do not compress (the default)")
	f.IntVar(&o.procs, "procs", 0, "GOMAXPROCS of the daemons written in Go, 0 for all CPUs")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case o.text && *random:
		return o, errors.New("-text and -random exclude each other")
	case o.time < shortest:
		return o, fmt.Errorf("-time %v: less than %v shows nothing", o.time, shortest)
	case o.procs < 0:
		return o, fmt.Errorf("-procs %d: it takes 0 or more", o.procs)
	}
	return o, o.check(f)
}

// flags returns those that all tables have.
func (o *options) flags(name string, runs int, stderr io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.vpnd, "vpnd", "bin/vpnd", "the `program` to measure")
	f.IntVar(&o.runs, "runs", runs, "rounds; the table has the medians")
	f.StringVar(&o.only, "only", "", "the `rows` to measure: names with commas between them, * for any part of one")
	f.StringVar(&o.cc, "cc", "cubic", "TCP congestion `control` in the namespaces")
	return f
}

// check judges these flags once they are parsed.
func (o *options) check(f *flag.FlagSet) (err error) {
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.runs < 1:
		return fmt.Errorf("-runs %d: it takes one at least", o.runs)
	}
	o.vpnd, err = filepath.Abs(o.vpnd)
	return err
}

// run measures and prints one of the tables. What is measured when ctx ends is
// printed, too.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "slow":
			return runSlow(ctx, args[1:], stdout, stderr)
		case "age":
			return runAge(ctx, args[1:], stdout, stderr)
		}
	}
	return runFast(ctx, args, stdout, stderr)
}

func runFast(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	chosen, err := choose(rows(o.text), "-only", o.only)
	if err != nil {
		return err
	}
	s, err := newStudy(o, chosen, stderr)
	if err != nil {
		return err
	}
	surroundings := describe(o)
	err = s.rounds(ctx)
	fmt.Fprintf(stdout, "%s\n\n%s\n%s", surroundings, s.results.table(), s.results.verdicts(o.text))
	return errors.Join(err, s.results.failure())
}
