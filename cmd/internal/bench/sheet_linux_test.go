package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// trialsCalled returns the real trials of these names.
func trialsCalled(t *testing.T, names string) []trial {
	t.Helper()
	list, err := choose(slowTrials(), "-trials", names)
	check(t, err)
	return list
}

func rowsCalled(t *testing.T, names string) []row {
	t.Helper()
	list, err := choose(slowRows(), "-only", names)
	check(t, err)
	return list
}

func TestSheet(t *testing.T) {
	trials := trialsCalled(t, "33k6-text,20m-loss")
	s := newSheet(rowsCalled(t, "vpnd,ssh,tinc,no-tunnel"), trials)
	put := func(figure string, values map[string][]float64) {
		for row, list := range values {
			for _, v := range list {
				s.put(figure, row, v)
			}
		}
	}
	put("33.6 kbit/s: text, kbit/s", map[string][]float64{"vpnd": {90, 110, 100}, "ssh": {30.55}})
	put("20 Mbit/s, 100 ms, 1 % loss: random, kbit/s", map[string][]float64{"vpnd": {900}, "ssh": {1000}, slowBare: {1200}})
	_, missing := lookUp("no-such-program")
	for _, n := range trials {
		s.note(n, row{name: "tinc", kind: tcpPeer}, missing)
	}
	s.note(trials[1], row{name: "vpnd", kind: own}, errors.New("no\nluck"))
	s.late, s.overrun = 1500*time.Microsecond, 7
	want := `| figure                                          | vpnd | ssh   | tinc | no-tunnel |
| ----------------------------------------------- | ---- | ----- | ---- | --------- |
| 33.6 kbit/s: text, kbit/s                       | 100  | 30.6  | -    | -         |
| 20 Mbit/s, 100 ms, 1 % loss: random, kbit/s     | 900  | 1000  | -    | 1200      |
| 20 Mbit/s, 100 ms, 1 % loss: random / no tunnel | 0.75 | 0.833 | -    | 1         |
tinc: no-such-program is not installed, see "make bench-peers"
20m-loss, vpnd: no luck
router: a packet was at most 1.5 ms late, 7 were not seen in time
`
	if got := s.table(); got != want {
		t.Errorf("table\n%swant\n%s", got, want)
	}
	if err := s.failure(); err == nil || err.Error() != "failed: 20m-loss of vpnd" {
		t.Errorf("failure %v", err)
	}
	if text := s.last(trials[0], s.rows[0], nil); text != "text, kbit/s 100" {
		t.Errorf("last: %s", text)
	}
}

// TestSheetRows leaves out what no trial is for.
func TestSheetRows(t *testing.T) {
	for _, test := range []struct{ trials, want string }{
		{"serial-*", "vpnd, vpnd-off"},
		{"1m-cut", "vpnd, ssh"},
		{"1m-text", "vpnd, vpnd-off, ssh"},
		{"*", "vpnd, vpnd-off, ssh, no-tunnel"},
	} {
		s := newSheet(rowsCalled(t, "vpnd,vpnd-off,ssh,no-tunnel"), trialsCalled(t, test.trials))
		if got := names(s.rows); got != test.want {
			t.Errorf("%s: %s, want %s", test.trials, got, test.want)
		}
	}
}

