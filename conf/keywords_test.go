package conf

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNotInBuild compares what is not in this build with a list that a later
// build makes shorter.
func TestNotInBuild(t *testing.T) {
	missing := strings.Fields(`proxy redirect dns user metrics logformat`)
	var got []string
	for _, k := range Keywords() {
		_, err := Parse("vpnd.conf", strings.NewReader(base(Server, "")+k.Name+"\n"))
		if errors.Is(err, ErrNotInBuild) {
			got = append(got, k.Name)
		}
	}
	if diff := cmp.Diff(missing, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if errs := parseProblems(t, base(Client, "remote")); errors.Is(errs, ErrNotInBuild) {
		t.Errorf("got ErrNotInBuild for a client without remote: %v", errs)
	}
}
