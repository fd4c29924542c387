package main

import (
	"bytes"
	"os"
	"regexp"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(hubEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestRun measures a little.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run([]string{"-clients", "5", "-idle", "0", "-active", "3", "-time", "200ms"}, &out); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^5 clients there after \S+ s, \S+ s of CPU time of the hub
hub killed and started again: all back after \S+ s
1 client sends [0-9.]*[1-9][0-9]* Gbit/s
3 clients of 1 hubs send \S+ Gbit/s, [0-9.]+ of one; the slowest has [0-9.]+ of its share
3 clients of 2 hubs send \S+ Gbit/s, [0-9.]+ of one; the slowest has [0-9.]+ of its share
$`)
	if !want.MatchString(out.String()) {
		t.Errorf("it says\n%s", out.String())
	}
}
