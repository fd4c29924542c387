package main

import "fmt"

// goal is one thing that vpnd wants to reach, as a figure of the same run.
type goal[R any] struct {
	text   string
	bound  float64
	atMost bool
	of     func(R) (float64, bool) // false: rows are missing
}

// judge says of each goal what came of it.
func judge[R any](goals []goal[R], rs R) string {
	cells := [][]string{{"goal", "wanted", "figure", "outcome"}, make([]string, 4)}
	for _, g := range goals {
		cells = append(cells, g.judge(rs))
	}
	return align(cells)
}

func (g goal[R]) judge(rs R) []string {
	sign := ">="
	if g.atMost {
		sign = "<="
	}
	value, ok := g.of(rs)
	line := []string{g.text, fmt.Sprintf("%s %v", sign, g.bound), "-", "not measured"}
	if ok {
		line[2], line[3] = figure(value), "missed"
		if value == g.bound || g.atMost == (value < g.bound) {
			line[3] = "met"
		}
	}
	return line
}
