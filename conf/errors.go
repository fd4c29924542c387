package conf

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ErrNotInBuild is wrapped by each [Error] about something that is documented
// but that this build does not have.
var ErrNotInBuild = errors.New("not in this build")

// An Error is one problem of a configuration.
type Error struct {
	File    string
	Line    int    // 0 when something is missing
	Keyword string // "" when the line is too broken to have one
	Problem string

	cause error
}

// Error returns "file:line: keyword: problem", without the parts that there
// are not.
func (e Error) Error() string {
	s := bare(e.File)
	if e.Line > 0 {
		s += ":" + strconv.Itoa(e.Line)
	}
	if e.Keyword != "" {
		s += ": " + e.Keyword
	}
	return s + ": " + e.Problem
}

// Unwrap returns what the problem wraps, such as [ErrNotInBuild].
func (e Error) Unwrap() error { return e.cause }

// Errors is every problem of one configuration in the order of its lines, what
// is missing at the end. It is never empty.
type Errors []Error

// Error returns one line for each problem.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems one by one.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i, err := range e {
		list[i] = err
	}
	return list
}

func (e Errors) sorted() Errors {
	place := func(err Error) int {
		if err.Line == 0 {
			return math.MaxInt
		}
		return err.Line
	}
	slices.SortStableFunc(e, func(a, b Error) int { return cmp.Compare(place(a), place(b)) })
	return e
}

// maxEcho is how many bytes of an argument a message repeats.
const maxEcho = 64

// quote returns s in double quotes, of bounded length and safe for a terminal.
func quote(s string) string {
	if len(s) > maxEcho {
		s = strings.ToValidUTF8(s[:maxEcho], "") + "..."
	}
	return strconv.Quote(s)
}

// longestKeyword is how long a word may be, and keyMarks what it may not hold, to be
// taken for a keyword.
const (
	longestKeyword = 16
	keyMarks       = ":=/+"
)

// shown returns a keyword as a message repeats it, safe for a terminal: "" for one that
// may be a piece of a key, from a line that was broken on the way.
func shown(keyword string) string {
	if len(keyword) > longestKeyword || strings.ContainsAny(keyword, keyMarks) {
		return ""
	}
	return bare(keyword)
}

// bare returns s as it is when it is safe for a terminal, else quoted.
func bare(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` {
		return q
	}
	return s
}

// didYouMean returns the advice to use the nearest of names, and that name; both
// are empty when none is near.
func didYouMean(word string, names []string) (advice, name string) {
	name = nearest(word, names)
	if name == "" {
		return "", ""
	}
	return fmt.Sprintf("; did you mean %q?", name), name
}

// nearest returns the name that word was probably meant to be, or "". A third
// of a name's letters may be wrong, at least one.
func nearest(word string, names []string) string {
	word = strings.ToLower(word)
	best, least := "", math.MaxInt
	for _, name := range names {
		limit := max(1, len(name)/3)
		if len(word) > len(name)+limit {
			continue // saves the work for a word as long as a line
		}
		if d := distance(word, name); d <= limit && d < least {
			best, least = name, d
		}
	}
	return best
}

// distance returns how many letters must be added, removed, replaced or swapped
// with their neighbour to make b of a.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			rows[i][j] = step(rows, a, b, i, j)
		}
	}
	return rows[len(a)][len(b)]
}

// step returns the distance between the first i letters of a and the first j
// of b, from those of shorter beginnings.
func step(rows [][]int, a, b string, i, j int) int {
	if i == 0 || j == 0 {
		return i + j
	}
	d := min(rows[i-1][j], rows[i][j-1]) + 1
	if a[i-1] == b[j-1] {
		return min(d, rows[i-1][j-1])
	}
	d = min(d, rows[i-1][j-1]+1)
	if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
		d = min(d, rows[i-2][j-2]+1)
	}
	return d
}
