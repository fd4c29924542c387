package conf

import (
	"strings"
	"testing"
)

func TestIsName(t *testing.T) {
	label := strings.Repeat("a", 63)
	for name, want := range map[string]bool{
		"a": true, "z": true, "A": true, "Z": true, "a0.b9c": true, "a-b": true, "_a": true, "a.": true, label: true, "0.a": true, "1a": true,
		"": false, ".": false, "a..b": false, ".a": false, "-a": false, "a-": false, label + "a": false, "a.0": false, "a.9": false, "12": false,
		"a@b": false, "a[b": false, "a`b": false, "a{b": false, "a/b": false, "a:b": false, "a b": false, "ä": false,
	} {
		if got := isName(name); got != want {
			t.Errorf("isName(%q) = %v, want %v", name, got, want)
		}
	}
}
