package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vpnd/cmd/internal/exit"
	"vpnd/conf"
)

// TestPlaces names a pidfile and a directory that cannot be made where they are named.
func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	text := "mode server\nserver 24741\nlocal 10.0.0.1\nremote 10.0.0.2\nkeyfile vpnd.key\n"
	must(t, os.WriteFile(filepath.Join(dir, "vpnd.key"), nil, 0o600))
	for _, test := range []struct{ line, want string }{
		{"pidfile run/vpnd.pid", "vpnd.conf:6: pidfile: stat DIR/run: no such file or directory; make the directory"},
		{"statedir lib/vpnd", "vpnd.conf:6: statedir: stat DIR/lib: no such file or directory; make the directory"},
		{"pidfile /dev/null", "vpnd.conf:6: pidfile: /dev/null is not a regular file; name another one"},
		{"pidfile vpnd.pid", ""},
		{"statedir state\npidfile state/vpnd.pid", ""},
		{"control run/vpnd.sock\npidfile run/vpnd.pid", ""},
		{"statedir state", ""},
	} {
		c, err := conf.Parse(filepath.Join(dir, "vpnd.conf"), strings.NewReader(text+test.line+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = prepare(c)
		if exit.Code(err) != exit.Config { // the key is none
			t.Fatalf("%s: error %v", test.line, err)
		}
		var other string
		for _, line := range strings.Split(err.Error(), "\n") {
			if !strings.Contains(line, "vpnd.key") {
				other = strings.ReplaceAll(strings.TrimPrefix(line, dir+"/"), dir, "DIR")
			}
		}
		if other != test.want {
			t.Errorf("%s: %q, want %q", test.line, other, test.want)
		}
	}
}
