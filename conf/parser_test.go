package conf

import (
	"errors"
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

// TestKeysAreNotRepeated: messages go to logs, and who pastes a key may break its line.
func TestKeysAreNotRepeated(t *testing.T) {
	const key = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
	for _, tt := range []struct{ name, line, want string }{
		{"private key", "private:" + key, "c.conf:1: unknown keyword; vpnd.conf(5) lists all there are"},
		{"secret, indented", "  secret:" + key, "c.conf:1: unknown keyword; vpnd.conf(5) lists all there are"},
		{"key without its kind", key[:22], "c.conf:1: unknown keyword; vpnd.conf(5) lists all there are"},
		{"end of a key", key[32:], "c.conf:1: unknown keyword; vpnd.conf(5) lists all there are"},
		{"end with a slash", "ab/d", "c.conf:1: unknown keyword; vpnd.conf(5) lists all there are"},
		{"end with a plus", "ab+d", "c.conf:1: unknown keyword; vpnd.conf(5) lists all there are"},
		{"before a broken word", "private:" + key + ` "x`, "c.conf:1: a double quote opens here and never closes"},
		{"before a strange blank", "key private:" + key + "\xa0", "c.conf:1: key: a word is not UTF-8 text"},
		{"as a path", "keyfile " + key, "c.conf:1: keyfile: this seems to be a key, not a path; put it into a file of mode 0600 and name that"},
		{"as a path, with its kind", "keyfile private:" + key, "c.conf:1: keyfile: this seems to be a key, not a path; put it into a file of mode 0600 and name that"},
		{"as two paths", "keyfile vpnd-psk-1 " + key, "c.conf:1: keyfile: more than one path; put a path that holds blanks in double quotes"},
		{"short word", "abcdefghijklmnop", "c.conf:1: abcdefghijklmnop: unknown keyword; vpnd.conf(5) lists all there are"},
		{"longer word", "abcdefghijklmnopq", "c.conf:1: unknown keyword; vpnd.conf(5) lists all there are"},
		{"strange short word", "\x1b\x1b\x1b\x1b\x1b", `c.conf:1: "\x1b\x1b\x1b\x1b\x1b": unknown keyword; vpnd.conf(5) lists all there are`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("c.conf", strings.NewReader(tt.line+"\n"))
			var errs Errors
			if !errors.As(err, &errs) || errs[0].Error() != tt.want {
				t.Errorf("got %v, want %q first", err, tt.want)
			}
			_, err = ParsePeer("ann.peer", strings.NewReader(tt.line+"\n"))
			for word := range strings.FieldsSeq(tt.line) {
				if strings.ContainsAny(word, ":=/+") && strings.Contains(err.Error(), word) {
					t.Errorf("the file of a client: %v", err)
				}
			}
		})
	}
}

// TestKeywordsAreRepeated: every keyword that there is stands in messages.
func TestKeywordsAreRepeated(t *testing.T) {
	for _, k := range append(Keywords(), PeerKeywords()...) {
		if shown(k.Name) != k.Name {
			t.Errorf("%s is shown as %q", k.Name, shown(k.Name))
		}
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

// TestByteOrderMark reads what an editor of another system may have written.
func TestByteOrderMark(t *testing.T) {
	const text = "mode server\r\nlocal 10.0.0.1\r\nremote 10.0.0.2\r\nserver 203.0.113.1\r\n"
	if c, err := Parse("c.conf", strings.NewReader("\ufeff"+text)); err != nil || c.Mode != Server {
		t.Errorf("error %v", err)
	}
	if _, err := Parse("c.conf", strings.NewReader(text+"\ufeff\r\n")); err == nil {
		t.Error("it is taken in the middle")
	}
}
