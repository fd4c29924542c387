package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// explained is the list of the mutants that no test can kill: one line for each,
// and below it, indented, why it has no effect that can be seen. Lines that
// follow each other share a reason.
type explained map[string]bool

// readSurvivors reads the list. A mutant without a reason is an error.
func readSurvivors(path string) (explained, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list := make(explained)
	waiting := "" // a mutant that has no reason yet
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		switch name := strings.TrimSpace(line); {
		case strings.HasPrefix(line, "#"):
		case name == "" && waiting != "":
			return nil, fmt.Errorf("%s: no reason for %s", path, waiting)
		case name == "":
		case line != name && strings.HasPrefix(line, "\t"):
			waiting = ""
		case list[name]:
			return nil, fmt.Errorf("%s: twice: %s", path, name)
		default:
			list[name] = true
			waiting = name
		}
	}
	if waiting != "" {
		return nil, fmt.Errorf("%s: no reason for %s", path, waiting)
	}
	return list, lines.Err()
}
