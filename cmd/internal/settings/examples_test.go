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
	if text, err = os.ReadFile(dir + "packthread.conf"); err != nil {
		t.Fatal(err)
	}
	_, err = ParsePackthread("packthread.conf", string(text))
	wantProblems(t, err, "packthread.conf:5: password is that of the example, which everybody knows: choose another one")
	settings := strings.Replace(string(text), "PASSWORD", "correct horse battery", 1)
	for _, text := range []string{settings, uncommented(settings)} {
		if _, err := ParsePackthread("packthread.conf", text); err != nil {
			t.Error(err)
		}
	}
}

// uncommented has the settings count that the example only mentions.
func uncommented(text string) string {
	return strings.NewReplacer("# server_port", "server_port", "# port", "port", "# address", "address", "# key_path", "key_path", "# state_path", "state_path").Replace(text)
}

// TestManual compares the manuals with the names that there are.
func TestManual(t *testing.T) {
	_, err := ParseNexus("n", "unknown = 1")
	compareManual(t, "nexus", err, itemNames...) // of port there are two
	_, err = ParsePackthread("p", "unknown = 1")
	compareManual(t, "packthread", err)
}

// compareManual compares a manual with what the error says to an unknown name, and more
// names.
func compareManual(t *testing.T, manual string, unknown error, more ...string) {
	page, err := os.ReadFile("../../../docs/" + manual + ".8")
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
	_, list, _ := strings.Cut(unknown.Error(), "there are ")
	list, _, _ = strings.Cut(list, "\n")
	names := append(strings.Split(list, ", "), more...)
	slices.Sort(names)
	slices.Sort(documented)
	if !slices.Equal(names, documented) {
		t.Errorf("the manual of %s has\n%q, there are\n%q", manual, documented, names)
	}
}
