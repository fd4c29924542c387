package settings

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// load reads a file of settings, which has a password in it.
func load[T any](path string, parse func(file, text string) (T, error)) (none T, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return none, fmt.Errorf("settings: %w", err)
	}
	text, err := readText(path, checkSecret)
	if err != nil {
		return none, fmt.Errorf("settings: %w", err)
	}
	return parse(path, text)
}

// setting is a name with what takes its value.
type setting struct {
	name     string
	required bool
	set      func(value string) error
}

// assign reads assignments and hands each value to its setting.
func (c *collector) assign(text string, settings []setting) {
	first := make(map[string]int)
	c.lines(text, func(n int, line string) {
		name, value, err := cutAssignment(line)
		if err == nil && name == "" {
			return
		}
		i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
		switch {
		case err != nil:
			c.add(n, "%v", err)
		case i < 0:
			c.add(n, "there is no setting %s: there are %s", quote(name), names(settings))
		case first[name] != 0:
			c.add(n, "%s stands in line %d already", name, first[name])
		default:
			if err := settings[i].set(value); err != nil {
				c.add(n, "%s %v", name, err)
			}
		}
		if i >= 0 && first[name] == 0 {
			first[name] = n
		}
	})
	for _, s := range settings {
		if s.required && first[s.name] == 0 {
			c.add(0, "%s is missing", s.name)
		}
	}
}

func names(settings []setting) string {
	list := make([]string, len(settings))
	for i, s := range settings {
		list[i] = s.name
	}
	return strings.Join(list, ", ")
}

// cutAssignment reads one line. The name is empty if there is nothing on it.
func cutAssignment(line string) (name, value string, err error) {
	line = strings.Trim(line, " \t")
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	name, rest, ok := strings.Cut(line, "=")
	name = strings.TrimRight(name, " \t")
	if !ok || strings.ContainsAny(name, " \t#'\"") || name == "" {
		return "", "", errors.New(`this is no setting: name = number, or name = "text"`)
	}
	value, rest, err = cutValue(strings.TrimLeft(rest, " \t"))
	if err != nil {
		return name, "", fmt.Errorf("%s: %w", name, err)
	}
	if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != '#' {
		// Not quoted: it may be the rest of a password.
		return name, "", fmt.Errorf("%s: something stands behind the value; put the whole of it in quotes that it does not hold", name)
	}
	return name, value, nil
}

// cutValue reads the value at the beginning of s, and returns what follows it.
func cutValue(s string) (value, rest string, err error) {
	if s == "" || s[0] == '#' {
		return "", "", errors.New("the value is missing; an empty one is ''")
	}
	if q := s[:1]; q == "'" || q == `"` {
		value, rest, closed := strings.Cut(s[1:], q)
		if !closed {
			return "", "", errors.New("a quote opens here and never closes")
		}
		return value, rest, nil
	}
	end := strings.IndexAny(s+"#", " \t#'\"")
	return s[:end], s[end:], nil
}

// The values that both programs have.

const (
	defaultPort = 2002
	minPassword = 12
	maxPassword = 256
	// samplePassword stands in the example of the first DynVPN.
	samplePassword = "PASSWORD"
)

func setPassword(to *string) func(string) error {
	return func(value string) error {
		switch {
		case strings.EqualFold(value, samplePassword):
			return errors.New("is that of the example, which everybody knows: choose another one")
		case len(value) < minPassword:
			return fmt.Errorf("has %d characters: at least %d", len(value), minPassword)
		case len(value) > maxPassword:
			return fmt.Errorf("has %d characters: at most %d", len(value), maxPassword)
		case strings.Count(value, value[:1]) == len(value):
			return errors.New("is one character again and again: choose another one")
		}
		*to = value
		return nil
	}
}

func setPort(to *uint16) func(string) error {
	return func(value string) (err error) {
		if *to, err = parsePort(value); err != nil {
			err = fmt.Errorf("%s %w", quote(value), err)
		}
		return err
	}
}

// setPath takes a path, which is relative to the file that names it.
func setPath(to *string, file string) func(string) error {
	return func(value string) error {
		if value == "" {
			return errors.New("is empty: a path belongs here")
		}
		if !filepath.IsAbs(value) {
			value = filepath.Join(filepath.Dir(file), value)
		}
		*to = filepath.Clean(value)
		return nil
	}
}
