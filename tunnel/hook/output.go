package hook

import (
	"bytes"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of what a run may put into the log.
const (
	maxOutput = 64 << 10 // bytes
	maxLine   = 1 << 10  // bytes of one line, the rest is dropped
	minLine   = 64       // what a line counts at least, or short ones would flood
)

// output logs what is written to it, line by line.
type output struct {
	log  *slog.Logger
	line []byte // the line so far
	left int    // how much may still be logged; negative after the note on the cut
}

// Write takes all that it is given, so that the script never blocks.
func (o *output) Write(p []byte) (int, error) {
	if o.left < 0 {
		return len(p), nil // an endless one costs as little as it can
	}
	for line := range bytes.Lines(p) {
		text, ended := bytes.CutSuffix(line, []byte("\n"))
		o.line = append(o.line, text[:min(len(text), maxLine-len(o.line))]...)
		if ended {
			o.flush()
		}
	}
	return len(p), nil
}

// flush logs the line so far.
func (o *output) flush() {
	line := bytes.TrimRight(o.line, " \t\r")
	o.line = o.line[:0]
	if len(line) == 0 || o.left < 0 {
		return
	}
	o.left -= max(len(line), minLine)
	if o.left < 0 {
		o.log.Info("hook output cut")
		return
	}
	o.log.Info("hook output", "line", printable(line))
}

// printable returns the line with an escape for all that could disturb a
// terminal or forge a line of the log.
func printable(line []byte) string {
	var b strings.Builder
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, line[0])
		case r == '\\' || !unicode.IsPrint(r):
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		default:
			b.WriteRune(r)
		}
		line = line[n:]
	}
	return b.String()
}
