package settings

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestExamples reads the files of the examples. Their password is refused.
func TestExamples(t *testing.T) {
	const dir = "../../../examples/dynvpn/"
	text, err := os.ReadFile(dir + "networks")
	if err != nil {
		t.Fatal(err)
	}
	networks, err := ParseNetworks("networks", string(text))
	if err != nil || len(networks) != 4 {
		t.Errorf("%d networks, %v", len(networks), err)
	}
	if text, err = os.ReadFile(dir + "nexus.conf"); err != nil {
		t.Fatal(err)
	}
	_, err = ParseNexus("nexus.conf", string(text))
	wantProblems(t, err, "nexus.conf:3: password is that of the example, which everybody knows: choose another one")
	if _, err := ParseNexus("nexus.conf", strings.Replace(string(text), "PASSWORD", "correct horse battery", 1)); err != nil {
		t.Error(err)
	}
}

// TestManual compares the manual with the names that there are.
func TestManual(t *testing.T) {
	page, err := os.ReadFile("../../../docs/nexus.8")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(page)) {
		if list, ok := strings.CutPrefix(strings.TrimSpace(line), ".It Li "); ok {
			for name := range strings.SplitSeq(list, " , ") {
				documented = append(documented, strings.TrimSuffix(strings.TrimPrefix(name, "Li "), "="))
			}
		}
	}
	_, err = ParseNexus("n", "unknown = 1")
	_, list, _ := strings.Cut(err.Error(), "there are ")
	list, _, _ = strings.Cut(list, "\n")
	names := append(strings.Split(list, ", "), itemNames...) // of port there are two
	slices.Sort(names)
	slices.Sort(documented)
	if !slices.Equal(names, documented) {
		t.Errorf("the manual has\n%q, there are\n%q", documented, names)
	}
}
