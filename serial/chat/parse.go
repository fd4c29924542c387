package chat

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	maxScript = 64 << 10
	// maxText is the longest expected word: what has been read is compared with it
	// after every byte.
	maxText = 1024
	// maxTimeout is a day, in seconds.
	maxTimeout = 24 * 60 * 60
)

// ParseFile reads a script. It does not wait for somebody who writes into a pipe.
func ParseFile(path string) (*Script, error) {
	if is, err := os.Stat(path); err == nil && !is.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a plain file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxScript+1))
	if err != nil {
		return nil, fmt.Errorf("read chat script: %w", err)
	}
	return Parse(path, string(text))
}

// Parse reads the text of a script; file is its name in errors. All mistakes are
// reported at once, each as an Error.
func Parse(file, text string) (*Script, error) {
	if len(text) > maxScript {
		return nil, fmt.Errorf("%s: chat script of more than %d bytes", file, maxScript)
	}
	p := parser{script: &Script{file: file}}
	p.read(strings.TrimPrefix(text, "\ufeff")) // as editors of Windows begin a file
	if len(p.script.steps) == 0 && p.errs == nil {
		return nil, fmt.Errorf("%s: the chat script is empty", file)
	}
	return p.script, errors.Join(p.errs...)
}

// word is a word of a script, without its quotes.
type word struct {
	line int
	text string
}

type parser struct {
	script *Script
	line   int
	errs   []error
}

func (p *parser) fail(format string, args ...any) {
	p.errs = append(p.errs, &Error{File: p.script.file, Line: p.line, Err: fmt.Errorf(format, args...)})
}

// read makes steps of pairs of words. A script may end with something expected.
func (p *parser) read(text string) {
	words := p.words(text)
	for len(words) > 0 {
		first := words[0]
		p.line = first.line
		if len(words) == 1 {
			p.last(first)
			return
		}
		p.pair(first, words[1])
		words = words[2:]
	}
}

func (p *parser) last(w word) {
	if _, ok := keywords[w.text]; ok {
		p.fail("%s needs an argument", w.text)
		return
	}
	p.add(step{line: w.line, tries: p.tries(w.text)})
}

func (p *parser) pair(first, second word) {
	do, ok := keywords[first.text]
	if !ok {
		s := step{line: first.line, tries: p.tries(first.text)}
		p.line = second.line
		s.reply = p.message(second.text)
		p.add(s)
		return
	}
	p.line = second.line
	s := step{line: first.line, do: do}
	switch do {
	case timeout:
		seconds, err := strconv.Atoi(second.text)
		if err != nil || seconds < 1 || seconds > maxTimeout {
			p.fail("TIMEOUT %q: a number of seconds is wanted, 1 to %d", second.text, maxTimeout)
		}
		s.wait = time.Duration(seconds) * time.Second
	case echo, hangup:
		if s.on = second.text == "ON"; !s.on && second.text != "OFF" {
			p.fail("%s %q: ON or OFF is wanted", first.text, second.text)
		}
	default:
		s.text = p.expected(second.text)
		if s.text == "" && do != say {
			p.fail("%s of nothing", first.text)
		}
	}
	p.add(s)
}

func (p *parser) add(s step) { p.script.steps = append(p.script.steps, s) }

// tries splits word-reply-word at the minus signs that have no backslash.
func (p *parser) tries(text string) (all []try) {
	for more := true; more; {
		var want, otherwise string
		want, text, more = cutMinus(text)
		t := try{want: p.expected(want)}
		if more = more && text != ""; more {
			otherwise, text, more = cutMinus(text)
			t.otherwise = p.message(otherwise)
		}
		all = append(all, t)
	}
	return all
}

// cutMinus returns what is before and after the first minus sign.
func cutMinus(text string) (before, after string, found bool) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '-':
			return text[:i], text[i+1:], true
		}
	}
	return text, "", false
}

// words splits a script. Comments and empty lines give none.
func (p *parser) words(text string) (all []word) {
	for line := range strings.Lines(text) {
		p.line++
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(strings.TrimLeft(line, blanks), "#") {
			continue
		}
		for {
			line = strings.TrimLeft(line, blanks)
			if line == "" {
				break
			}
			var w string
			w, line = p.cutWord(line)
			all = append(all, word{p.line, w})
		}
	}
	return all
}

const blanks = " \t"

// cutWord returns the first word of a line, and the rest.
func (p *parser) cutWord(line string) (first, rest string) {
	quote := line[0]
	if quote != '\'' && quote != '"' {
		end := strings.IndexAny(line, blanks)
		if end < 0 {
			end = len(line)
		}
		return line[:end], line[end:]
	}
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case quote:
			return line[1:i], line[i+1:]
		}
	}
	p.fail("the quote %c is not closed", quote)
	return line[1:], ""
}
