package pool

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ranges parses prefixes.
func ranges(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func addrs(texts ...string) (list []netip.Addr) {
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

func nobody(string) bool { return false }

func open(t *testing.T, path string, r ...string) *Pool {
	t.Helper()
	p, err := Open(path, ranges(r...), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func place(t *testing.T) string { return filepath.Join(t.TempDir(), "hub.pool") }

// takes checks what a client gets, "" for nothing.
func takes(t *testing.T, p *Pool, name, want string, busy func(string) bool, wish ...string) {
	t.Helper()
	got, err := p.Take(name, addrs(wish...), busy)
	texts := []string{}
	for _, a := range got {
		texts = append(texts, a.String())
	}
	if text := strings.Join(texts, " "); text != want || (err == nil) != (want != "") {
		t.Errorf("%s gets %q, %v, want %q", name, text, err, want)
	}
}

func TestTake(t *testing.T) {
	p := open(t, place(t), "10.9.0.0/29", "fd09::/64")
	p.Reserve(addrs("10.9.0.1", "fd09::1"))
	takes(t, p, "a", "10.9.0.2 fd09::2", nobody)
	takes(t, p, "b", "10.9.0.3 fd09::3", nobody)
	takes(t, p, "a", "10.9.0.2 fd09::2", nobody)
	takes(t, p, "a", "10.9.0.2 fd09::2", nobody, "10.9.0.5") // it has one
	takes(t, p, "c", "10.9.0.6 fd09::4", nobody, "10.9.0.6")
	takes(t, p, "d", "10.9.0.4 fd09::77", nobody, "10.9.0.6", "fd09::77")
	takes(t, p, "e", "10.9.0.5 fd09::5", nobody, "10.9.0.1", "10.9.0.0", "10.9.0.7", "10.9.0.8")
	// Now it is full. The one that was not seen for the longest time goes.
	takes(t, p, "f", "10.9.0.3 fd09::6", nobody)
	takes(t, p, "g", "10.9.0.2 fd09::7", func(name string) bool { return name != "a" })
	takes(t, p, "h", "", func(string) bool { return true })
	if _, err := p.Take("h", nil, func(string) bool { return true }); !errors.Is(err, ErrFull) {
		t.Errorf("error is %v", err)
	}
	for _, name := range []string{"", "two words", "a\nb", strings.Repeat("x", maxName+1)} {
		takes(t, p, name, "", nobody)
	}
}

func TestReserve(t *testing.T) {
	p := open(t, place(t), "10.9.0.0/24")
	takes(t, p, "a", "10.9.0.1", nobody)
	takes(t, p, "b", "10.9.0.2", nobody)
	p.Reserve(addrs("10.9.0.1", "10.9.0.3"))
	takes(t, p, "a", "10.9.0.4", nobody)
	takes(t, p, "b", "10.9.0.2", nobody)
	takes(t, p, "c", "10.9.0.5", nobody, "10.9.0.3")
	p.Reserve(nil)
	takes(t, p, "d", "10.9.0.3", nobody, "10.9.0.3")
}

func TestUsable(t *testing.T) {
	for _, test := range []struct {
		in   string
		addr string
		want bool
	}{
		{"10.0.0.0/24", "10.0.0.0", false},
		{"10.0.0.0/24", "10.0.0.1", true},
		{"10.0.0.0/24", "10.0.0.254", true},
		{"10.0.0.0/24", "10.0.0.255", false},
		{"10.0.0.0/24", "10.0.1.0", false},
		{"10.0.0.0/31", "10.0.0.0", true},
		{"10.0.0.0/31", "10.0.0.1", true},
		{"10.0.0.7/32", "10.0.0.7", true},
		{"0.0.0.0/0", "255.255.255.255", false},
		{"fd00::/120", "fd00::", false},
		{"fd00::/120", "fd00::ff", true},
		{"fd00::/120", "fd00::100", false},
	} {
		if got := usable(netip.MustParsePrefix(test.in), netip.MustParseAddr(test.addr)); got != test.want {
			t.Errorf("%s in %s: %v", test.addr, test.in, got)
		}
	}
}

// TestRestart closes pools and opens them again.
func TestRestart(t *testing.T) {
	path := place(t)
	p := open(t, path, "10.9.0.0/29")
	for n, name := range []string{"a", "b", "c", "d", "e", "f"} {
		takes(t, p, name, fmt.Sprintf("10.9.0.%d", n+1), nobody)
	}
	takes(t, p, "a", "10.9.0.1", nobody)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	p = open(t, path, "10.9.0.0/29")
	takes(t, p, "d", "10.9.0.4", nobody)
	takes(t, p, "g", "10.9.0.2", nobody) // b was not seen for the longest time
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Fatal(err)
	}
	// Another network.
	p = open(t, path, "10.9.1.0/29")
	takes(t, p, "d", "10.9.1.1", nobody)
	p.Close()
	// One more network: what is there does not fit.
	p = open(t, path, "10.9.1.0/29", "fd09::/64")
	takes(t, p, "x", "10.9.1.1 fd09::1", nobody)
}

// TestSaveSoon does not close.
func TestSaveSoon(t *testing.T) {
	path := place(t)
	synctest.Test(t, func(t *testing.T) {
		p := open(t, path, "10.9.0.0/24")
		takes(t, p, "a", "10.9.0.1", nobody)
		takes(t, p, "b", "10.9.0.2", nobody)
		time.Sleep(saveAfter + time.Millisecond)
		synctest.Wait()
		takes(t, open(t, path, "10.9.0.0/24"), "b", "10.9.0.2", nobody)
	})
}

// TestDisk has a place that cannot be written.
func TestDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not here", "hub.pool")
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p, err := Open(path, ranges("10.9.0.0/24"), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		takes(t, p, "a", "10.9.0.1", nobody)
		time.Sleep(saveAfter + time.Millisecond)
		synctest.Wait()
		if !strings.Contains(log.String(), "not stored") {
			t.Errorf("log is %q", log.String())
		}
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		takes(t, open(t, path, "10.9.0.0/24"), "a", "10.9.0.1", nobody)
	})
}

// files are texts of a file, and what is said of them.
var files = []struct{ name, text, want string }{
	{"empty", "", "does not begin with"},
	{"another version", "vpnd pool 2\n", "does not begin with"},
	{"no address", header + "\na\n", "line 2: not a name and addresses"},
	{"three addresses", header + "\na 10.9.0.1 fd09::1 fd09::2\n", "line 2"},
	{"no name", header + "\na 10.9.0.1\n 10.9.0.2\n", "line 3"},
	{"long name", header + "\n" + strings.Repeat("x", maxName+1) + " 10.9.0.1\n", "line 2"},
	{"not an address", header + "\na 10.9.0.x\n", "line 2"},
	{"right", header + "\na 10.9.0.1\nb 10.9.0.2\n", ""},
	{"twice the name", header + "\na 10.9.0.1\na 10.9.0.2\n", ""},
	{"twice the address", header + "\na 10.9.0.1\nb 10.9.0.1\n", ""},
}

func TestOpen(t *testing.T) {
	for _, test := range files {
		t.Run(test.name, func(t *testing.T) {
			path := place(t)
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := Open(path, ranges("10.9.0.0/24"), slog.New(slog.DiscardHandler))
			if test.want == "" && err == nil {
				takes(t, p, "a", "10.9.0.1", nobody)
				takes(t, p, "c", "10.9.0.3", nobody, "10.9.0.3")
				return
			}
			if err == nil || test.want == "" || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
		})
	}
	for name, make := range map[string]func(path string) error{
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"too large":   func(path string) error { return os.WriteFile(path, make([]byte, maxFile+1), 0o600) },
	} {
		path := place(t)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, ranges("10.9.0.0/24"), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "not a file of a pool") {
			t.Errorf("%s is a pool, or there is another reason: %v", name, err)
		}
	}
}