// TestSlowGoals judges a sheet on which each figure of vpnd is twice that of the
// others.
func TestSlowGoals(t *testing.T) {
	s := newSheet(slowRows(), slowTrials())
	for _, tr := range slowTrials() {
		for _, r := range slowRows() {
			for _, what := range tr.what {
				if what == figBare || !tr.takes(r) {
					continue
				}
				value := 45.0
				if r.name == slowVpnd {
					value = 90
				}
				s.put(tr.line.figure(what), r.name, value)
			}
		}
	}
	want := `
33.6 kbit/s: text, vpnd / ssh-C >= 1.15 2 met
33.6 kbit/s: text, vpnd / vtun-zlib >= 1.15 2 met
1 Mbit/s: text, vpnd / ssh-C >= 1.15 2 met
1 Mbit/s: text, vpnd / vtun-zlib >= 1.15 2 met
33.6 kbit/s: random, inner IP bytes / line >= 0.93 90 met
1 Mbit/s: random, inner IP bytes / line >= 0.93 90 met
1 Mbit/s: ping in bulk p95 - 40 ms, ms <= 40 50 missed
serial 33.6 kbit/s: ping in bulk p95 - idle, packets <= 2 90 missed
serial 33.6 kbit/s: key p95 beside 2 bulks, packets <= 3 90 missed
serial 33.6 kbit/s: smaller bulk / larger >= 0.9 90 met
20 Mbit/s, 100 ms, 1 % loss: random / no tunnel >= 0.8 2 met
1 Mbit/s: cut for 30 s, first byte, s <= 2 90 missed
33.6 kbit/s: page of 30 objects, vpnd / ssh-C <= 0.8 2 missed
`
	var got strings.Builder
	for i, line := range strings.Split(strings.TrimSpace(judge(slowGoals(), s)), "\n") {
		if i > 1 {
			fmt.Fprintln(&got, strings.Join(strings.Fields(strings.ReplaceAll(line, "|", " ")), " "))
		}
	}
	if "\n"+got.String() != want {
		t.Errorf("goals\n%swant%s", &got, want)
	}
	if text := judge(slowGoals(), newSheet(nil, nil)); strings.Count(text, "not measured") != len(slowGoals()) {
		t.Errorf("an empty sheet:\n%s", text)
	}
}

// TestSlowTrials checks that names and figures are told apart.
func TestSlowTrials(t *testing.T) {
	seen := make(map[string]bool)
	for _, tr := range slowTrials() {
		list := []string{tr.name}
		for _, what := range tr.what {
			list = append(list, tr.line.figure(what))
		}
		for _, name := range list {
			if seen[name] {
				t.Errorf("%q is there twice", name)
			}
			seen[name] = true
		}
	}
	if took := serialLine().packetTime(296); took.Round(time.Millisecond) != 88*time.Millisecond {
		t.Errorf("a packet takes %v", took)
	}
}

func TestShelves(t *testing.T) {
	s := newSheet(slowRows(), slowTrials())
	began := time.Now()
	list := []trip{{sent: began.Add(-time.Second), rtt: 50 * time.Millisecond, answered: true}, {sent: began.Add(time.Second)}}
	for _, l := range []slowLine{thinLine(), serialLine()} {
		for _, r := range slowRows()[:3] { // vpnd, vpnd-off, ssh
			if l.serial == 0 || r.kind == own {
				s.curve(l, r, began, list)
				s.curve(l, r, began, nil) // another round
			}
		}
	}
	got := s.shelves()
	if len(got) != 1 || got[0].title != "33.6 kbit/s" || len(got[0].panels) != 1 || got[0].panels[0].title != "ssh" {
		t.Fatalf("%+v", got)
	}
	want := fmt.Sprint([]point{{x: -1, y: 50}, {x: 1, gap: true}})
	if it := got[0].panels[0]; fmt.Sprint(it.first) != want || fmt.Sprint(it.second) != want {
		t.Errorf("curves %v and %v", it.first, it.second)
	}
}

func TestSlowOptions(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", ""},
		{"-trials 1m-* -only vpnd -scale 0.1 -runs 2 -svg x.svg", ""},
		{"-scale 0", "-scale 0"},
		{"-scale NaN", "-scale NaN"},
		{"-runs 0", "-runs 0"},
		{"-text", "not defined: -text"},
		{"more", `"more"`},
	} {
		_, err := parseSlow(strings.Fields(test.args), new(strings.Builder))
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: error %v, want %q", test.args, err, test.want)
		}
	}
	err := run(context.Background(), strings.Fields("slow -trials x"), new(strings.Builder), new(strings.Builder))
	if err == nil || !strings.Contains(err.Error(), "-trials x: there is none of that name; there are 33k6-text,") {
		t.Errorf("error %v", err)
	}
}
