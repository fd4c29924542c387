package pool

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// offers checks what a client is offered, "" for nothing.
func offers(t *testing.T, p *Pool, name, want string, busy func(string) bool, wish ...string) {
	t.Helper()
	got, err := p.Offer(name, addrs(wish...), busy)
	texts := []string{}
	for _, a := range got {
		texts = append(texts, a.String())
	}
	if text := strings.Join(texts, " "); text != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrFull) {
		t.Errorf("%s is offered %q, %v, want %q", name, text, err, want)
	}
}

// TestOffer sees that nothing is given away by an offer, and that it is kept if nobody
// else has come first.
func TestOffer(t *testing.T) {
	everybody := func(string) bool { return true }
	p := open(t, place(t), "10.9.0.0/29", "fd09::/64")
	p.Reserve(addrs("10.9.0.1", "fd09::1"))
	offers(t, p, "a", "10.9.0.2 fd09::2", nobody)
	for _, name := range []string{"", "two words", "a\nb", strings.Repeat("x", maxName+1)} {
		if got, err := p.Offer(name, nil, nobody); err == nil {
			t.Errorf("%q is offered %v", name, got)
		}
	}
	offers(t, p, "b", "10.9.0.3 fd09::3", nobody) // callers at one time get different ones
	offers(t, p, "c", "10.9.0.6 fd09::4", nobody, "10.9.0.6")
	takes(t, p, "b", "10.9.0.3 fd09::3", nobody, "10.9.0.3", "fd09::3")
	offers(t, p, "b", "10.9.0.3 fd09::3", nobody, "10.9.0.5")
	for range 100 {
		if _, err := p.Offer("nobody", nil, nobody); err != nil {
			t.Fatal(err)
		}
	}
	for i, last := range []string{"2", "4", "5", "6"} {
		name := fmt.Sprint("x", i)
		takes(t, p, name, fmt.Sprintf("10.9.0.%s fd09::%x", last, 0x100+i), nobody, "10.9.0."+last, fmt.Sprintf("fd09::%x", 0x100+i))
	}
	// It is full. The offer is that of the one that was away for the longest time.
	got, err := p.Offer("y", nil, nobody)
	if err != nil || got[0].String() != "10.9.0.3" || got[1].String() == "fd09::3" {
		t.Errorf("offered are %v, %v", got, err)
	}
	offers(t, p, "z", "", everybody)
	offers(t, p, "b", "10.9.0.3 fd09::3", nobody) // who has still what it had
	takes(t, p, "b", "10.9.0.3 fd09::3", nobody)
	got, err = p.Offer("y", nil, func(name string) bool { return name == "x0" })
	if err != nil || got[0].String() != "10.9.0.4" { // x1 is now the one
		t.Errorf("offered are %v, %v", got, err)
	}
}

// TestOfferUnstored does not write what was only offered.
func TestOfferUnstored(t *testing.T) {
	path := place(t)
	synctest.Test(t, func(t *testing.T) {
		p := open(t, path, "10.9.0.0/24")
		offers(t, p, "a", "10.9.0.1", nobody)
		time.Sleep(saveAfter + time.Second)
		synctest.Wait()
		if leases, err := Leases(path, ranges("10.9.0.0/24")); err != nil || len(leases) > 0 {
			t.Errorf("leases are %v, %v", leases, err)
		}
		takes(t, p, "b", "10.9.0.7", nobody, "10.9.0.7")
		time.Sleep(saveAfter + time.Second)
		synctest.Wait()
		if leases, err := Leases(path, ranges("10.9.0.0/24")); err != nil || fmt.Sprint(leases) != "map[b:[10.9.0.7]]" {
			t.Errorf("leases are %v, %v", leases, err)
		}
	})
}

