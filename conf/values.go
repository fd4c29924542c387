package conf

import (
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxSend is the largest sendbuf and mtu: with what a frame adds it stays below
// the 65535 bytes that the length of a frame can say.
const maxSend = 65000

// errUsage is completed by the parser with the form that the keyword has.
var errUsage = errors.New("wrong number of arguments")

// one makes a parse function of one that wants exactly one argument.
func one(set func(arg string) error) func(line) error {
	return func(l line) error {
		if len(l.args) != 1 {
			return errUsage
		}
		return set(l.args[0])
	}
}

// whole parses a whole number from low to high; unit may be empty.
func whole(arg, unit string, low, high int) (int, error) {
	n, err := strconv.ParseUint(arg, 10, 31)
	if err != nil || int(n) < low || int(n) > high {
		if unit != "" {
			unit = " of " + unit
		}
		return 0, fmt.Errorf("%s is not a whole number%s from %d to %d", quote(arg), unit, low, high)
	}
	return int(n), nil
}

func number(field *int, unit string, low, high int) func(line) error {
	return multiple(field, unit, 1, low, high)
}

func multiple(field *int, unit string, of, low, high int) func(line) error {
	return one(func(arg string) error {
		n, err := whole(arg, unit, low, high)
		if err != nil {
			return err
		}
		if n%of != 0 {
			return fmt.Errorf("%d is not a multiple of %d; say %d", n, of, n-n%of)
		}
		*field = n
		return nil
	})
}

func seconds(field *time.Duration, low, high int) func(line) error {
	return one(func(arg string) error {
		n, err := whole(arg, "seconds", low, high)
		*field = time.Duration(n) * time.Second
		return err
	})
}

// oneOf returns an error unless arg is one of names.
func oneOf(arg string, names []string) error {
	if slices.Contains(names, arg) {
		return nil
	}
	advice, _ := didYouMean(arg, names)
	return fmt.Errorf("%s is none of %s%s", quote(arg), strings.Join(names, ", "), advice)
}

func choice[T ~string](field *T, values ...T) func(line) error {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = string(v)
	}
	return one(func(arg string) error {
		*field = T(arg)
		return oneOf(arg, names)
	})
}

func choices(field *[]string, names ...string) func(line) error {
	return func(l line) error {
		if len(l.args) == 0 {
			return errUsage
		}
		for i, arg := range l.args {
			if strings.Contains(arg, ",") {
				return fmt.Errorf("%s has commas; put blanks between the names", quote(arg))
			}
			if err := oneOf(arg, names); err != nil {
				return err
			}
			if slices.Contains(l.args[:i], arg) {
				return fmt.Errorf("%s is named twice", arg)
			}
		}
		*field = l.args
		return nil
	}
}

// onOff parses a switch; the keyword alone turns it on.
func onOff(field *bool) func(line) error {
	return func(l line) error {
		if len(l.args) == 0 {
			*field = true
			return nil
		}
		return one(func(arg string) error {
			*field = arg == "on"
			return oneOf(arg, []string{"on", "off"})
		})(l)
	}
}

// alone parses a keyword that stands alone.
func alone(field *bool) func(line) error {
	return func(l line) error {
		if len(l.args) > 0 {
			return errUsage
		}
		*field = true
		return nil
	}
}

// setKey takes the words of a key. What they mean is not judged here, nor repeated in
// an error.
func (c *Config) setKey(l line) error {
	if len(l.args) == 0 {
		return errUsage
	}
	c.Key = strings.Join(l.args, " ")
	return nil
}

// path parses a path that is relative to the configuration.
func (c *Config) path(field *string) func(line) error {
	return func(l line) error {
		if len(l.args) > 1 {
			return errors.New("more than one path; put a path that holds blanks in double quotes")
		}
		return one(func(arg string) error {
			switch {
			case arg == "":
				return errors.New(`"" is not a path`)
			case isKey(arg):
				return errors.New("this seems to be a key, not a path; put it into a file of mode 0600 and name that")
			}
			if !filepath.IsAbs(arg) {
				arg = filepath.Join(filepath.Dir(c.Path), arg)
			}
			*field = filepath.Clean(arg)
			return nil
		})(l)
	}
}

// isKey reports whether a word may be a secret, which no message is to repeat.
func isKey(word string) bool {
	if _, code, found := strings.Cut(word, ":"); found {
		word = code
	}
	key, err := base64.StdEncoding.DecodeString(word)
	return err == nil && len(key) == 32
}

// maxDevice is the longest name that Linux gives an interface.
const maxDevice = 15

// device parses the name of an interface. A "%" is refused because the kernel
// would put a number in its place and the name would not be the one asked for.
func device(field *string) func(line) error {
	return one(func(arg string) error {
		unfit := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`/:%`, r) }
		switch {
		case arg == "" || len(arg) > maxDevice:
			return fmt.Errorf("%s is not a name of 1 to %d letters", quote(arg), maxDevice)
		case arg == "." || arg == ".." || strings.ContainsFunc(arg, unfit):
			return fmt.Errorf(`%s is not a name for an interface; use letters, digits, "-", "_" and "."`, quote(arg))
		}
		*field = arg
		return nil
	})
}
