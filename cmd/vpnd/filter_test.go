package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/conf"
)

func TestFilter(t *testing.T) {
	const other = "[2001:db8::7]:9"
	for _, tt := range []struct {
		name   string
		host   string
		port   uint16
		admits string
	}{
		{"anybody", "", 0, "192.0.2.7:7 192.0.2.8:7 [2001:db8::7]:9"},
		{"a port", "", 7, "192.0.2.7:7 192.0.2.8:7"},
		{"an address", "192.0.2.7", 0, "192.0.2.7:7"},
		{"an address and a port", "192.0.2.7", 9, ""},
		{"an IPv6 address", "2001:db8::7", 9, other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFilter(conf.Endpoint{Host: tt.host, Port: tt.port}, slog.New(slog.DiscardHandler))
			for _, from := range []string{"192.0.2.7:7", "192.0.2.8:7", other} {
				want := strings.Contains(tt.admits, from)
				if got := f.admit(netip.MustParseAddrPort(from)); got != want {
					t.Errorf("%s: %v, want %v", from, got, want)
				}
			}
		})
	}
}

// TestFilterName has many callers at once, and a name server that gives another
// answer later, and then none.
func TestFilterName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		f := newFilter(conf.Endpoint{Host: "client.example.org"}, slog.New(slog.NewTextHandler(&text, nil)))
		asked, answer, fail := 0, "::ffff:192.0.2.7", error(nil)
		f.lookup = func(host string) ([]netip.Addr, error) {
			if host != "client.example.org" {
				t.Errorf("looked up %s", host)
			}
			asked++
			return []netip.Addr{netip.MustParseAddr(answer)}[:map[bool]int{true: 1}[fail == nil]], fail
		}
		crowd := func(from string, want bool) {
			t.Helper()
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() {
					if got := f.admit(netip.MustParseAddrPort(from)); got != want {
						t.Errorf("%s: %v, want %v", from, got, want)
					}
				})
			}
			all.Wait()
		}
		for i, step := range []struct {
			name   string
			change func()
			from   string
			want   bool
			asked  int
		}{
			{"first", func() {}, "192.0.2.7:1", true, 1},
			{"somebody else", func() {}, "192.0.2.9:1", false, 1},
			{"moved", func() { answer = "192.0.2.9" }, "192.0.2.9:1", false, 1},
			{"moved, later", func() { time.Sleep(filterAge) }, "192.0.2.9:1", true, 2},
			{"no answer", func() { fail = errors.New("made by the test"); time.Sleep(filterAge) }, "192.0.2.9:1", false, 3},
			{"again", func() {}, "192.0.2.9:1", false, 3},
			{"again, later", func() { fail = nil; time.Sleep(filterAge) }, "192.0.2.9:1", true, 4},
		} {
			step.change()
			crowd(step.from, step.want)
			if asked != step.asked {
				t.Errorf("step %d, %s: looked up %d times, want %d", i, step.name, asked, step.asked)
			}
		}
		if n := strings.Count(text.String(), "look up the client"); n != 1 {
			t.Errorf("%d lines in the log, want 1:\n%s", n, &text)
		}
	})
}