// TestMany has clients come from many goroutines: none gets another's address.
func TestMany(t *testing.T) {
	p := open(t, place(t), "10.9.0.0/24")
	var all sync.WaitGroup
	got := make([]netip.Addr, 200)
	for i := range got {
		all.Go(func() {
			list, err := p.Take(fmt.Sprint("client", i), nil, nobody)
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = list[0]
		})
	}
	all.Wait()
	slices.SortFunc(got, netip.Addr.Compare)
	if len(slices.Compact(got)) != 200 {
		t.Error("an address was given twice")
	}
}

// FuzzOpen reads any file: what it holds is of the ranges, and nothing twice.
func FuzzOpen(f *testing.F) {
	for _, file := range files {
		f.Add(file.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := &Pool{ranges: ranges("10.9.0.0/28"), taken: make(map[netip.Addr]bool)}
		p.parse(text)
		seen := make(map[string]bool)
		for _, l := range p.leases {
			a := l.addrs[0].String()
			if len(l.addrs) != 1 || seen[l.name] || seen[a] || !usable(p.ranges[0], l.addrs[0]) {
				t.Errorf("%+v of %q", l, text)
			}
			seen[l.name], seen[a] = true, true
		}
	})
}

// TestClosed has clients come to a pool that is closed, or could not be stored then:
// nothing is written any more, where another pool may be by now.
func TestClosed(t *testing.T) {
	for _, test := range []struct {
		name string
		used bool // before it is closed, where nothing can be stored
	}{{"unused", false}, {"not stored", true}} {
		synctest.Test(t, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			path := filepath.Join(dir, "pool")
			p, err := Open(path, ranges("10.9.0.0/24"), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if test.used {
				takes(t, p, "ann", "10.9.0.1", nobody)
			}
			if err := p.Close(); errors.Is(err, os.ErrNotExist) != test.used {
				t.Errorf("%s: error %v", test.name, err)
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Take("bob", nil, nobody); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * saveAfter)
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: written after the end: %v", test.name, err)
			}
		})
	}
}
