package main

import (
	"fmt"
	"path"
	"strings"
)

// named is something that the command line can ask for.
type named interface{ called() string }

// choose returns those that one of the patterns of an option matches, all for none.
func choose[T named](all []T, option, patterns string) ([]T, error) {
	if patterns == "" {
		return all, nil
	}
	wanted := make([]bool, len(all))
	for p := range strings.SplitSeq(patterns, ",") {
		found := false
		for i, it := range all {
			match, err := path.Match(p, it.called())
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", option, p, err)
			}
			found = found || match
			wanted[i] = wanted[i] || match
		}
		if !found {
			return nil, fmt.Errorf("%s %s: there is none of that name; there are %s", option, p, names(all))
		}
	}
	var chosen []T
	for i, it := range all {
		if wanted[i] {
			chosen = append(chosen, it)
		}
	}
	return chosen, nil
}

func names[T named](all []T) string {
	var list []string
	for _, it := range all {
		list = append(list, it.called())
	}
	return strings.Join(list, ", ")
}
