package conf

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected results in testdata")

// TestGolden parses each testdata/NAME.conf as if it stood in /etc/vpnd. The
// result is in NAME.dump, or the problems are in NAME.err.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, suffix := outcome("/etc/vpnd/"+filepath.Base(file), string(text))
			golden := strings.TrimSuffix(file, ".conf") + suffix
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v\ngot:\n%s", err, got)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

// outcome returns a text of what Parse returned, and the kind of that text.
func outcome(path, text string) (got, suffix string) {
	c, err := Parse(path, strings.NewReader(text))
	if err != nil {
		return err.Error() + "\n", ".err"
	}
	return dump(c), ".dump"
}

// dump writes the exported fields of c, one a line.
func dump(c *Config) string {
	var b strings.Builder
	v := reflect.ValueOf(*c)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		if f.Name != "Routes" {
			fmt.Fprintf(&b, "%s: %v\n", f.Name, v.Field(i))
			continue
		}
		for _, r := range c.Routes {
			fmt.Fprintf(&b, "Route: %+v\n", r)
		}
	}
	return b.String()
}
