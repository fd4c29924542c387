package conf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A line is a keyword with its arguments.
type line struct {
	num     int
	keyword string
	args    []string
}

// A parser fills one Config and collects the problems on the way.
type parser struct {
	conf  *Config
	table []Keyword
	errs  Errors
	bad   map[string]bool // keywords with a problem, which nothing else is concluded from
}

func newParser(c *Config) *parser {
	return &parser{conf: c, table: keywords(c), bad: map[string]bool{}}
}

// report records a problem of line num; 0 stands for the file as a whole.
func (p *parser) report(num int, keyword string, problem error) {
	p.bad[keyword] = true
	p.errs = append(p.errs, Error{
		File:    p.conf.file,
		Line:    num,
		Keyword: shown(keyword),
		Problem: problem.Error(),
		cause:   problem,
	})
}

// byteOrderMark is what some editors write at the beginning of a file.
const byteOrderMark = "\ufeff"

// obey reads every line.
func (p *parser) obey(text string) {
	num := 0
	for s := range strings.Lines(strings.TrimPrefix(text, byteOrderMark)) {
		num++
		s = strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r")
		words, err := split(s)
		if len(words) == 0 && err == nil {
			continue
		}
		l := line{num: num}
		if len(words) > 0 {
			l.keyword, l.args = words[0], words[1:]
		}
		if err == nil {
			err = p.statement(l)
		}
		if err != nil {
			p.report(num, l.keyword, err)
		}
	}
}

// statement obeys one line that has a keyword.
func (p *parser) statement(l line) error {
	i := slices.IndexFunc(p.table, func(k Keyword) bool { return k.Name == l.keyword })
	if i < 0 {
		return p.unknown(l.keyword)
	}
	k := p.table[i]
	if k.parse == nil {
		return fmt.Errorf("%w; remove the line", ErrNotInBuild)
	}
	earlier := p.conf.lines[k.Name]
	p.conf.lines[k.Name] = append(earlier, l.num)
	if len(earlier) > 0 && !k.repeat {
		return fmt.Errorf("stands on line %d already; keep one of the two", earlier[0])
	}
	err := k.parse(l)
	if errors.Is(err, errUsage) {
		return fmt.Errorf("%w; say %q", err, strings.TrimSpace(k.Name+" "+k.Args))
	}
	return err
}

// unknown also holds a misspelt keyword for given, so that it is not reported
// as missing too.
func (p *parser) unknown(keyword string) error {
	names := make([]string, len(p.table))
	for i, k := range p.table {
		names[i] = k.Name
	}
	if i := strings.IndexAny(keyword, "=:"); i > 0 && slices.Contains(names, keyword[:i]) {
		p.bad[keyword[:i]] = true
		return fmt.Errorf("unknown keyword; put a blank behind %q, and no %q", keyword[:i], keyword[i:i+1])
	}
	advice, name := didYouMean(keyword, names)
	if name == "" {
		return errors.New("unknown keyword; vpnd.conf(5) lists all there are")
	}
	p.bad[name] = true
	return errors.New("unknown keyword" + advice)
}

// defaults obeys the default of each keyword that stands nowhere.
func (p *parser) defaults() {
	for _, k := range p.table {
		if k.parse == nil || k.Default == "" || p.conf.line(k.Name) > 0 {
			continue
		}
		l := line{keyword: k.Name, args: strings.Fields(k.Default)}
		for i, arg := range l.args {
			l.args[i] = strings.ReplaceAll(arg, "NAME", p.conf.Name)
		}
		if err := k.parse(l); err != nil {
			p.report(0, k.Name, fmt.Errorf("default %s: %w", quote(k.Default), err))
		}
	}
}

// split cuts a line into its words. With an error it returns the words before
// the broken one.
func split(s string) ([]string, error) {
	if len(s) > maxLine {
		return nil, fmt.Errorf("the line is longer than %d bytes", maxLine)
	}
	var words []string
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" || s[0] == '#' {
			return words, nil
		}
		word, rest, err := cutWord(s)
		if err != nil {
			return words, err
		}
		words = append(words, word)
		s = rest
	}
}

// cutWord returns the word at the beginning of s, which is not empty, and what
// follows it.
func cutWord(s string) (word, rest string, err error) {
	closed := true
	if s[0] == '"' {
		word, rest, closed = strings.Cut(s[1:], `"`)
	} else {
		end := strings.IndexAny(s+"#", " \t#\"")
		word, rest = s[:end], s[end:]
	}
	switch {
	case !closed:
		err = errors.New("a double quote opens here and never closes")
	case rest != "" && !strings.ContainsRune(" \t#", rune(rest[0])):
		err = errors.New("a double quote stands inside a word; put the whole word in quotes")
	case !utf8.ValidString(word):
		err = errors.New("a word is not UTF-8 text")
	}
	return word, rest, err
}
