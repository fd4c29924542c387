package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test program play the roles that bench starts itself in.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		fmt.Fprintln(os.Stderr, "bench:", play(role, os.Args[1:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// buildVpnd returns a vpnd of this tree.
func buildVpnd(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vpnd")
	build := exec.Command("go", "build", "-o", path, "vpnd/cmd/vpnd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build vpnd: %v\n%s", err, out)
	}
	return path
}

// childless checks that no process is left.
func childless(t *testing.T) {
	t.Helper()
	var status unix.WaitStatus
	if pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("pid %d is left (%v)", pid, err)
	}
}

// TestRun measures the rows that need nothing installed, shortly.
func TestRun(t *testing.T) {
	vpnd := buildVpnd(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	only := []string{"veth", nameEmpty, nameAES}
	var stdout, stderr bytes.Buffer
	err := run(ctx, []string{"-vpnd", vpnd, "-runs", "1", "-time", "1s", "-procs", "2", "-only", strings.Join(only, ",")}, &stdout, &stderr)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
	}
	for _, name := range only {
		row := regexp.MustCompile(`(?m)^\| ` + name + ` .*`).FindString(stdout.String())
		cells := strings.Split(strings.Trim(row, "| "), "|")
		if len(cells) != 1+len(columns()) {
			t.Errorf("%s: row %q", name, row)
			continue
		}
		for i, cell := range cells[1:] {
			var value float64
			_, err := fmt.Sscan(cell, &value)
			title := columns()[i].title
			daemons := strings.Contains(title, "daemons") || strings.Contains(title, "RSS")
			if nothing := name == "veth" && daemons; err != nil || (value > 0) == nothing {
				t.Errorf("%s: %s is %q", name, title, cell)
			}
		}
	}
	if !regexp.MustCompile(`aes-256-gcm / empty tunnel .* (met|missed) `).MatchString(stdout.String()) {
		t.Errorf("no verdict in\n%s", &stdout)
	}
	childless(t)
}

// TestWireGuard only sees the tunnel work: over UDP next to nothing may arrive on a
// busy machine.
func TestWireGuard(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	b, ctx, err := newBed(ctx, options{cc: "reno"}, directly)
	check(t, err)
	defer func() { check(t, b.close()); childless(t) }()
	check(t, startWireGuard(ctx, b))
	if _, err := b.a.WaitPing(ctx, b.dst, pingSetUp); err != nil {
		t.Errorf("%v\n%s", err, b.logs())
	}
}

// caller calls f at the first write.
type caller struct{ f func() }

func (c caller) Write(p []byte) (int, error) {
	c.f()
	return len(p), nil
}

// TestInterrupt stops in the second row, and sees what the first one has shown and
// nothing left.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var stdout bytes.Buffer
	err := run(ctx, []string{"-vpnd", "/nonexistent", "-time", "200ms", "-only", "veth,empty"}, &stdout, caller{cancel})
	if err == nil || !strings.Contains(err.Error(), "stopped in round 1 of 3, at empty") {
		t.Errorf("error %v", err)
	}
	if text := stdout.String(); !regexp.MustCompile(`\| veth +\| \d`).MatchString(text) || !regexp.MustCompile(`\| empty +\| not measured`).MatchString(text) {
		t.Errorf("table\n%s", text)
	}
	childless(t)
}

// TestFailingRows goes on with the others, and says why.
func TestFailingRows(t *testing.T) {
	fail := func(err error) func(context.Context, *bed) error {
		return func(context.Context, *bed) error { return err }
	}
	_, missing := lookUp("no-such-program")
	s, err := newStudy(options{runs: 1, time: shortest, cc: "reno"}, []row{
		{name: "missing", kind: tcpPeer, start: fail(missing)},
		{name: "broken", kind: own, start: fail(errors.New("no | luck\ntoday"))},
		{name: "ends", kind: udpPeer, start: func(_ context.Context, b *bed) error {
			return b.start(b.a, exec.Command("sh", "-c", "echo first; echo last words"))
		}},
		{name: "good", kind: wire, start: startNothing},
	}, new(bytes.Buffer))
	check(t, err)
	check(t, s.rounds(t.Context()))
	table := s.results.table()
	for _, want := range []string{
		`| missing | no-such-program is not installed, see "make bench-peers" |`,
		`| broken | no / luck today |`,
		`| ends | the tunnel does not come up: no reply from 10.8.0.2 to A: sh ended: last words`,
		`| good `,
	} {
		if !strings.Contains(table, "\n"+want) {
			t.Errorf("no %s in\n%s", want, table)
		}
	}
	if err := s.results.failure(); err == nil || err.Error() != "failed: broken" {
		t.Errorf("failure %v", err)
	}
}

func TestOptions(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", ""},
		{"-text -runs 1 -time 1s -cc bbr -procs 1", ""},
		{"-random", ""},
		{"-text -random", "exclude each other"},
		{"-runs 0", "-runs 0"},
		{"-time 1ms", "-time 1ms"},
		{"-procs -1", "-procs -1"},
		{"more", `"more"`},
		{"-unknown", "not defined: -unknown"},
	} {
		_, err := parseOptions(strings.Fields(test.args), new(bytes.Buffer))
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: error %v, want %q", test.args, err, test.want)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, test := range []struct{ patterns, want string }{
		{"", "a, b-c, b-d"},
		{"b-d,a", "a, b-d"},
		{"b-*", "b-c, b-d"},
		{"x", "-only x: there is none of that name; there are a, b-c, b-d"},
		{"[", "-only [: syntax error in pattern"},
	} {
		got, err := choose([]row{{name: "a"}, {name: "b-c"}, {name: "b-d"}}, "-only", test.patterns)
		text := names(got)
		if err != nil {
			text = err.Error()
		}
		if text != test.want {
			t.Errorf("%q: %s, want %s", test.patterns, text, test.want)
		}
	}
}

// TestRows checks that the goals find the rows that they are about.
func TestRows(t *testing.T) {
	for _, text := range []bool{false, true} {
		var all results
		for _, r := range rows(text) {
			s := sample{up: 1e9, down: 1e9, many: 1e9, cpu: []cost{{1, 1}}}
			all = append(all, &result{row: r, samples: []sample{s}})
			if r.text != text && !strings.Contains(r.name, suffixText) {
				t.Errorf("%s carries text: %v", r.name, r.text)
			}
		}
		for _, g := range goals(text) {
			if _, ok := g.of(all); !ok {
				t.Errorf("text %v: nothing to measure %q by", text, g.text)
			}
		}
	}
}
