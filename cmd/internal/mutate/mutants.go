package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// mutant is one change at one place of one file.
type mutant struct {
	file     string // within the module, with slashes
	function string
	change   string // the source text and what becomes of it, on one line
	nth      int    // among the same changes in the function, from 1
}

// String names the mutant by what the source says, not by where in the file, so
// that edits elsewhere leave the name alone.
func (m mutant) String() string {
	name := m.file + " " + m.function + ": " + m.change
	if m.nth > 1 {
		name += fmt.Sprintf(" #%d", m.nth)
	}
	return name
}

// instrument puts all mutants of a file into its source, each behind a question
// for its number, and appends them to those that are numbered already. The number
// is the place in the list, from 1. It takes the functions that want asks for.
func instrument(source []byte, file string, mutants []mutant, want func(function string) bool) ([]byte, []mutant, error) {
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	w := &writer{file: file, source: source, base: files.File(tree.Pos()).Base(), mutants: mutants}
	for _, d := range tree.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && want(functionName(f)) {
			w.function = functionName(f)
			ast.Walk(scanner{writer: w, results: f.Type.Results}, f)
		}
	}
	return w.changed(), w.mutants, nil
}

// functionName returns a function's name, with the type of its receiver in front.
func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	t := f.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if name, ok := t.(*ast.Ident); ok {
		return name.Name + "." + f.Name.Name
	}
	return f.Name.Name
}

// writer collects what is inserted into a file.
type writer struct {
	file     string
	source   []byte
	base     int    // of the file's positions
	function string // the present one
	mutants  []mutant
	inserts  []insert
}

// insert is text before or behind a piece of source. What belongs to an outer
// piece is put in earlier.
type insert struct {
	at    int
	open  bool
	order int
	text  string
}

// mutant numbers a mutant and returns the question for it.
func (w *writer) mutant(change string) string {
	m := mutant{file: w.file, function: w.function, change: strings.Join(strings.Fields(change), " "), nth: 1}
	for _, other := range w.mutants {
		if other.file == m.file && other.function == m.function && other.change == m.change {
			m.nth++
		}
	}
	w.mutants = append(w.mutants, m)
	return fmt.Sprintf("mutantIs(%d)", len(w.mutants))
}

func (w *writer) wrap(n ast.Node, before, after string) {
	order := len(w.inserts)
	w.inserts = append(w.inserts,
		insert{int(n.Pos()) - w.base, true, order, before},
		insert{int(n.End()) - w.base, false, -order, after})
}

func (w *writer) text(n ast.Node) string { return w.between(n.Pos(), n.End()) }

func (w *writer) between(from, to token.Pos) string {
	return string(w.source[int(from)-w.base : int(to)-w.base])
}

// changed returns the source with all inserts: at one place, what closes stands
// before what opens, and the inner ones are closed first.
func (w *writer) changed() []byte {
	slices.SortFunc(w.inserts, func(a, b insert) int {
		if a.at == b.at && a.open != b.open {
			if a.open {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.order, b.order))
	})
	var out []byte
	at := 0
	for _, i := range w.inserts {
		out = append(append(out, w.source[at:i.at]...), i.text...)
		at = i.at
	}
	return append(out, w.source[at:]...)
}
