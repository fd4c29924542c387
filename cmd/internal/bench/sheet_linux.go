package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// sheet is what the trials have shown: a line for each figure, a column for each row
// of theirs.
type sheet struct {
	rows    []row
	figures []string
	cells   []cell
	curves  []curve
	notes   []string
	failed  []string // that depend on nothing that may be missing

	late    time.Duration // of the router at worst
	overrun int64         // packets that it was too late to see
}

type cell struct {
	figure, row string
	values      []float64 // of the rounds
}

// curve is round trips over time.
type curve struct {
	line, row string
	points    []point
}

func newSheet(rows []row, trials []trial) *sheet {
	s := &sheet{}
	for _, r := range rows {
		if slices.ContainsFunc(trials, func(t trial) bool { return t.takes(r) }) {
			s.rows = append(s.rows, r)
		}
	}
	for _, t := range trials {
		for _, what := range t.what {
			s.figures = append(s.figures, t.line.figure(what))
		}
	}
	return s
}

func (s *sheet) find(figure, row string) *cell {
	i := slices.IndexFunc(s.cells, func(c cell) bool { return c.figure == figure && c.row == row })
	if i < 0 {
		return nil
	}
	return &s.cells[i]
}

// put adds the value of a round.
func (s *sheet) put(figure, row string, value float64) {
	if c := s.find(figure, row); c != nil {
		c.values = append(c.values, value)
		return
	}
	s.cells = append(s.cells, cell{figure, row, []float64{value}})
}

// get returns the median over the rounds, or what compares two such.
func (s *sheet) get(figure, row string) (float64, bool) {
	if line, ok := strings.CutSuffix(figure, figBare); ok {
		return ratioOf(s, line+figRandom, row, slowBare)
	}
	c := s.find(figure, row)
	if c == nil {
		return 0, false
	}
	return median(c.values), true
}

// ratioOf compares two rows.
func ratioOf(s *sheet, figure, row, other string) (float64, bool) {
	a, okA := s.get(figure, row)
	b, okB := s.get(figure, other)
	return a / b, okA && okB && b != 0
}

// note keeps what went wrong.
func (s *sheet) note(t trial, r row, err error) {
	if err == nil {
		return
	}
	text := fmt.Sprintf("%s, %s: %s", t.name, r.name, reason(err))
	if errors.Is(err, errMissing) { // in all trials
		text = fmt.Sprintf("%s: %s", r.name, reason(err))
	}
	if !slices.Contains(s.notes, text) {
		s.notes = append(s.notes, text)
	}
	if r.kind != tcpPeer {
		s.failed = append(s.failed, t.name+" of "+r.name)
	}
}

// last is a trial in short.
func (s *sheet) last(t trial, r row, err error) string {
	if err != nil {
		return "failed"
	}
	var list []string
	for _, what := range t.what {
		if c := s.find(t.line.figure(what), r.name); c != nil {
			list = append(list, what+" "+figure(c.values[len(c.values)-1]))
		}
	}
	return strings.Join(list, "; ")
}

// curve keeps the round trips of the first round, in seconds since the load began.
func (s *sheet) curve(l slowLine, r row, began time.Time, list []trip) {
	if slices.ContainsFunc(s.curves, func(c curve) bool { return c.line == l.name && c.row == r.name }) {
		return
	}
	c := curve{line: l.name, row: r.name}
	for _, it := range list {
		c.points = append(c.points, point{x: it.sent.Sub(began).Seconds(), y: milliseconds(it.rtt), gap: !it.answered})
	}
	s.curves = append(s.curves, c)
}

// shelves are vpnd beside each of the others, line by line.
func (s *sheet) shelves() (list []shelf) {
	for _, mine := range s.curves {
		if mine.row != slowVpnd {
			continue
		}
		it := shelf{title: mine.line}
		for _, c := range s.curves {
			if c.line == mine.line && !strings.HasPrefix(c.row, slowVpnd) {
				it.panels = append(it.panels, panel{c.row, mine.points, c.points})
			}
		}
		if it.panels != nil {
			list = append(list, it)
		}
	}
	return list
}

// table is all figures, in the form of Markdown, and what there is to say about them.
func (s *sheet) table() string {
	heading := []string{"figure"}
	for _, r := range s.rows {
		heading = append(heading, r.name)
	}
	cells := [][]string{heading, make([]string, len(heading))}
	for _, f := range s.figures {
		line := []string{f}
		for _, r := range s.rows {
			text := "-"
			if value, ok := s.get(f, r.name); ok {
				text = figure(value)
			}
			line = append(line, text)
		}
		cells = append(cells, line)
	}
	text := align(cells)
	for _, n := range s.notes {
		text += n + "\n"
	}
	return text + fmt.Sprintf("router: a packet was at most %.1f ms late, %d were not seen in time\n", milliseconds(s.late), s.overrun)
}

// failure names what failed although it depends on nothing that may be missing; the
// notes say why.
func (s *sheet) failure() error {
	if s.failed == nil {
		return nil
	}
	return fmt.Errorf("failed: %s", strings.Join(s.failed, ", "))
}
