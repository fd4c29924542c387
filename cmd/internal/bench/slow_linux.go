package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// slowOptions is the command line of the slow lines.
type slowOptions struct {
	options
	trials  string
	scale   float64
	picture string
}

func parseSlow(args []string, stderr io.Writer) (o slowOptions, err error) {
	f := o.flags("bench slow", 1, stderr)
	f.StringVar(&o.trials, "trials", "", "what to measure: `names` as in -only")
	f.Float64Var(&o.scale, "scale", 1, "`factor` for how long each measurement takes")
	f.StringVar(&o.picture, "svg", "", "`file` for the picture of the pings")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if !(o.scale > 0) {
		return o, fmt.Errorf("-scale %v: it takes more than 0", o.scale)
	}
	return o, o.check(f)
}

// runSlow measures what slow lines do to what passes them, and prints that.
func runSlow(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseSlow(args, stderr)
	if err != nil {
		return err
	}
	rows, err := choose(slowRows(), "-only", o.only)
	if err != nil {
		return err
	}
	trials, err := choose(slowTrials(), "-trials", o.trials)
	if err != nil {
		return err
	}
	c, err := newCorpus()
	if err != nil {
		return err
	}
	s := &slowStudy{o: o, trials: trials, corpus: &c, progress: stderr, sheet: newSheet(rows, trials)}
	surroundings := machine() + fmt.Sprintf("%d rounds; TCP %s; times of the measurements x %v", o.runs, o.cc, o.scale)
	err = s.rounds(ctx)
	fmt.Fprintf(stdout, "%s\n\n%s\n%s", surroundings, s.sheet.table(), judge(slowGoals(), s.sheet))
	return errors.Join(err, s.draw(), s.sheet.failure())
}

// slowStudy takes the trials one after the other, each with all rows, so that what is
// compared is measured close together.
type slowStudy struct {
	o        slowOptions
	trials   []trial
	corpus   *corpus
	progress io.Writer
	sheet    *sheet
}

func (s *slowStudy) rounds(ctx context.Context) error {
	for n := range s.o.runs {
		for _, t := range s.trials {
			for _, r := range s.sheet.rows {
				if !t.takes(r) {
					continue
				}
				began := time.Now()
				err := s.measure(ctx, t, r)
				if ctx.Err() != nil {
					return fmt.Errorf("stopped in round %d of %d, at %s of %s", n+1, s.o.runs, t.name, r.name)
				}
				s.sheet.note(t, r, err)
				fmt.Fprintf(s.progress, "round %d of %d, %s, %s: %s; %.0f s\n",
					n+1, s.o.runs, t.name, r.name, s.sheet.last(t, r, err), time.Since(began).Seconds())
			}
		}
	}
	return nil
}

// measure starts a row in a lab of its own, measures it and takes all down.
func (s *slowStudy) measure(ctx context.Context, t trial, r row) (err error) {
	limited, cancel := context.WithTimeout(ctx, slowSetUp+t.limit(s.o.scale))
	defer cancel()
	b, alive, err := newBed(limited, s.o.options, t.join)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			fmt.Fprintf(s.progress, "%s, %s: %v\n%s", t.name, r.name, err, b.logs())
		}
		err = errors.Join(err, s.passed(b), b.close())
	}()
	if err := r.start(alive, b); err != nil {
		return err
	}
	setUp, cancelSetUp := context.WithTimeout(alive, slowSetUp)
	defer cancelSetUp()
	if _, err := b.a.WaitPing(setUp, b.dst, pingSlowly); err != nil {
		return fmt.Errorf("the tunnel does not come up: %w", err)
	}
	m := &slowMeter{bed: b, corpus: s.corpus, scale: s.o.scale, sheet: s.sheet, row: r}
	return t.measure(m, alive, t.line)
}

// passed notes how the router fared.
func (s *slowStudy) passed(b *bed) error {
	if b.router == nil {
		return nil
	}
	up, down, err := b.router.Counters()
	s.sheet.late = max(s.sheet.late, up.Late, down.Late)
	s.sheet.overrun += up.Overrun + down.Overrun
	return err
}

// draw makes the picture, if something is there to be compared.
func (s *slowStudy) draw() error {
	shelves := s.sheet.shelves()
	if s.o.picture == "" || len(shelves) == 0 {
		return nil
	}
	var b bytes.Buffer
	err := drawPicture(&b, "Ping through a tunnel that one TCP stream fills", slowVpnd, shelves)
	return errors.Join(err, os.WriteFile(s.o.picture, b.Bytes(), 0o644))
}
