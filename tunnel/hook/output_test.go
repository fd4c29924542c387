package hook

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestOutput(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine)
	for _, c := range []struct {
		name   string
		writes []string
		want   []string
	}{
		{"nothing", nil, nil},
		{"lines in one write", []string{"one\ntwo\n"}, []string{"one", "two"}},
		{"a line in many writes", []string{"o", "n", "e", "\n", "two"}, []string{"one", "two"}},
		{"empty lines", []string{"\n\n", "one\n", "\r\n \n\n"}, []string{"one"}},
		{"long line", []string{long + "\nnext\n"}, []string{long[:maxLine], "next"}},
		{"long line in many writes", []string{long, long, "\nnext"}, []string{long[:maxLine], "next"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log journal
			o := &output{log: log.logger(), left: maxOutput}
			for _, w := range c.writes {
				if n, err := o.Write([]byte(w)); n != len(w) || err != nil {
					t.Errorf("Write = %d, %v", n, err)
				}
			}
			o.flush()
			log.expect(t, c.want...)
		})
	}
}

func TestOutputLimit(t *testing.T) {
	for _, c := range []struct {
		name, line string
		want       int // logged lines
	}{
		{"long lines", strings.Repeat("x", maxLine), maxOutput / maxLine},
		{"short lines", "x", maxOutput / minLine},
		{"lines of the least length", strings.Repeat("x", minLine), maxOutput / minLine},
		{"longer ones", strings.Repeat("x", minLine+1), maxOutput / (minLine + 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log journal
			o := &output{log: log.logger(), left: maxOutput}
			for range 2 * maxOutput / minLine {
				_, _ = o.Write([]byte(c.line + "\n"))
			}
			log.expect(t, append(slices.Repeat([]string{c.line}, c.want), "INFO hook output cut")...)
		})
	}
}

// TestMuchOutput sees a script through that prints a megabyte.
func TestMuchOutput(t *testing.T) {
	var log journal
	path := write(t, filepath.Join(t.TempDir(), "hook"), `i=0; while [ $i -lt 1024 ]; do printf '%01023d\n' $i; i=$((i+1)); done; exit 5`)
	err := Script{Path: path, Env: environment, Timeout: time.Hour, Log: log.logger()}.Run(t.Context())
	checkError(t, err, "exit status 5", path)
	if len(log.lines) != 65 || !strings.HasSuffix(log.lines[63], "063") || log.lines[64] != "INFO hook output cut" {
		t.Errorf("%d lines: %q", len(log.lines), log.lines)
	}
}

func FuzzOutput(f *testing.F) {
	f.Add([]byte("one\ntwo\r\n\x1b[31m\xff\xe2\x80\xae\\"), 3)
	f.Add([]byte(strings.Repeat("long", maxLine)), 100)
	f.Fuzz(func(t *testing.T, printed []byte, cut int) {
		var log journal
		o := &output{log: log.logger(), left: maxOutput}
		cut = max(0, min(cut, len(printed)))
		_, _ = o.Write(printed[:cut])
		_, _ = o.Write(printed[cut:])
		o.flush()
		if cap(o.line) > 2*maxLine {
			t.Errorf("a line of %d bytes", cap(o.line))
		}
		if n := len(strings.Join(log.lines, "")); n > 4*maxOutput+100 { // a byte becomes \x00 at most
			t.Errorf("%d bytes logged", n)
		}
		if text := printable(printed); strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("printable(%q) = %q", printed, text)
		}
	})
}
