package main

import (
	"bytes"
	"os"
	"regexp"
	"testing"
	"time"
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
	once := func() {
		out.Reset()
		if err := run([]string{"-clients", "5", "-idle", "0", "-active", "3", "-time", "200ms"}, &out); err != nil {
			t.Fatal(err)
		}
	}
	// A busy machine may stand still for all of that time.
	limit := time.Now().Add(patience)
	for once(); bytes.Contains(out.Bytes(), []byte(" 0.00 Gbit/s")) && time.Now().Before(limit); once() {
		t.Logf("nothing came:\n%s", out.String())
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
