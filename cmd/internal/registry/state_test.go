package registry

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
)

// testNetworks are networks with keys that can be told apart.
func testNetworks(names ...string) (list []settings.Network) {
	for i, name := range names {
		list = append(list, settings.Network{Name: name, Key: crypto.PublicKey{byte(i + 1)},
			Subnets: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24)},
			Inner:   netip.AddrFrom4([4]byte{10, 0, byte(i), 1})})
	}
	return list
}

// testState is a state with leases of a and b that end 200 and 100 s after now, and of
// c that has ended.
func testState(t testing.TB) (*state, []settings.Network) {
	t.Helper()
	networks := testNetworks("a", "b", "c")
	s, err := newState(rand.Reader, moment{firstBoot, 1000 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range []time.Duration{1300, 1200, 1100} {
		s.saved = at*time.Second - Lease + 100*time.Second
		s.take(&request{name: networks[i].Name, number: uint64(i + 5), kind: register}, &networks[i], netip.MustParseAddrPort("192.0.2.1:2002"))
	}
	s.entries[0].until, s.entries[1].until, s.entries[2].until = 1300*time.Second, 1200*time.Second, 1090*time.Second
	s.saved, s.serial, s.floor = 1100*time.Second, 7, 3
	return s, networks
}

// lefts returns what is left of the leases.
func lefts(s *state, networks []settings.Network) string {
	text := ""
	for _, g := range s.gateways(networks) {
		text += fmt.Sprintf("%s %v %v ", g.Name, g.State, g.Left)
	}
	return strings.TrimSpace(text)
}

func TestIsLive(t *testing.T) {
	s, _ := testState(t)
	for name, want := range map[string]bool{"a": true, "b": true, "c": false, "": false, "aa": false, "d": false} {
		if s.isLive(name) != want {
			t.Errorf("%q is live: %v", name, !want)
		}
	}
}

func TestAdvance(t *testing.T) {
	for _, tt := range []struct {
		name    string
		boot    string
		at      time.Duration
		renewed bool
		want    string
	}{
		{"at once", firstBoot, 1100 * time.Second, false, "a live 3m20s b live 1m40s c gone 0s"},
		{"a while", firstBoot, 1190 * time.Second, false, "a live 1m50s b live 10s c gone 0s"},
		{"nobody was heard for long", firstBoot, 1191 * time.Second, false, "a live 1m50s b live 10s c gone 0s"},
		{"nobody was heard for a year", firstBoot, 31536000 * time.Second, false, "a live 1m50s b live 10s c gone 0s"},
		{"clock a year back", firstBoot, -31536000 * time.Second, true, "a live 3m20s b live 1m40s c gone 0s"},
		{"clock a moment back", firstBoot, 1100*time.Second - time.Millisecond, true, "a live 3m20s b live 1m40s c gone 0s"},
		{"reboot", secondBoot, 20 * time.Second, true, "a live 3m20s b live 1m40s c gone 0s"},
		{"reboot, later on this clock", secondBoot, 5000 * time.Second, true, "a live 3m20s b live 1m40s c gone 0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, networks := testState(t)
			epoch, begun := s.epoch, s.saved-s.begun
			renewed, err := s.advance(moment{tt.boot, tt.at}, rand.Reader)
			if err != nil || renewed != tt.renewed || (s.epoch != epoch) != tt.renewed {
				t.Errorf("renewed %v, epoch %v after %v, error %v", renewed, s.epoch, epoch, err)
			}
			if got := lefts(s, networks); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if s.boot != tt.boot || s.saved != tt.at {
				t.Errorf("saved at %v of %s", s.saved, s.boot)
			}
			if old := s.saved - s.begun; old < begun || old > begun+maxGap {
				t.Errorf("the memory is %v old, and was %v", old, begun)
			}
			again := *s
			if renewed, err := s.advance(moment{tt.boot, tt.at}, rand.Reader); renewed || err != nil || s.epoch != again.epoch || lefts(s, networks) != tt.want {
				t.Error("the same time again changes something")
			}
		})
	}
}

// Leases end in time of nexus, however often its host starts anew, if it is asked.
func TestRebootLoop(t *testing.T) {
	s, networks := testState(t)
	for n := range 5 {
		for at := range 2 {
			now := moment{fmt.Sprintf("%08d-2222-3333-4444-555555555555", n), time.Duration(10+at*50) * time.Second}
			if _, err := s.advance(now, rand.Reader); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := lefts(s, networks); got != "a gone 0s b gone 0s c gone 0s" {
		t.Error(got)
	}
}

func TestNoRandom(t *testing.T) {
	none := iotest.ErrReader(io.ErrUnexpectedEOF)
	if _, err := newState(none, moment{firstBoot, 0}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	s, _ := testState(t)
	if renewed, err := s.advance(moment{secondBoot, 0}, none); !errors.Is(err, io.ErrUnexpectedEOF) || renewed {
		t.Errorf("error %v", err)
	}
}

func TestUnheard(t *testing.T) {
	networks := testNetworks("a", "b")
	s, err := newState(rand.Reader, moment{firstBoot, 0})
	if err != nil {
		t.Fatal(err)
	}
	s.take(&request{name: "a", number: 1, kind: register}, &networks[0], netip.AddrPort{})
	for _, tt := range []struct {
		at   time.Duration
		want string
	}{
		{0, "a live 5m0s b unheard 0s"}, {60, "a live 4m0s b unheard 0s"}, {140, "a live 2m40s b unheard 0s"},
		{220, "a live 1m20s b unheard 0s"}, {299, "a live 1s b unheard 0s"}, {300, "a gone 0s b gone 0s"},
	} {
		if _, err := s.advance(moment{firstBoot, tt.at * time.Second}, rand.Reader); err != nil {
			t.Fatal(err)
		}
		if got := lefts(s, networks); got != tt.want {
			t.Errorf("after %v: %s, want %s", tt.at*time.Second, got, tt.want)
		}
	}
}

// Who is forgotten cannot be played again when he is back.
func TestRetain(t *testing.T) {
	s, networks := testState(t)
	s.retain(networks)
	if len(s.entries) != 3 || s.floor != 3 {
		t.Fatalf("%d entries, floor %d", len(s.entries), s.floor)
	}
	s.retain(networks[:2])
	if len(s.entries) != 2 || s.floor != 7 {
		t.Errorf("%d entries, floor %d", len(s.entries), s.floor)
	}
	if n := s.last("c"); n != 7 {
		t.Errorf("the last number of the one that was forgotten is %d", n)
	}
	other := testNetworks("a", "b", "c")
	other[0].Key = crypto.PublicKey{9}
	s.retain(other)
	if _, ok := s.find("a"); ok || s.floor != 7 || s.last("a") != 7 || s.last("b") != 6 {
		t.Errorf("entries %+v, floor %d", s.entries, s.floor)
	}
	other[1].Disabled = true
	s.retain(other)
	if got := lefts(s, testNetworks("a", "b")); got != "a unheard 0s b gone 0s" {
		t.Errorf("disabled: %s", got)
	}
	if got := lefts(s, other); got != "a unheard 0s c unheard 0s" {
		t.Errorf("disabled: %s", got)
	}
}

func TestSettle(t *testing.T) {
	s, networks := testState(t)
	changed := func(what string, want bool) {
		t.Helper()
		serial := s.serial
		if got := s.settle(s.gateways(networks)); got != want || (s.serial == serial+1) != want || !want && s.serial != serial {
			t.Errorf("%s: changed %v, serial %d after %d", what, got, s.serial, serial)
		}
	}
	changed("first", true)
	changed("again", false)
	s.saved += time.Second
	changed("a second later", false)
	s.take(&request{name: "b", number: 9, kind: register}, &networks[1], netip.MustParseAddrPort("192.0.2.1:2002"))
	changed("lease renewed", false)
	s.take(&request{name: "b", number: 10, kind: register}, &networks[1], netip.MustParseAddrPort("192.0.2.1:2003"))
	changed("moved", true)
	s.take(&request{name: "b", number: 11, kind: leave}, &networks[1], netip.AddrPort{})
	changed("left", true)
	networks[2].Subnets = append(networks[2].Subnets, netip.MustParsePrefix("172.16.0.0/12"))
	changed("subnet", true)
	networks = networks[:2]
	changed("network", true)
}

func TestStateText(t *testing.T) {
	s, networks := testState(t)
	s.settle(s.gateways(networks))
	s.begun = -5 * time.Second
	s.entries[2].endpoint = netip.AddrPort{}
	text := s.format()
	parsed, err := parseState(text)
	if err != nil || !bytes.Equal(parsed.format(), text) || parsed.epoch != s.epoch || parsed.digest != s.digest || parsed.begun != s.begun ||
		parsed.serial != s.serial || parsed.floor != 3 || parsed.boot != firstBoot || parsed.saved != s.saved {
		t.Errorf("error %v, read\n%s from\n%s", err, parsed.format(), text)
	}
	for i, e := range parsed.entries {
		if e != s.entries[i] {
			t.Errorf("entry %+v, want %+v", e, s.entries[i])
		}
	}
	for n := range text {
		if _, err := parseState(text[:n]); err == nil {
			t.Fatalf("%d of %d bytes are a state", n, len(text))
		}
		damaged := bytes.Clone(text)
		damaged[n] ^= 1
		if _, err := parseState(damaged); err == nil {
			t.Fatalf("a state with byte %d turned is taken:\n%s", n, damaged)
		}
	}
	if _, err := parseState(append(text, '\n')); err == nil {
		t.Error("a line behind the end is taken")
	}
	slices.Reverse(s.entries)
	if _, err := parseState(s.format()); err == nil {
		t.Error("networks out of order are taken")
	}
}

// What has the right sum, and is not written as a state is, is none.
func TestStateForm(t *testing.T) {
	s, networks := testState(t)
	s.settle(s.gateways(networks))
	text, _, _ := strings.Cut(string(s.format()), "sum ")
	taken := func(text string) bool {
		_, err := parseState([]byte(text + "sum " + sumOf([]byte(text)) + "\n"))
		return err == nil
	}
	if !taken(text) {
		t.Fatal("the state itself is refused")
	}
	lines := strings.SplitAfter(text, "\n")
	for _, test := range []struct {
		line  int
		words []int
		wrong []string
	}{
		{0, []int{0}, []string{"", "x"}},
		{0, []int{1, 7}, []string{"", "x", "0", "00", strings.Repeat("0", 63), strings.Repeat("0", 66), strings.Repeat("A", 64)}},
		{0, []int{3, 4, 5, 6}, []string{"", "x", "-0", "00", "+1", "1e3", strings.Repeat("9", 30)}},
		{0, []int{3, 4}, []string{"9223372036854775807", "-9223372036854775808", strings.Repeat("9", 19)}},
		{1, []int{2, 4, 5}, []string{"", "x", "-0", "00", "+1", "1e3", strings.Repeat("9", 30)}},
		{1, []int{3}, []string{"", "x", "192.0.2.1", "192.0.2.1:0x1", "192.0.2.1:65536"}},
		{1, []int{0, 1, 2, 3, 4, 5}, []string{"two words", "two\nlines"}},
	} {
		for _, i := range test.words {
			for _, wrong := range test.wrong {
				words := strings.Split(lines[test.line], " ")
				words[i] = wrong + strings.Repeat("\n", strings.Count(words[i], "\n"))
				changed := slices.Clone(lines)
				changed[test.line] = strings.Join(words, " ")
				if taken(strings.Join(changed, "")) {
					t.Errorf("line %d, word %d: %q is taken", test.line, i, wrong)
				}
			}
		}
	}
}

// A largest state fits.
func TestStateBound(t *testing.T) {
	s, _ := testState(t)
	s.entries = nil
	for n := range settings.MaxNetworks {
		name := fmt.Sprintf("%s%04d", strings.Repeat("n", settings.MaxName-4), n)
		s.entries = append(s.entries, entry{name, crypto.PublicKey{1}.String(), 1<<64 - 1,
			netip.MustParseAddrPort("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"), -1 << 62, -1 << 62})
	}
	text := s.format()
	if _, err := parseState(text); err != nil || len(text) > maxState {
		t.Errorf("%d bytes of %d: %v", len(text), maxState, err)
	}
}
