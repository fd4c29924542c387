package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// tally counts what became of the mutants, by file.
type tally struct {
	known explained
	files []string
	count map[string]*counts
	wrong []string
}

type counts struct{ killed, explained, survived int }

func newTally(known explained) *tally {
	return &tally{known: known, count: make(map[string]*counts)}
}

func (t *tally) add(m mutant, killed bool) {
	n := t.count[m.file]
	if n == nil {
		n = new(counts)
		t.files = append(t.files, m.file)
		t.count[m.file] = n
	}
	switch name := m.String(); {
	case killed:
		n.killed++
		if t.known[name] {
			t.wrong = append(t.wrong, "on the list, but killed: "+name)
		}
	case t.known[name]:
		n.explained++
	default:
		n.survived++
		t.wrong = append(t.wrong, "survived: "+name)
	}
}

// report prints the table and what is wrong.
func (t *tally) report(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "file\tmutants\tkilled\texplained\tsurvived\t")
	var sum counts
	for _, file := range t.files {
		n := t.count[file]
		n.print(w, file)
		sum.killed += n.killed
		sum.explained += n.explained
		sum.survived += n.survived
	}
	sum.print(w, "all")
	if err := w.Flush(); err != nil {
		return err
	}
	for _, line := range t.wrong {
		fmt.Fprintln(out, line)
	}
	if len(t.wrong) > 0 {
		return fmt.Errorf("%d mutants are not as they should be", len(t.wrong))
	}
	return nil
}

func (n counts) print(out io.Writer, file string) {
	fmt.Fprintf(out, "%s\t%d\t%d\t%d\t%d\t\n", file, n.killed+n.explained+n.survived, n.killed, n.explained, n.survived)
}
