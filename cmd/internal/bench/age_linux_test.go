package main

import (
	"bytes"
	"context"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// TestAge looks at a young link twice.
func TestAge(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	if err := run(ctx, []string{"age", "-vpnd", buildVpnd(t), "-runs", "2", "-every", "1ms", "-time", "500ms"}, &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	rows := regexp.MustCompile(`(?m)^\| (\d+) +\| ([\d.]+) +\| ([\d.]+) +\| ([\d.]+) +\| ([\d.]+) +\| (\d+) +\| (\d+) +\|$`).FindAllStringSubmatch(stdout.String(), -1)
	if len(rows) != 2 {
		t.Fatalf("%d rows in\n%s", len(rows), &stdout)
	}
	for _, row := range rows {
		for _, cell := range row[2:6] { // rate, costs and memory
			if v, err := strconv.ParseFloat(cell, 64); err != nil || v <= 0 {
				t.Errorf("%s in %s", cell, row[0])
			}
		}
	}
	if rows[1][6] == "0" {
		t.Errorf("no ratchet in\n%s", &stdout)
	}
	childless(t)
}
