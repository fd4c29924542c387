package settings

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// Problem is one mistake in a file.
type Problem struct {
	File string
	Line int // 0 when something is missing
	Text string
}

// Error returns "file:line: text".
func (p Problem) Error() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ": " + p.Text
}

// Problems is every mistake of one file in the order of its lines, what is missing at
// the end. It is never empty.
type Problems []Problem

// Error returns one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// collector gathers the problems of one file.
type collector struct {
	file string
	list Problems
}

func (c *collector) add(line int, format string, args ...any) {
	c.list = append(c.list, Problem{c.file, line, fmt.Sprintf(format, args...)})
}

// err returns all problems as one error, or nil.
func (c *collector) err() error {
	if len(c.list) == 0 {
		return nil
	}
	place := func(p Problem) int {
		if p.Line == 0 {
			return math.MaxInt
		}
		return p.Line
	}
	slices.SortStableFunc(c.list, func(a, b Problem) int { return cmp.Compare(place(a), place(b)) })
	return c.list
}

const (
	maxFile = 1 << 20 // bytes of a file
	maxLine = 4096    // bytes of a line
	maxEcho = 64      // bytes of a word that a message repeats
)

// quote returns s in double quotes, of bounded length and safe for a terminal.
func quote(s string) string {
	if len(s) > maxEcho {
		s = strings.ToValidUTF8(s[:maxEcho], "") + "..."
	}
	return strconv.Quote(s)
}

// lines calls each with the lines that can be read, without white space at their end,
// and reports the others.
func (c *collector) lines(text string, each func(number int, line string)) {
	n := 0
	const byteOrderMark = "\ufeff" // some editors begin with it
	for line := range strings.Lines(strings.TrimPrefix(text, byteOrderMark)) {
		n++
		line = strings.TrimRight(line, " \t\r\n")
		unprintable := func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }
		switch {
		case len(line) > maxLine:
			c.add(n, "the line is longer than %d bytes", maxLine)
		case !utf8.ValidString(line) || strings.ContainsFunc(line, unprintable):
			c.add(n, "the line holds bytes that are no text")
		default:
			each(n, line)
		}
	}
}

// readText reads a file of bounded size. check looks at the open file first.
func readText(path string, check func(os.FileInfo) error) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	if err := check(info); err != nil {
		return "", fmt.Errorf("%s %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return string(text), err
}

// checkSecret refuses a file that others can read or change: it holds a password. A
// group may read it, that of a web server.
func checkSecret(info os.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return fmt.Errorf("can be read or changed by others (mode %04o), and has a password in it: chmod 640 or 600", mode)
	}
	return checkOwner(info)
}

// checkPlain refuses a file that others can change.
func checkPlain(info os.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("can be changed by others (mode %04o): chmod go-w", mode)
	}
	return checkOwner(info)
}

// checkOwner refuses a file of another ordinary user.
func checkOwner(info os.FileInfo) error {
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	if owner != 0 && owner != os.Geteuid() {
		return fmt.Errorf("belongs to user %d: it must belong to root or to user %d, who runs this", owner, os.Geteuid())
	}
	return nil
}

var errPort = errors.New("is not a port: a number from 1 to 65535")

// parsePort reads a port.
func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || text[0] == '0' {
		return 0, errPort
	}
	return uint16(n), nil
}
