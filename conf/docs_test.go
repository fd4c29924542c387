package conf

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestManual compares the table with the items of vpnd.conf(5).
func TestManual(t *testing.T) {
	page, err := os.ReadFile("../docs/vpnd.conf.5")
	if err != nil {
		t.Fatalf("the manual page cannot be read: %v", err)
	}
	for _, problem := range compareManual(string(page)) {
		t.Error(problem)
	}
}

// compareManual says which keywords a page lacks, documents twice or made up.
func compareManual(page string) (problems []string) {
	items := manualItems(page)
	known := map[string]bool{}
	for _, k := range Keywords() {
		known[k.Name] = true
		switch n := count(items, k.Name); {
		case n == 0:
			problems = append(problems, "no item for "+k.Name)
		case n > 1:
			problems = append(problems, "several items for "+k.Name)
		}
	}
	for _, item := range items {
		if !known[item] {
			problems = append(problems, "an item for the unknown "+item)
		}
	}
	return problems
}

func count(list []string, s string) (n int) {
	for _, e := range list {
		if e == s {
			n++
		}
	}
	return n
}

var manualItem = regexp.MustCompile(`(?m)^\.It (?:Xo )?Ic (\S+)(?: No (?:\.\.\.|\\&\.\.\.) (?:No )?Ic (\S+))?`)

// manualItems returns the keyword of each ".It Ic NAME", and every one of
// a range such as ".It Ic route1 No ... Ic route9".
func manualItems(page string) (names []string) {
	for _, m := range manualItem.FindAllStringSubmatch(page, -1) {
		from, to := m[1], m[2]
		if to == "" {
			names = append(names, from)
			continue
		}
		stem := strings.TrimRight(from, "123456789")
		for digit := '1'; digit <= '9'; digit++ {
			if name := stem + string(digit); from <= name && name <= to {
				names = append(names, name)
			}
		}
	}
	return names
}

func TestCompareManual(t *testing.T) {
	var b strings.Builder
	for _, k := range Keywords() {
		if !strings.HasPrefix(k.Name, "route") {
			b.WriteString(".It Ic " + k.Name + " Ar x\nText.\n")
		}
	}
	page := b.String() + ".It Ic route Ar cidr\n"
	whole := page + ".It Ic route1 No ... Ic route9 Ar dest\n"
	for _, tt := range []struct {
		name, page string
		want       []string
	}{
		{"whole", whole, nil},
		{"protected dots", page + `.It Ic route1 No \&... Ic route9`, nil},
		{"half a range", page + ".It Ic route1 No ... Ic route8\n", []string{"no item for route9"}},
		{"one missing", strings.Replace(whole, ".It Ic mtu ", ".It Cm mtu ", 1), []string{"no item for mtu"}},
		{"one twice", whole + ".It Ic mtu\n", []string{"several items for mtu"}},
		{"one unknown", whole + ".It Ic xyzzy\n", []string{"an item for the unknown xyzzy"}},
	} {
		if got := compareManual(tt.page); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestMacros looks through all pages for words that mandoc takes for macros, and for
// items that it skips.
func TestMacros(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.[58]")
	if err != nil || len(pages) != 4 {
		t.Fatalf("pages %q, %v", pages, err)
	}
	for _, path := range pages {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range strayMacros(string(page)) {
			t.Errorf("%s: %s", filepath.Base(path), problem)
		}
	}
}

var (
	// strayMacro begins a line of text with an English word that is a macro. Others of
	// these words, but for No, have no use further on either.
	strayMacro = regexp.MustCompile(`^\.(?:It|[SDPQBA]q|Ql|Li|Sy|Em|Ss|Sh|Nd|Dl|D1)(?: (?:Ad|An|At|Do|Em|In|No|Re|So|St|Ta|Ud)\b| .* (?:An|At|Do|In|So|St) )`)
	listMacro  = regexp.MustCompile(`^\.(Bl|It|El)\b`)
)

// strayMacros says which lines of a page do not show what they say.
func strayMacros(page string) (problems []string) {
	depth, number := 0, 0
	for line := range strings.Lines(page) {
		number++
		if strayMacro.MatchString(line) {
			problems = append(problems, fmt.Sprintf("line %d has a word that is a macro: put \\& before it", number))
		}
		m := listMacro.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if m[1] == "Bl" {
			depth++
		} else if depth == 0 {
			problems = append(problems, fmt.Sprintf("line %d is outside of a list", number))
		} else if m[1] == "El" {
			depth--
		}
	}
	if depth > 0 {
		problems = append(problems, "a list is not closed")
	}
	return problems
}

func TestStrayMacros(t *testing.T) {
	for _, tt := range []struct {
		name, page string
		want       []string
	}{
		{"clean", ".Bl -tag\n.It Ic a No ... Ic b\n.It Inside\n.It \\&No network\n.Bl -tag\n.It Va x\n.El\n.El\n.Pq Ql a\n", nil},
		{"item", ".Bl -tag\n.It No network\n.El\n", []string{`line 2 has a word that is a macro: put \& before it`}},
		{"brackets", "a\n.Pq In brackets\n", []string{`line 2 has a word that is a macro: put \& before it`}},
		{"further on", ".Dq Li a In brackets\n", []string{`line 1 has a word that is a macro: put \& before it`}},
		{"no list", ".It Ic a\n", []string{"line 1 is outside of a list"}},
		{"list that has ended", ".Bl -tag\n.El\n.It Ic a\n.El\n", []string{"line 3 is outside of a list", "line 4 is outside of a list"}},
		{"open list", ".Bl -tag\n.It Ic a\n", []string{"a list is not closed"}},
	} {
		if got := strayMacros(tt.page); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestExamples parses every configuration of the examples, but for those of other
// programs.
func TestExamples(t *testing.T) {
	found := 0
	err := filepath.WalkDir("../examples", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.Name() == "dynvpn" {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || filepath.Ext(path) != ".conf" {
			return err
		}
		found++
		if _, err := ParseFile(path); err != nil {
			t.Error(err)
		}
		return nil
	})
	peers, problems := examplePeers(t)
	if len(problems) > 0 || len(peers) != 2 {
		t.Errorf("%d clients in ../examples/hub, problems %v", len(peers), problems)
	}
	if err != nil || found == 0 {
		t.Errorf("found %d configurations in ../examples: %v", found, err)
	}
}

// examplePeers reads the clients of the example of a hub, with the mode that they have
// to have.
func examplePeers(t *testing.T) ([]*Peer, []error) {
	t.Helper()
	c, err := ParseFile("../examples/hub/server.conf")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	entries, err := os.ReadDir(c.Peers)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(c.Peers, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	c.Peers = fill(t, files)
	peers, problems, err := c.ReadPeers()
	if err != nil {
		t.Fatal(err)
	}
	return peers, problems
}
