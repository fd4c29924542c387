package conf

import (
	"strings"
	"testing"
)

func TestLimits(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"bytes", strings.Repeat("#"+strings.Repeat("x", 4095)+"\n", maxFile/4097+1), "vpnd.conf:256: the file is larger than 1048576 bytes; is it the right one?"},
		{"lines", strings.Repeat("\n", maxLines+1), "vpnd.conf:10001: the file has more than 10000 lines; is it the right one?"},
		{"lines without an end", strings.Repeat("\n", maxLines) + "x", "vpnd.conf:10001: the file has more than 10000 lines; is it the right one?"},
		{"NUL byte", "mode server\n#\x00\nx", "vpnd.conf:2: holds a NUL byte; this is no plain text file"},
		{"NUL byte at once", "\x00", "vpnd.conf:1: holds a NUL byte; this is no plain text file"},
		{"UTF-16", "\xff\xfem\x00o\x00d\x00e\x00", "vpnd.conf:1: holds a NUL byte; this is no plain text file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.ReplaceAll(parseProblems(t, tt.text).Error(), "/etc/vpnd/vpnd.conf:", "vpnd.conf:")
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	text := base(Server, "")
	most := text + strings.Repeat("#\n", maxLines-strings.Count(text, "\n"))
	most += "#" + strings.Repeat("x", maxLine-1)
	most = strings.Replace(most, "#\n", "", 1)
	if _, err := Parse("vpnd.conf", strings.NewReader(most)); err != nil {
		t.Errorf("%d lines, the last of %d bytes: %v", maxLines, maxLine, err)
	}
	full := text + strings.Repeat("#"+strings.Repeat("x", 4094)+"\n", (maxFile-len(text))/4096)
	full += strings.Repeat(" ", maxFile-len(full))
	if _, err := Parse("vpnd.conf", strings.NewReader(full)); err != nil {
		t.Errorf("%d bytes: %v", len(full), err)
	}
}

func TestBrokenDefaultIsReported(t *testing.T) {
	p := newParser(&Config{file: "vpnd.conf", lines: map[string][]int{}})
	p.table = []Keyword{{Name: "mtu", Default: "x", parse: number(new(int), "", 1, 2)}}
	p.defaults()
	if want := `vpnd.conf: mtu: default "x": "x" is not a whole number from 1 to 2`; p.errs.Error() != want {
		t.Errorf("got %q, want %q", p.errs.Error(), want)
	}
}
