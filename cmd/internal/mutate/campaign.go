package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// campaign tries mutants one after the other.
type campaign struct {
	out      io.Writer
	parallel int
	known    explained
	jobs     []job
}

// job is a mutant to try.
type job struct {
	mutant
	number  int
	program *program
}

// newCampaign instruments the targets, in scratch, and collects the mutants that
// match, in a fixed order.
func newCampaign(root, scratch string, targets []target, match *regexp.Regexp) (*campaign, error) {
	c := &campaign{}
	for i, t := range targets {
		dir := filepath.Join(scratch, fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		p, err := newProgram(root, dir, t)
		if err != nil {
			return nil, err
		}
		for i, m := range p.mutants {
			if match.MatchString(m.String()) {
				c.jobs = append(c.jobs, job{m, i + 1, p})
			}
		}
	}
	return c, nil
}

// result is the end of a job.
type result struct {
	by   string // what noticed the mutant; nothing: it survived
	took time.Duration
	err  error
}

// run tries all mutants. It is an error when one survives that is not on the
// list, and when the list says what is not so.
func (c *campaign) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, j := range c.jobs {
		if j.program.tests != nil {
			continue
		}
		if err := j.program.compile(ctx); err != nil {
			return err
		}
	}
	t := newTally(c.known)
	for i, r := range c.results(ctx) {
		result := <-r
		if result.err != nil {
			return fmt.Errorf("%v: %w", c.jobs[i], result.err)
		}
		t.add(c.jobs[i].mutant, result.by != "")
		verdict := "SURVIVED"
		if result.by != "" {
			verdict = "killed by " + result.by
		}
		fmt.Fprintf(c.out, "%d/%d %v: %s, %.1f s\n", i+1, len(c.jobs), c.jobs[i], verdict, result.took.Seconds())
	}
	return t.report(c.out)
}

// results tries the mutants, so many at a time. What comes of each is to be had
// from the channel in its place.
func (c *campaign) results(ctx context.Context) []chan result {
	all := make([]chan result, len(c.jobs))
	for i := range all {
		all[i] = make(chan result, 1)
	}
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range all {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	for range c.parallel {
		go func() {
			for i := range next {
				all[i] <- c.try(ctx, c.jobs[i])
			}
		}()
	}
	return all
}

// try tests a mutant. One that is on the list gets a second try when it was
// noticed: a busy host makes tests fail that watch the clock.
func (c *campaign) try(ctx context.Context, j job) (r result) {
	began := time.Now()
	r.by, r.err = j.program.try(ctx, j.number)
	if r.by != "" && c.known[j.String()] {
		r.by, r.err = j.program.try(ctx, j.number)
	}
	r.took = time.Since(began)
	return r
}

// stray returns the lines of the list that match and name no mutant.
func (c *campaign) stray(match *regexp.Regexp) []string {
	var stray []string
	for name := range c.known {
		exists := slices.ContainsFunc(c.jobs, func(j job) bool { return j.String() == name })
		if !exists && match.MatchString(name) {
			stray = append(stray, name)
		}
	}
	slices.Sort(stray)
	return stray
}
