// Mutate tests the tests: it inverts or removes one check after the other in the
// code that decides what is authentic, and runs the package's tests each time. They
// have to fail. A mutant that they do not notice stands in survivors.txt with the
// reason why it has no effect that can be seen, or a test is missing.
//
// These are made from each function:
//
//   - the condition of an if, a for and a case without a tag: negated; but for
//     loops also never true and, if the body goes on to what follows, always true
//   - each operand of && and || without its say
//   - < as <=, > as >=, and the other way round
//   - each clause and each value of a switch with a tag taken away, but the default
//   - a call or defer that stands alone, and an assignment to more than a local
//     variable, left out
//   - a bool result negated, an error result nil
//
// "make mutate" runs it. It changes no file of the module.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	which := flags.String("run", "", "only mutants whose line matches this `regexp`, such as ^crypto/key")
	parallel := flags.Int("p", 1, "mutants tried side by side")
	list := flags.Bool("list", false, "print the mutants and end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	match, err := regexp.Compile(*which)
	if err != nil {
		return err
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	known, err := readSurvivors(filepath.Join(root, "cmd/internal/mutate/survivors.txt"))
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	c, err := newCampaign(root, scratch, targets, match)
	if err != nil {
		return err
	}
	c.out, c.parallel, c.known = out, *parallel, known
	if *list {
		for _, j := range c.jobs {
			fmt.Fprintln(out, j.mutant)
		}
		return nil
	}
	if stray := c.stray(match); stray != nil {
		return fmt.Errorf("on the list, but no mutants:\n%s", strings.Join(stray, "\n"))
	}
	return c.run(ctx)
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
