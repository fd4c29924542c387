package netif

import (
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the steps that were taken into testdata")

// A scenario is a file in testdata. Its sections are carried out in order on a
// host in memory; "steps" holds what the section before it did.
//
//	host     change the host, as others would
//	apply    the wanted state
//	pin      an address
//	kill     the process dies without a word and starts again
//	reboot   the host starts again, without what was installed
//	deny     as an ordinary user from here on
//	allow    as root again
//	steps    the commands, and the error
//
// In the end the Set is closed and the host must be as others left it.
type scenario struct {
	dir  string
	edit func(line string) // changes the host
	k    *spyKernel
	set  *Set
}

func newScenario(t *testing.T, k kernel, edit func(line string)) *scenario {
	s := &scenario{dir: t.TempDir(), edit: edit, k: &spyKernel{kernel: k, boot: "1"}}
	s.open(t)
	return s
}

func (s *scenario) open(t *testing.T) {
	t.Helper()
	var err error
	s.set, err = newSet(s.k, s.dir, "x", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.set.sweep()
}

// kill drops the Set as kill -9 would.
func (s *scenario) kill() {
	s.set.store.lock.Close()
}

func (s *scenario) run(t *testing.T, name, text string) error {
	switch name {
	case "host":
		for line := range strings.Lines(text) {
			s.edit(line)
		}
	case "apply":
		return s.set.Apply("vpn0", parseState(text))
	case "pin":
		return s.set.Pin(netip.MustParseAddr(strings.TrimSpace(text)))
	case "settle":
		return s.set.Settle(netip.MustParseAddr(strings.TrimSpace(text)))
	case "reboot":
		s.k.boot += "+"
		fallthrough
	case "kill":
		s.kill()
		s.open(t)
	case "deny", "allow":
		s.k.deny = name == "deny"
	default:
		t.Fatalf("section %q", name)
	}
	return nil
}

// close closes the Set, which must leave no file.
func (s *scenario) close(t *testing.T) {
	t.Helper()
	if err := s.set.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(s.dir); len(left) > 0 {
		t.Errorf("state directory after close: %v", left)
	}
}

// play carries out all sections and compares the steps taken with those that
// the scenario foresees. It returns the scenario as it should read.
func (s *scenario) play(t *testing.T, sections []section) []section {
	t.Helper()
	sections = slices.Clone(sections)
	took := ""
	for i, sec := range sections {
		if sec.name == "steps" {
			if diff := cmp.Diff(sec.text, took); diff != "" {
				t.Errorf("steps of section %d:\n%s", i, diff)
			}
			sections[i].text = took
			continue
		}
		s.k.log = nil
		err := s.run(t, sec.name, sec.text)
		took = outcome(s.k.log, err)
	}
	s.close(t)
	return sections
}

// foreign returns the host as the scenario makes it without us.
func foreign(sections []section) *host {
	h := new(host)
	for _, sec := range sections {
		if sec.name == "host" {
			for line := range strings.Lines(sec.text) {
				h.edit(line)
			}
		}
	}
	return h
}

func TestScenarios(t *testing.T) {
	forScenarios(t, func(t *testing.T, file string, sections []section) {
		k := new(fakeKernel)
		s := newScenario(t, k, k.host.edit)
		played := s.play(t, sections)
		if diff := cmp.Diff(foreign(sections).String(), k.host.String()); diff != "" {
			t.Errorf("host before and after:\n%s", diff)
		}
		if *update {
			if err := os.WriteFile(file, formatSections(played), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestScenariosKilled kills each scenario before and after each of its steps.
// The next start must find all that was left.
func TestScenariosKilled(t *testing.T) {
	forScenarios(t, func(t *testing.T, _ string, sections []section) {
		for n := 1; killedAt(t, sections, n); n++ {
		}
	})
}

// killedAt plays a scenario until moment n and reports whether it came so far.
func killedAt(t *testing.T, sections []section, n int) (killed bool) {
	k := new(fakeKernel)
	s := newScenario(t, k, k.host.edit)
	begun := 0
	killed = s.killedAt(n, func() {
		for i, sec := range sections {
			begun = i + 1
			if sec.name != "steps" {
				_ = s.run(t, sec.name, sec.text)
			}
		}
	})
	s.k.deny = false
	s.open(t)
	if diff := cmp.Diff(foreign(sections[:begun]).String(), k.host.String()); diff != "" {
		t.Errorf("killed at moment %d, host before and after the sweep:\n%s", n, diff)
	}
	s.close(t)
	return killed
}

// killedAt kills the process at moment n of what do does, or at its end.
func (s *scenario) killedAt(n int, do func()) (killed bool) {
	type death struct{}
	s.k.crash = func() {
		if n--; n == 0 {
			panic(death{})
		}
	}
	defer func() {
		if e := recover(); e != nil && e != (death{}) {
			panic(e)
		}
		killed = n <= 0
		s.k.crash = nil
		s.kill()
	}()
	do()
	return false
}

func forScenarios(t *testing.T, run func(t *testing.T, file string, sections []section)) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel() // they wait for the disk most of the time
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			run(t, file, parseSections(string(text)))
		})
	}
}

// section is a part of a scenario, headed by a line "-- NAME --".
type section struct{ name, text string }

func parseSections(text string) []section {
	var list []section
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "-- "); ok {
			list = append(list, section{name: strings.TrimSuffix(name, " --\n")})
		} else {
			list[len(list)-1].text += line
		}
	}
	return list
}

func formatSections(list []section) []byte {
	var text []byte
	for _, s := range list {
		text = fmt.Appendf(text, "-- %s --\n%s", s.name, s.text)
	}
	return text
}

func outcome(log []string, err error) string {
	var b strings.Builder
	for _, line := range log {
		fmt.Fprintln(&b, line)
	}
	if err != nil {
		fmt.Fprintln(&b, "error:", err)
	}
	return b.String()
}

// parseState reads a wanted state: mtu N, addr LOCAL [REMOTE], autoroute,
// route DEST [via GATEWAY] [src SOURCE] [metric N] [# WHERE], outer ADDRESS.
func parseState(text string) State {
	var s State
	for line := range strings.Lines(text) {
		line, where, _ := strings.Cut(strings.TrimSpace(line), " # ")
		f := strings.Fields(line)
		switch f[0] {
		case "mtu":
			s.MTU = number(f[1])
		case "addr":
			a := Addr{Local: netip.MustParseAddr(f[1])}
			if len(f) > 2 {
				a.Remote = netip.MustParseAddr(f[2])
			}
			s.Addrs = append(s.Addrs, a)
		case "autoroute":
			s.AutoRoute = true
		case "route":
			r := new(host).parseRoute(f[1:])
			s.Routes = append(s.Routes, Route{r.Dest, r.Gateway, r.Source, r.Metric, where})
		case "outer":
			s.Outer = append(s.Outer, netip.MustParseAddr(f[1]))
		default:
			panic(line)
		}
	}
	return s
}
