package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"vpnd/cmd/internal/lab"
)

// ageTTL is the age of a session key: 10 minutes see 20 of them.
const ageTTL = 30 * time.Second

// runAge measures one link again and again, and a new one beside it each time, and
// prints what a byte costs as the first one grows older.
func runAge(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	f := o.flags("bench age", 11, stderr)
	f.DurationVar(&o.time, "time", 3*time.Second, "how long each stream runs")
	every := f.Duration("every", time.Minute, "from one measurement to the next")
	if err := f.Parse(args); err != nil {
		return err
	}
	if err := o.check(f); err != nil {
		return err
	}
	if o.only == "" {
		o.only = nameBlowfish
	}
	chosen, err := choose([]row{ageRow("blowfish"), ageRow("aes-256-gcm"), ageRow("chacha20-poly1305")}, "-only", o.only)
	if err != nil {
		return err
	}
	s, err := newStudy(o, chosen, stderr)
	if err != nil {
		return err
	}
	surroundings := describe(o)
	for _, r := range chosen {
		ages, rerr := s.age(ctx, r, *every)
		err = errors.Join(err, rerr)
		fmt.Fprintf(stdout, "%s\n\n%s, keyttl %v\n\n%s\n", surroundings, r.name, ageTTL, ageTable(ages))
	}
	return err
}

func ageRow(cipher string) row {
	ttl := fmt.Sprintf("keyttl %.0f\n", ageTTL.Seconds())
	return row{name: "vpnd-" + cipher, kind: own, start: startVpnd(cipher, "auto", ttl)}
}

// aged is a link at one age.
type aged struct {
	age      time.Duration
	rate     float64 // bits per second from A to B
	daemons  float64 // CPU seconds per 10^9 bytes
	fresh    float64 // the same of a new link, a moment later
	memory   int64   // bytes, of the larger end
	Ratchets uint64  `json:"ratchets"`
	Rekeys   uint64  `json:"rekeys"`
}

// age measures a row as often as there are rounds.
func (s *study) age(ctx context.Context, r row, every time.Duration) (ages []aged, err error) {
	err = s.with(ctx, r, func(ctx context.Context, m meter) error {
		began := time.Now()
		for n := range s.o.runs {
			select {
			case <-time.After(time.Until(began.Add(time.Duration(n) * every))):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			now := aged{age: time.Since(began)}
			if err := m.look(ctx, &now); err != nil {
				return err
			}
			err := s.with(ctx, r, func(ctx context.Context, m meter) error {
				_, cost, err := m.pour(ctx, lab.Bulk{})
				now.fresh = cost.daemons
				return err
			})
			if err != nil {
				return err
			}
			ages = append(ages, now)
			fmt.Fprintf(s.progress, "%s at %.0f s: %s Gbit/s, %s CPU s/GB, new %s\n",
				r.name, now.age.Seconds(), figure(now.rate/1e9), figure(now.daemons), figure(now.fresh))
		}
		return nil
	})
	return ages, err
}

// with calls f with a row that runs in a lab of its own.
func (s *study) with(ctx context.Context, r row, f func(context.Context, meter) error) error {
	b, alive, err := newBed(ctx, s.o, directly)
	if err != nil {
		return err
	}
	if err = r.start(alive, b); err == nil {
		err = f(alive, meter{bed: b, payload: s.random, time: s.o.time})
	}
	return errors.Join(err, b.close())
}

func (m meter) look(ctx context.Context, a *aged) error {
	rate, cost, err := m.pour(ctx, lab.Bulk{})
	if err != nil {
		return err
	}
	a.rate, a.daemons = rate, cost.daemons
	memory, err := m.memory()
	if err != nil {
		return err
	}
	a.memory = max(memory[0], memory[1])
	out, err := exec.CommandContext(ctx, m.o.vpnd, "--status", "--json", "-f", m.file("client.conf")).Output()
	if err != nil {
		return fmt.Errorf("vpnd --status: %w", err)
	}
	return json.Unmarshal(out, &struct {
		Link *aged `json:"link"`
	}{a})
}

func ageTable(ages []aged) string {
	cells := [][]string{{"age s", "A to B Gbit/s", "CPU s/GB daemons", "new link", "RSS MB", "ratchets", "rekeys"}, make([]string, 7)}
	for _, a := range ages {
		cells = append(cells, []string{
			fmt.Sprintf("%.0f", a.age.Seconds()), figure(a.rate / 1e9), figure(a.daemons), figure(a.fresh), figure(float64(a.memory) / 1e6),
			fmt.Sprint(a.Ratchets), fmt.Sprint(a.Rekeys),
		})
	}
	return align(cells)
}
