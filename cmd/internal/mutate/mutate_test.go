package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const tiny = "cmd/internal/mutate/testdata/tiny"

var tinyTarget = target{tiny, ""}

func root(t *testing.T) string {
	t.Helper()
	dir, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// tinyProgram returns the tiny package with its mutants inside.
func tinyProgram(t *testing.T) *program {
	t.Helper()
	p, err := newProgram(root(t), t.TempDir(), tinyTarget)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestInstrument(t *testing.T) {
	for _, tt := range []struct {
		name, code string
		want       string
		mutants    []string
	}{
		{"condition", "if a { return }", "if ((a) != mutantIs(1) && !mutantIs(2)) { return }",
			[]string{"if a negated", "if a never"}},
		{"body that goes on", "if a { }", "if ((a) != mutantIs(1) && !mutantIs(2) || mutantIs(3)) { }",
			[]string{"if a negated", "if a never", "if a always"}},
		{"loop", "for a { }", "for ((a) != mutantIs(1)) { }", []string{"for a negated"}},
		{"endless loop", "for { }", "for { }", nil},
		{"call", "f(1)", "if !mutantIs(1) { f(1) }", []string{"f(1) removed"}},
		{"panic", "panic(a)", "panic(a)", nil},
		{"defer", "defer f(1)", "if !mutantIs(1) { defer f(1) }", []string{"defer f(1) removed"}},
		{"variables", "a, b := 1, 2; a = b; a++", "a, b := 1, 2; a = b; a++", nil},
		{"state", "p[0] = 1; x.n++; *p = q",
			"if !mutantIs(1) { p[0] = 1 }; if !mutantIs(2) { x.n++ }; if !mutantIs(3) { *p = q }",
			[]string{"p[0] = 1 removed", "x.n++ removed", "*p = q removed"}},
		{"no statements of a block", "if x.n--; a { return }; for x.n = 1; ; x.n++ { }",
			"if x.n--; ((a) != mutantIs(1) && !mutantIs(2)) { return }; for x.n = 1; ; x.n++ { }",
			[]string{"if a negated", "if a never"}},
		{"select", "select { case x.n = <-c: }", "select { case x.n = <-c: }", nil},
		{"and", "_ = a && b", "_ = ((a) || mutantIs(1)) && ((b) || mutantIs(2))",
			[]string{"a always, before && b", "b always, after a &&"}},
		{"or", "_ = a || b", "_ = ((a) && !mutantIs(1)) || ((b) && !mutantIs(2))",
			[]string{"a never, before || b", "b never, after a ||"}},
		{"less", "_ = a < b", "_ = (a < b || mutantIs(1) && a == b)", []string{"a < b with <="}},
		{"more", "_ = a > b", "_ = (a > b || mutantIs(1) && a == b)", []string{"a > b with >="}},
		{"not more", "_ = a <= b", "_ = (a <= b && !(mutantIs(1) && a == b))", []string{"a <= b with <"}},
		{"not less", "_ = a >= b", "_ = (a >= b && !(mutantIs(1) && a == b))", []string{"a >= b with >"}},
		{"cases without a tag", "switch { case a: return; case b: }",
			"switch { case ((a) != mutantIs(1) && !mutantIs(2)): return; case ((b) != mutantIs(3) && !mutantIs(4) || mutantIs(5)): }",
			[]string{"case a negated", "case a never", "case b negated", "case b never", "case b always"}},
		{"cases with a tag", "switch a {\ncase 1, 2: f(1)\ndefault: }",
			"if mutantIs(1) { switch a {\n\ndefault: } } else if mutantIs(2) { switch a {\ncase 2: f(1)\ndefault: } } else " +
				"if mutantIs(3) { switch a {\ncase 1: f(1)\ndefault: } } else { switch a {\ncase 1, 2: if !mutantIs(4) { f(1) }\ndefault: } }",
			[]string{"case 1, 2 removed", "case 1, 2 without 1", "case 1, 2 without 2", "f(1) removed"}},
		{"types", "switch a.(type) { case int: }", "switch a.(type) { case int: }", nil},
		{"results", "return a, err", "return ((a) != mutantIs(1)), mutantError(mutantIs(2), err)",
			[]string{"return a, err negated", "return a, err without error"}},
		{"no error", "return true, nil", "return ((true) != mutantIs(1)), nil", []string{"return true, nil negated"}},
		{"results of a call", "return f(1)", "return f(1)", nil},
		{"inner function", "g(func() (a, b bool) { return a, b })",
			"if !mutantIs(1) { g(func() (a, b bool) { return ((a) != mutantIs(2)), ((b) != mutantIs(3)) }) }",
			[]string{"g(func() (a, b bool) { return a, b }) removed", "return a, b, result 1 negated", "return a, b, result 2 negated"}},
		{"the same twice", "f(1); f(1)", "if !mutantIs(1) { f(1) }; if !mutantIs(2) { f(1) }",
			[]string{"f(1) removed", "f(1) removed #2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const head, tail = "package p\n\nfunc (x *T) f() (bool, error) { ", " }\n\nfunc g() { f(1) }\n"
			changed, mutants, err := instrument([]byte(head+tt.code+tail), "p/f.go", nil,
				func(function string) bool { return function == "T.f" })
			if err != nil {
				t.Fatal(err)
			}
			if want := head + tt.want + tail; string(changed) != want {
				t.Errorf("got\n%swant\n%s", changed, want)
			}
			var names []string
			for _, m := range mutants {
				names = append(names, strings.TrimPrefix(m.String(), "p/f.go T.f: "))
			}
			if !slices.Equal(names, tt.mutants) {
				t.Errorf("got  %q\nwant %q", names, tt.mutants)
			}
		})
	}
}

// Numbers go on from one file to the next.
func TestInstrumentSecondFile(t *testing.T) {
	all := func(string) bool { return true }
	source := []byte("package p\n\nfunc f() { f() }\n")
	_, mutants, err := instrument(source, "p/a.go", nil, all)
	if err != nil {
		t.Fatal(err)
	}
	changed, mutants, err := instrument(source, "p/b.go", mutants, all)
	if err != nil {
		t.Fatal(err)
	}
	if len(mutants) != 2 || mutants[1].String() != "p/b.go f: f() removed" || !strings.Contains(string(changed), "mutantIs(2)") {
		t.Errorf("%v\n%s", mutants, changed)
	}
}

// newTiny returns a campaign with the mutants of the tiny package that match.
func newTiny(t *testing.T, match string, out io.Writer) (*campaign, *regexp.Regexp) {
	t.Helper()
	re := regexp.MustCompile(tiny + "/tiny.go .*" + match)
	c, err := newCampaign(root(t), t.TempDir(), []target{tinyTarget}, re)
	if err != nil {
		t.Fatal(err)
	}
	c.out, c.parallel = out, 2
	return c, re
}

func TestCampaign(t *testing.T) {
	const door, grade = tiny + "/tiny.go door.enter: ", tiny + "/tiny.go grade: "
	var out strings.Builder
	c, _ := newTiny(t, "(enter|grade):", &out)
	c.known = explained{grade + "case 1, 2 without 2": true, grade + "case 1, 2 without 1": true}
	if err := c.run(t.Context()); err == nil || err.Error() != "2 mutants are not as they should be" {
		t.Errorf("error %v", err)
	}
	_, report, _ := strings.Cut(out.String(), "survived\n")
	lines := strings.Split(strings.TrimSpace(report), "\n")
	for i, want := range []string{
		tiny + "/tiny.go 13 11 1 1",
		"all 13 11 1 1",
		"survived: " + door + `word == "" never, before || d.seen[word]`,
		"on the list, but killed: " + grade + "case 1, 2 without 1",
	} {
		if i >= len(lines) || strings.Join(strings.Fields(lines[i]), " ") != want {
			t.Errorf("line %d of the report is not %q", i, want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

// All is well when what survives is explained.
func TestCampaignClean(t *testing.T) {
	c, _ := newTiny(t, "grade: case 1, 2 without 2$", t.Output())
	c.known = explained{tiny + "/tiny.go grade: case 1, 2 without 2": true}
	if err := c.run(t.Context()); err != nil {
		t.Error(err)
	}
}

// What is not compiled here is not mutated.
func TestOtherSystems(t *testing.T) {
	for _, m := range tinyProgram(t).mutants {
		if strings.Contains(m.String(), "plan9") {
			t.Errorf("mutant %v", m)
		}
	}
}

// A test that can write nowhere notices mutants, too.
func TestCampaignWithoutFiles(t *testing.T) {
	c, _ := newTiny(t, "keep:", t.Output())
	if err := c.run(t.Context()); err != nil || len(c.jobs) == 0 {
		t.Errorf("%d mutants, error %v", len(c.jobs), err)
	}
}

func TestCampaignOfFailingTests(t *testing.T) {
	const failing = "cmd/internal/mutate/testdata/failing"
	c, err := newCampaign(root(t), t.TempDir(), []target{{failing, ""}}, regexp.MustCompile(""))
	if err != nil {
		t.Fatal(err)
	}
	c.out, c.parallel = t.Output(), 1
	if err := c.run(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "fail without a mutant: TestNo") {
		t.Errorf("error %v", err)
	}
}

func TestCampaignCancelled(t *testing.T) {
	c, _ := newTiny(t, "", t.Output())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.run(ctx); err == nil {
		t.Error("it ran")
	}
}

// A mutant that comes to no end is noticed.
func TestEndless(t *testing.T) {
	p := tinyProgram(t)
	if err := p.compile(t.Context()); err != nil {
		t.Fatal(err)
	}
	number := 1 + slices.IndexFunc(p.mutants, func(m mutant) bool { return m.change == "for n > 0 negated" })
	p.grace, p.patience = time.Second, 2
	if by, err := p.try(t.Context(), number); by != overTime || err != nil {
		t.Errorf("noticed by %q, %v", by, err)
	}
}

// A host that is slow for a moment notices no mutant.
func TestSlowHost(t *testing.T) {
	p := tinyProgram(t)
	if err := p.compile(t.Context()); err != nil {
		t.Fatal(err)
	}
	number := 1 + slices.IndexFunc(p.mutants, func(m mutant) bool { return m.change == "case 1, 2 without 2" })
	p.grace, p.patience = time.Millisecond, 100000
	for _, t := range p.tests {
		t.took = 0
	}
	if by, err := p.try(t.Context(), number); by != "" || err != nil {
		t.Errorf("noticed by %q, %v", by, err)
	}
}

func TestStray(t *testing.T) {
	c, match := newTiny(t, "", t.Output())
	const there, gone = tiny + "/tiny.go grade: case 1, 2 removed", tiny + "/tiny.go grade: case 7 removed"
	c.known = explained{there: true, gone: true, "crypto/key.go NewKey: not of this run": true}
	got := c.stray(match)
	if !slices.Equal(got, []string{gone}) {
		t.Errorf("stray lines %q, want %q", got, gone)
	}
}

func TestReadSurvivors(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		lines      int
		err        string
	}{
		{"empty", "", 0, ""},
		{"comment", "# a\n", 0, ""},
		{"one", "a b: c\n\twhy\n", 1, ""},
		{"one reason for two", "a b: c\na b: d\n\twhy\n\tand so on\n\n# more\na b: e\n\twhy\n", 3, ""},
		{"no reason", "a b: c\n", 0, "no reason for a b: c"},
		{"no reason before the next", "a b: c\n\na b: d\n\twhy\n", 0, "no reason for a b: c"},
		{"twice", "a b: c\n\twhy\na b: c\n\twhy\n", 0, "twice: a b: c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "survivors.txt")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			list, err := readSurvivors(path)
			if len(list) != tt.lines || (err != nil) != (tt.err != "") || err != nil && !strings.HasSuffix(err.Error(), tt.err) {
				t.Errorf("%d lines, %v; want %d, %q", len(list), err, tt.lines, tt.err)
			}
		})
	}
}

// The list names mutants that there are, in the code as it stands.
func TestListMatchesCode(t *testing.T) {
	known, err := readSurvivors("survivors.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile("")
	c, err := newCampaign(root(t), t.TempDir(), targets, all)
	if err != nil {
		t.Fatal(err)
	}
	c.known = known
	for _, name := range c.stray(all) {
		t.Errorf("no such mutant: %s", name)
	}
}