// TestMost has as many clients as are remembered, in a pool with room for more.
func TestMost(t *testing.T) {
	path := place(t)
	var b strings.Builder
	b.WriteString(header + "\n")
	for i := range maxClients + 1 {
		fmt.Fprintf(&b, "c%d 10.1.%d.%d\n", i, i>>8, i&255)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := open(t, path, "10.0.0.0/8")
	if n := len(p.leases); n != maxClients {
		t.Errorf("%d clients are remembered", n)
	}
	takes(t, p, "more", "", func(string) bool { return true })
	if _, err := p.Take("more", nil, func(string) bool { return true }); !errors.Is(err, ErrFull) {
		t.Errorf("error is %v", err)
	}
	takes(t, p, "more", "10.1.0.0", nobody)
	if n := len(p.leases); n != maxClients || p.find("c0") >= 0 {
		t.Errorf("%d clients are remembered, the oldest among them: %v", n, p.find("c0") >= 0)
	}
}

// TestStoredDrop writes what was taken back, and that somebody was seen.
func TestStoredDrop(t *testing.T) {
	path := place(t)
	synctest.Test(t, func(t *testing.T) {
		p := open(t, path, "10.9.0.0/24")
		stored := func(want string) {
			t.Helper()
			time.Sleep(saveAfter + time.Second)
			synctest.Wait()
			text, err := os.ReadFile(path)
			if got := strings.ReplaceAll(strings.TrimPrefix(string(text), header+"\n"), "\n", ", "); err != nil || got != want {
				t.Errorf("stored is %q, %v, want %q", got, err, want)
			}
		}
		takes(t, p, "a", "10.9.0.1", nobody)
		takes(t, p, "b", "10.9.0.2", nobody)
		stored("a 10.9.0.1, b 10.9.0.2, ")
		takes(t, p, "a", "10.9.0.1", nobody)
		stored("b 10.9.0.2, a 10.9.0.1, ")
		p.Reserve(addrs("10.9.0.2"))
		stored("a 10.9.0.1, ")
	})
}

// TestLongestName gives an address to a client with one, and finds it again.
func TestLongestName(t *testing.T) {
	path, name := place(t), strings.Repeat("x", maxName)
	p := open(t, path, "10.9.0.0/24", "fd09::/64")
	takes(t, p, name, "10.9.0.1 fd09::1", nobody)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	leases, err := Leases(path, ranges("10.9.0.0/24", "fd09::/64"))
	if err != nil || fmt.Sprint(leases[name]) != "[10.9.0.1 fd09::1]" {
		t.Errorf("leases are %v, %v", leases, err)
	}
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if leases, err := Leases(path, ranges("10.9.0.0/24")); err == nil {
		t.Errorf("leases are %v", leases)
	}
}

// TestGivenUp says who loses an address.
func TestGivenUp(t *testing.T) {
	var log bytes.Buffer
	p, err := Open(place(t), ranges("10.9.0.0/30"), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	takes(t, p, "a", "10.9.0.1", nobody)
	takes(t, p, "b", "10.9.0.2", nobody)
	takes(t, p, "c", "10.9.0.1", nobody)
	if !strings.Contains(log.String(), "the pool is full: a client that is away loses its address\" client=a address=[10.9.0.1]") {
		t.Errorf("log is %q", log.String())
	}
}

// TestOfferMany remembers as many clients as it can, all of them there.
func TestOfferMany(t *testing.T) {
	p := open(t, place(t), "10.0.0.0/8")
	for i := range maxClients {
		p.add(lease{fmt.Sprint("c", i), []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})}})
	}
	offers(t, p, "more", "", func(string) bool { return true })
	offers(t, p, "more", "10.1.0.0", nobody)
}

func TestFree(t *testing.T) {
	for _, tt := range []struct{ in, behind, taken, want string }{
		{"10.0.0.0/29", "10.0.0.0", "", "10.0.0.1"},
		{"10.0.0.0/29", "10.0.0.5", "", "10.0.0.6"},
		{"10.0.0.0/29", "10.0.0.6", "", "10.0.0.1"},
		{"10.0.0.0/29", "10.0.0.3", "10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.1", "10.0.0.2"},
		{"10.0.0.0/29", "10.0.0.3", "10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.1 10.0.0.2", "10.0.0.3"},
		{"10.0.0.0/29", "10.0.0.3", "10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.1 10.0.0.2 10.0.0.3", ""},
		{"10.0.0.0/30", "10.0.0.0", "10.0.0.1 10.0.0.2", ""},
		{"255.255.255.252/30", "255.255.255.254", "255.255.255.253", "255.255.255.254"},
		{"10.0.0.0/29", "10.9.0.0", "10.0.0.1", "10.0.0.2"}, // a range that is another one now
		{"10.0.0.0/29", "10.9.0.0", "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6", ""},
		{"fd00::/64", "fd00::", "fd00::1 fd00::2", "fd00::3"},
	} {
		taken := make(map[netip.Addr]bool)
		for _, a := range addrs(strings.Fields(tt.taken)...) {
			taken[a] = true
		}
		a, ok := Free(netip.MustParsePrefix(tt.in), netip.MustParseAddr(tt.behind), func(a netip.Addr) bool { return taken[a] })
		if ok != (tt.want != "") || ok && a.String() != tt.want {
			t.Errorf("%s behind %s without %s: %v, %v, want %s", tt.in, tt.behind, tt.taken, a, ok, tt.want)
		}
	}
}
