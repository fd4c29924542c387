// Package tiny is what the tests of mutate change.
package tiny

import (
	"errors"
	"os"
)

var errRefused = errors.New("refused")

type door struct{ seen map[string]bool }

// enter lets a short word in, once.
func (d *door) enter(word string) error {
	if len(word) > 3 {
		return errRefused
	}
	if word == "" || d.seen[word] {
		return errRefused
	}
	d.seen[word] = true
	return nil
}

// grade has no test for 2.
func grade(n int) int {
	switch n {
	case 1, 2:
		return 1
	default:
		return 0
	}
}

// sum ends only if the loop's condition is right.
func sum(n int) (s int) {
	for n > 0 {
		s += n
		n = max(0, n-1)
	}
	return s
}

// keep writes a word to a file.
func keep(path, word string) error {
	if err := os.WriteFile(path, []byte(word), 0o600); err != nil {
		return errRefused
	}
	return nil
}
