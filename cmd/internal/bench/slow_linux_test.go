package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vpnd/cmd/internal/lab"
)

// TestSlow takes most trials of vpnd, so shortly that the figures say nothing, and
// sees that they are there.
func TestSlow(t *testing.T) {
	vpnd := buildVpnd(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	picture := filepath.Join(t.TempDir(), "ping.svg")
	var stdout, stderr bytes.Buffer
	err := run(ctx, []string{"slow", "-vpnd", vpnd, "-scale", "0.2", "-svg", picture,
		"-only", "vpnd,no-tunnel", "-trials", "1m-*,20m-*"}, &stdout, &stderr)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
	}
	for _, tr := range trialsCalled(t, "1m-*,20m-*") {
		for _, what := range tr.what {
			row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(tr.line.figure(what)) + ` .*`).FindString(stdout.String())
			cells := strings.Fields(strings.TrimPrefix(row, "| "+tr.line.figure(what)))
			var value float64
			if len(cells) != 5 { // | vpnd | no-tunnel |
				t.Errorf("%s: %q", tr.line.figure(what), row)
			} else if _, err := fmt.Sscan(cells[1], &value); err != nil || value < 0 {
				t.Errorf("%s: %q", tr.line.figure(what), row)
			}
		}
	}
	if !regexp.MustCompile(`1 Mbit/s: cut for 30 s, first byte, s .* (met|missed) `).MatchString(stdout.String()) {
		t.Errorf("no verdict in\n%s", &stdout)
	}
	if _, err := os.Stat(picture); err == nil {
		t.Error("a picture that compares nothing")
	}
	childless(t)
}

// TestSlowPeer has vpnd beside something else, and a picture of both.
func TestSlowPeer(t *testing.T) {
	vpnd := buildVpnd(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	o, err := parseSlow([]string{"-vpnd", vpnd, "-scale", "0.2", "-svg", filepath.Join(t.TempDir(), "ping.svg")}, new(bytes.Buffer))
	check(t, err)
	rows := append(rowsCalled(t, "vpnd"), row{name: "other", kind: tcpPeer, start: startEmpty})
	c, err := newCorpus()
	check(t, err)
	var stderr bytes.Buffer
	s := &slowStudy{o: o, trials: trialsCalled(t, "1m-random"), corpus: &c, progress: &stderr}
	s.sheet = newSheet(rows, s.trials)
	check(t, s.rounds(ctx))
	if s.sheet.notes != nil {
		t.Fatalf("%s\n%s", s.sheet.notes, &stderr)
	}
	check(t, s.draw())
	text, err := os.ReadFile(s.o.picture)
	check(t, err)
	curves := 0
	for _, e := range elements(t, text) {
		if e.name == "polyline" {
			curves++
		}
	}
	if curves < 2 {
		t.Errorf("%d curves in\n%s", curves, text)
	}
	childless(t)
}

// TestSlowSerial takes the trials of a serial line on a fast one.
func TestSlowSerial(t *testing.T) {
	vpnd := buildVpnd(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	o, err := parseSlow([]string{"-vpnd", vpnd, "-scale", "0.1"}, new(bytes.Buffer))
	check(t, err)
	random := make([]byte, 1<<20)
	_, _ = lab.Random(0).Read(random)
	var stderr bytes.Buffer
	s := &slowStudy{o: o, trials: trialsCalled(t, "serial-*"), corpus: &corpus{random: random}, progress: &stderr}
	for i := range s.trials {
		s.trials[i].line.serial = 1_000_000
	}
	s.sheet = newSheet(rowsCalled(t, "vpnd"), s.trials)
	check(t, s.rounds(ctx))
	for _, f := range s.sheet.figures {
		if value, ok := s.sheet.get(f, slowVpnd); !ok || value < 0 {
			t.Errorf("%s: %v, %v", f, value, ok)
		}
	}
	if t.Failed() {
		t.Log(&stderr)
	}
	childless(t)
}

// TestSlowInterrupt stops in the second row, and sees nothing left.
func TestSlowInterrupt(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var stdout bytes.Buffer
	err := run(ctx, strings.Fields("slow -vpnd /nonexistent -only vpnd,vpnd-off -trials 1m-text,serial-ping"), &stdout, caller{cancel})
	if err == nil || !strings.Contains(err.Error(), "stopped in round 1 of 1, at 1m-text of vpnd") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(stdout.String(), "| 1 Mbit/s: text, kbit/s ") {
		t.Errorf("no table in\n%s", &stdout)
	}
	childless(t)
}
