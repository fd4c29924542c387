package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// result is what the runs of a row have shown.
type result struct {
	row
	samples []sample
	errs    []error
}

type results []*result

func (r *result) add(s sample, err error) {
	if err != nil {
		r.errs = append(r.errs, err)
		return
	}
	r.samples = append(r.samples, s)
}

// last is the latest run in short.
func (r *result) last() string {
	if len(r.samples) == 0 {
		return "failed"
	}
	s := r.samples[len(r.samples)-1]
	return fmt.Sprintf("%s and %s Gbit/s", figure(s.up/1e9), figure(s.down/1e9))
}

// get returns the row of a name, nil if it was not measured.
func (rs results) get(name string) *result {
	i := slices.IndexFunc(rs, func(r *result) bool { return r.name == name && len(r.samples) > 0 })
	if i < 0 {
		return nil
	}
	return rs[i]
}

// failure names the rows that failed although they depend on nothing that may be
// missing; the table says why.
func (rs results) failure() error {
	var failed []string
	for _, r := range rs {
		if r.kind != tcpPeer && r.kind != udpPeer && len(r.errs) > 0 {
			failed = append(failed, r.name)
		}
	}
	if failed == nil {
		return nil
	}
	return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
}

// column is one figure of the table.
type column struct {
	title string
	of    func(sample) []float64 // of one run
	span  bool                   // with the range over the runs
}

func columns() []column {
	one := func(f func(sample) float64) func(sample) []float64 {
		return func(s sample) []float64 { return []float64{f(s)} }
	}
	return []column{
		{"A to B Gbit/s", one(func(s sample) float64 { return s.up / 1e9 }), true},
		{"B to A Gbit/s", one(func(s sample) float64 { return s.down / 1e9 }), true},
		{"8 streams Gbit/s", one(func(s sample) float64 { return s.many / 1e9 }), true},
		{"CPU s/GB daemons", sample.daemonCosts, false},
		{"CPU s/GB system", sample.systemCosts, false},
		{"idle p50 ms", one(func(s sample) float64 { return milliseconds(s.idle.Percentile(50)) }), false},
		{"idle p99 ms", one(func(s sample) float64 { return milliseconds(s.idle.Percentile(99)) }), false},
		{"loaded p50 ms", one(func(s sample) float64 { return milliseconds(s.loaded.Percentile(50)) }), false},
		{"loaded p99 ms", one(func(s sample) float64 { return milliseconds(s.loaded.Percentile(99)) }), false},
		{"RSS A MB", one(func(s sample) float64 { return megabytes(s.memory[0]) }), false},
		{"RSS B MB", one(func(s sample) float64 { return megabytes(s.memory[1]) }), false},
	}
}

func (s sample) daemonCosts() (list []float64) {
	for _, c := range s.cpu {
		list = append(list, c.daemons)
	}
	return list
}

func (s sample) systemCosts() (list []float64) {
	for _, c := range s.cpu {
		list = append(list, c.system)
	}
	return list
}

// singles are the rates of one stream, of both directions.
func (s sample) singles() []float64 { return []float64{s.up, s.down} }

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }
func megabytes(n int64) float64            { return float64(n) / (1 << 20) }

// all returns the values of all runs.
func (r *result) all(of func(sample) []float64) (list []float64) {
	for _, s := range r.samples {
		list = append(list, of(s)...)
	}
	return list
}

func (r *result) median(of func(sample) []float64) float64 { return median(r.all(of)) }

// median returns the middle of the values, 0 without any.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// figure writes a number with three digits that count.
func figure(f float64) string {
	if f >= 100 || f <= -100 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

func (c column) cell(r *result) string {
	values := r.all(c.of)
	text := figure(median(values))
	if c.span && len(values) > 1 {
		text += " (" + figure(slices.Min(values)) + "-" + figure(slices.Max(values)) + ")"
	}
	return text
}

// table is all figures, in the form of Markdown.
func (rs results) table() string {
	heading := []string{"name"}
	for _, c := range columns() {
		heading = append(heading, c.title)
	}
	cells := [][]string{heading, make([]string, len(heading))}
	notes := ""
	for _, r := range rs {
		line := []string{r.name}
		switch {
		case len(r.samples) > 0:
			for _, c := range columns() {
				line = append(line, c.cell(r))
			}
			if len(r.errs) > 0 {
				notes += fmt.Sprintf("%s: %d of %d runs failed: %s\n", r.name, len(r.errs), len(r.errs)+len(r.samples), reason(r.errs[0]))
			}
		case len(r.errs) > 0:
			line = append(line, reason(r.errs[0]))
		default:
			line = append(line, "not measured")
		}
		cells = append(cells, line)
	}
	return align(cells) + notes
}

// reason is an error in one line.
func reason(err error) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(err.Error()), " "), "|", "/")
}

// align writes cells as lines of a table. The first line is the heading, the
// second one the rule below it; a line that is shorter than these is one of words.
func align(cells [][]string) string {
	width := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, cell := range line {
			if len(line) == len(width) {
				width[i] = max(width[i], len(cell))
			}
		}
	}
	var b strings.Builder
	for n, line := range cells {
		for i, cell := range line {
			switch {
			case n == 1:
				cell = strings.Repeat("-", width[i])
			case len(line) == len(width):
				cell += strings.Repeat(" ", width[i]-len(cell))
			}
			b.WriteString("| " + cell + " ")
		}
		b.WriteString("|\n")
	}
	return b.String()
}
