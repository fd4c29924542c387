package chat

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// describe writes a script in a form that can be compared.
func describe(s *Script) string {
	var b strings.Builder
	for _, s := range s.steps {
		fmt.Fprintf(&b, "%d ", s.line)
		switch s.do {
		case expect:
			for _, t := range s.tries {
				fmt.Fprintf(&b, "await %q ", t.want)
				if t.otherwise != nil {
					fmt.Fprintf(&b, "or %s ", describeMessage(t.otherwise))
				}
			}
			if s.reply != nil {
				fmt.Fprintf(&b, "send %s", describeMessage(s.reply))
			}
		case timeout:
			fmt.Fprintf(&b, "timeout %v", s.wait)
		case echo:
			fmt.Fprintf(&b, "echo %v", s.on)
		case hangup:
			fmt.Fprintf(&b, "hangup %v", s.on)
		default:
			fmt.Fprintf(&b, "%s %q", [...]string{abort: "abort", clearAbort: "clear abort", report: "report", clearReport: "clear report", say: "say"}[s.do], s.text)
		}
		b.WriteByte('\n')
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

func describeMessage(m *message) string {
	var parts []string
	for _, p := range m.parts {
		switch {
		case p.breakIt:
			parts = append(parts, "BREAK")
		case p.wait > 0:
			parts = append(parts, p.wait.String())
		default:
			parts = append(parts, fmt.Sprintf("%q", p.text))
		}
	}
	if m.hidden {
		parts = append(parts, "hidden")
	}
	return "[" + strings.Join(parts, " ") + "]"
}

var parseTests = []struct{ name, text, want string }{
	{"pairs over lines", "'' ATZ OK\nATDT123 CONNECT ''\n", `1 await "" send ["ATZ\r"]
1 await "OK" send ["ATDT123\r"]
2 await "CONNECT" send ["\r"]
`},
	{"byte order mark", "\ufeffOK ATD1\r\n", `1 await "OK" send ["ATD1\r"]
`},
	{"ends with something expected", "OK ATD1 CONNECT", `1 await "OK" send ["ATD1\r"]
1 await "CONNECT"
`},
	{"comments and blanks", "# first\n\n \t# 'second\n\tOK \t AT#CLS=1\r\n", `4 await "OK" send ["AT#CLS=1\r"]
`},
	{"keywords", "ABORT BUSY CLR_ABORT BUSY REPORT CONNECT CLR_REPORT CONNECT TIMEOUT 5 SAY 'Calling\\n' ECHO ON ECHO OFF HANGUP OFF HANGUP ON",
		`1 abort "BUSY"
1 clear abort "BUSY"
1 report "CONNECT"
1 clear report "CONNECT"
1 timeout 5s
1 say "Calling\n"
1 echo true
1 echo false
1 hangup false
1 hangup true
`},
	{"a keyword where something is sent", "OK ABORT", `1 await "OK" send ["ABORT\r"]
`},
	{"a keyword inside a word", "ABORTED-TIMEOUT-ABORT OK", `1 await "ABORTED" or ["TIMEOUT\r"] await "ABORT" send ["OK\r"]
`},
	{"other tries", "ogin:--ogin:-BREAK-ogin: ppp", `1 await "ogin:" or ["\r"] await "ogin:" or [BREAK] await "ogin:" send ["ppp\r"]
`},
	{"ends with another try", "ogin:-BREAK ppp", `1 await "ogin:" or [BREAK] send ["ppp\r"]
`},
	{"minus signs", `a\-b-c\\-d ok-ok`, `1 await "a-b" or ["c\\\r"] await "d" send ["ok-ok\r"]
`},
	{"quotes", `"it's" 'say "no"' "" ''`, `1 await "it's" send ["say \"no\"\r"]
1 await "" send ["\r"]
`},
	{"quotes inside words", `OK AT+CGDCONT=1,"IP","internet"`, `1 await "OK" send ["AT+CGDCONT=1,\"IP\",\"internet\"\r"]
`},
	{"escaped quotes", `'it\'s' "a \"b\""`, `1 await "it's" send ["a \"b\"\r"]
`},
	{"words that touch", `'a''b'`, `1 await "a" send ["b\r"]
`},
	{"escapes on both sides", `\b\n\r\s\t\\\101\7\0x^M^[\,^^ \b\n\r\s\t\\\101\7\0x^M^[\,\^`,
		`1 await "\b\n\r \t\\A\a\x00x\r\x1b,\x1e" send ["\b\n\r \t\\A\a\x00x\r\x1b,^\r"]
`},
	{"escapes only in what is sent", `'' a\d\db\p\Kc\N\c`, `1 await "" send ["a" 1s 1s "b" 100ms BREAK "c\x00"]
`},
	{"four digits", `\1234 ^`, `1 await "S4" send ["^\r"]
`},
	{"a lone backslash", `a\ b\`, `1 await "a\\" send ["b\\\r"]
`},
	{"hidden", `word: \qsecret\c`, `1 await "word:" send ["secret" hidden]
`},
	{"EOT and BREAK", "a EOT b BREAK c 'EOT '", `1 await "a" send ["\x04"]
1 await "b" send [BREAK]
1 await "c" send ["EOT \r"]
`},
	{"escapes that mean nothing in what is expected", `OK\d-AT\d\c-\q\pO\K\N\cK AT ABORT A\dB SAY 'a\n\c'`, `1 await "OK" or ["AT" 1s] await "OK" send ["AT\r"]
1 abort "AB"
1 say "a\n"
`},
	{"a minus sign at the end", "OK- AT", `1 await "OK" send ["AT\r"]
`},
	{"two minus signs at the end", "OK-- AT", `1 await "OK" or ["\r"] await "" send ["AT\r"]
`},
	{"a minus sign at the beginning", "-AT-OK AT", `1 await "" or ["AT\r"] await "OK" send ["AT\r"]
`},
	{"at signs", `'' \@x '' @`, `1 await "" send ["@x\r"]
1 await "" send ["@\r"]
`},
	{"text for people", "SAY 'größer'", `1 say "größer"
`},
	{"nothing is sent", `OK \c`, `1 await "OK" send []
`},
}

func TestParse(t *testing.T) {
	for _, test := range parseTests {
		t.Run(test.name, func(t *testing.T) {
			s, err := Parse("test.chat", test.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(s); got != test.want {
				t.Errorf("is\n%swant\n%s", got, test.want)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"empty", "# nothing\n", "test.chat: the chat script is empty"},
		{"large", strings.Repeat("#\n", maxScript/2) + "a", "test.chat: chat script of more than 65536 bytes"},
		{"open quote", "OK AT\n'a b", "test.chat:2: the quote ' is not closed"},
		{"open quote, escaped", `OK "AT\"`, `test.chat:1: the quote " is not closed`},
		{"no argument", "OK AT\nABORT", "test.chat:2: ABORT needs an argument"},
		{"abort of nothing", "ABORT ''", "test.chat:1: ABORT of nothing"},
		{"report of nothing", "REPORT\n\"\"", "test.chat:2: REPORT of nothing"},
		{"timeout, no number", "TIMEOUT\nten", `test.chat:2: TIMEOUT "ten": a number of seconds is wanted, 1 to 86400`},
		{"timeout 0", "TIMEOUT 0", `test.chat:1: TIMEOUT "0": a number of seconds is wanted, 1 to 86400`},
		{"timeout, too long", "TIMEOUT 86401", `test.chat:1: TIMEOUT "86401": a number of seconds is wanted, 1 to 86400`},
		{"echo", "ECHO on", `test.chat:1: ECHO "on": ON or OFF is wanted`},
		{"hangup", "HANGUP 1", `test.chat:1: HANGUP "1": ON or OFF is wanted`},
		{"abort of nothing that is sent", `ABORT \d`, `test.chat:1: ABORT of nothing`},
		{"telephone number that is expected", `a\U b`, `test.chat:1: \U: there is no telephone number but what the script says`},
		{"file", "'' @/etc/secret", `test.chat:1: "@/etc/secret": text from a file is not possible here; \@ sends the sign itself`},
		{"c in the middle", `a b\cd`, `test.chat:1: \c may stand only at the end`},
		{"telephone number", "a\nATD\\T", `test.chat:2: \T: there is no telephone number but what the script says`},
		{"long text", strings.Repeat("a", maxText+1) + " b", "test.chat:1: text of 1025 bytes, at most 1024"},
		{"several", "TIMEOUT x\nECHO y", "test.chat:1: TIMEOUT \"x\": a number of seconds is wanted, 1 to 86400\ntest.chat:2: ECHO \"y\": ON or OFF is wanted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Parse("test.chat", test.text); err == nil || err.Error() != test.want {
				t.Errorf("error is\n%v\nwant\n%s", err, test.want)
			}
		})
	}
}

func TestParseFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dial")
	if _, err := ParseFile(path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("TIMEOUT 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ParseFile(path)
	if err != nil || len(s.steps) != 1 || s.steps[0].wait != 3*time.Second {
		t.Error(s, err)
	}
	for _, path := range []string{filepath.Dir(path), os.DevNull} {
		if _, err := ParseFile(path); err == nil || err.Error() != path+": not a plain file" {
			t.Error(err)
		}
	}
	if err := os.Truncate(path, maxScript+1); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseFile(path); err == nil || !strings.Contains(err.Error(), "more than 65536 bytes") {
		t.Error(err)
	}
}

// FuzzParse reads any text: a script is made of it, or errors that name a line.
func FuzzParse(f *testing.F) {
	for _, test := range parseTests {
		f.Add(test.text)
	}
	f.Add("'a\nTIMEOUT x \\")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("f", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("error names no file: %v", err)
			}
			return
		}
		for _, step := range s.steps {
			if step.line < 1 || step.line > 1+strings.Count(text, "\n") {
				t.Errorf("line %d", step.line)
			}
			if step.do == expect && len(step.tries) == 0 {
				t.Error("nothing is expected")
			}
		}
	})
}
