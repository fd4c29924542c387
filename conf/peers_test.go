package conf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// needed is what each file of a client has.
const needed = "publickey public:a\nsecret secret:a\n"

func TestParsePeer(t *testing.T) {
	p, err := ParsePeer("/etc/vpnd/peers/ann.peer", strings.NewReader(`# Ann's laptop
publickey public:abc # hers
secret secret:def
address fd09::5
address 10.9.0.5
subnet 10.5.0.0/16
subnet fd05::/48
maxrate 8000
`))
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "ann" || p.PublicKey != "public:abc" || p.Secret != "secret:def" || fmt.Sprint(p.Addrs) != "[fd09::5 10.9.0.5]" ||
		fmt.Sprint(p.Subnets) != "[10.5.0.0/16 fd05::/48]" || !p.Enabled || p.MaxRate != 8000 {
		t.Errorf("peer is %+v", p)
	}
	if got := p.Where("secret"); got != "/etc/vpnd/peers/ann.peer:3" {
		t.Errorf("secret is at %s", got)
	}
	if p, err := ParsePeer("b.peer", strings.NewReader(needed+"enabled off")); err != nil || p.Enabled {
		t.Errorf("%+v, %v", p, err)
	}
}

var peerProblems = []struct{ name, file, text, want string }{
	{"nothing", "a", "", "a.peer: publickey: missing; say \"publickey KEY\", as \"vpnd -c\" shows it on the client\n" +
		"a.peer: secret: missing; say \"secret SECRET\", the same as in the client's key file"},
	{"two keys", "a", needed + "publickey public:b", `a.peer:3: publickey: stands on line 1 already; keep one of the two`},
	{"key in two words", "a", "publickey public: a\nsecret b", `a.peer:1: publickey: wrong number of arguments; say "publickey KEY"`},
	{"secret in two words", "a", "publickey a\nsecret x y", `a.peer:2: secret: wrong number of arguments; say "secret SECRET"`},
	{"address of a network", "a", needed + "address 10.9.0.0/24", `a.peer:3: address: "10.9.0.0/24" is not an IPv4 or IPv6 address (no name, no prefix length, no zone)`},
	{"two addresses", "a", needed + "address 10.9.0.1\naddress 10.9.0.2", `a.peer:4: address: 10.9.0.2 is a second IPv4 address; keep one of the two`},
	{"subnet of a host", "a", needed + "subnet 10.9.0.1", `a.peer:3: subnet: "10.9.0.1" lacks a prefix length; for this one host say 10.9.0.1/32`},
	{"subnets that overlap", "a", needed + "subnet 10.0.0.0/8\nsubnet 10.1.0.0/16", `a.peer:4: subnet: 10.1.0.0/16 has addresses of 10.0.0.0/8; keep one of the two`},
	{"loopback", "a", needed + "subnet 127.0.0.0/8", `a.peer:3: subnet: 127.0.0.0/8 holds no addresses for hosts`},
	{"multicast", "a", needed + "subnet ff00::/8", `a.peer:3: subnet: ff00::/8 holds no addresses for hosts`},
	{"half enabled", "a", needed + "enabled maybe", `a.peer:3: enabled: "maybe" is none of on, off`},
	{"no rate", "a", needed + "maxrate 7", `a.peer:3: maxrate: "7" is not a whole number of kbit/s from 8 to 100000000`},
	{"keyword of the configuration", "a", needed + "mode server", `a.peer:3: mode: unknown keyword; vpnd.conf(5) lists all there are`},
	{"near miss", "a", needed + "subnett 10.0.0.0/8", `a.peer:3: subnett: unknown keyword; did you mean "subnet"?`},
	{"no text", "a", needed + "\x00", `a.peer:3: holds a NUL byte; this is no plain text file`},
	{"too large", "a", strings.Repeat("#"+strings.Repeat("x", 4000)+"\n", 17), `a.peer:17: the file is larger than 65536 bytes; is it the right one?`},
	{"too large by a byte", "a", padded(maxPeerFile + 1), `a.peer:19: the file is larger than 65536 bytes; is it the right one?`},
	{"name with a blank", "a b", needed, `a b.peer: the name of the file is no name for a client; use up to 64 letters, digits, "-", "_" and "."`},
	{"name for a terminal", "a\x1b[2J\nb", needed, `"a\x1b[2J\nb.peer": the name of the file is no name for a client; use up to 64 letters, digits, "-", "_" and "."`},
	{"hidden", ".a", needed, `.a.peer: the name of the file is no name for a client; use up to 64 letters, digits, "-", "_" and "."`},
	{"option", "-a", needed, `-a.peer: the name of the file is no name for a client; use up to 64 letters, digits, "-", "_" and "."`},
	{"no name", "", needed, `.peer: the name of the file is no name for a client; use up to 64 letters, digits, "-", "_" and "."`},
}

// padded is a file of a client of so many bytes.
func padded(n int) string {
	text := needed + strings.Repeat("#"+strings.Repeat("x", 4000)+"\n", 16)
	return text + "#" + strings.Repeat("x", n-len(text)-1)
}

// TestPeerLimits has the largest file, and one that cannot be read.
func TestPeerLimits(t *testing.T) {
	p, err := ParsePeer("a.peer", strings.NewReader(padded(maxPeerFile)))
	if err != nil || p.Where("subnet") != "a.peer" {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := ParsePeer("a.peer", iotest.ErrReader(errors.New("broken disk"))); err == nil || err.Error() != "read a.peer: broken disk" {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestPeerOwners has files of other users.
func TestPeerOwners(t *testing.T) {
	for _, tt := range []struct {
		uid, as int
		want    bool
	}{{0, 0, true}, {0, 7, true}, {7, 7, true}, {7, 0, false}, {8, 7, false}} {
		if got := isOwn(uint32(tt.uid), tt.as); got != tt.want {
			t.Errorf("a file of %d for %d: %v", tt.uid, tt.as, got)
		}
	}
	path := filepath.Join(t.TempDir(), "a.peer")
	if err := errors.Join(os.WriteFile(path, []byte(needed), 0o600), os.Chown(path, 7, -1)); err != nil {
		t.Fatal(err)
	}
	if p, err := readPeer(path); err == nil || err.Error() != path+": belongs to another user; it must belong to root or to the user of the daemon" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestPeerProblems(t *testing.T) {
	for _, tt := range peerProblems {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParsePeer(tt.file+PeerSuffix, strings.NewReader(tt.text))
			var errs Errors
			if p != nil || !errors.As(err, &errs) {
				t.Fatalf("got %v and error %v", p, err)
			}
			if diff := cmp.Diff(tt.want, errs.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// hubOf is a hub with the peers directory dir.
func hubOf(dir string, pool ...string) *Config {
	c := &Config{Peers: dir, Local: []netip.Addr{netip.MustParseAddr("10.9.0.1")}, file: "hub.conf", lines: map[string][]int{"pool": {7}}}
	for _, text := range pool {
		c.Pool = append(c.Pool, netip.MustParsePrefix(text))
	}
	return c
}

// fill writes the files of clients.
func fill(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// keyed is a file of a client with a key of its own.
func keyed(key, more string) string {
	return "publickey public:" + key + "\nsecret secret:a\n" + more
}

// TestReadPeers has clients that want what they cannot have: the rest is let in.
func TestReadPeers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		in    string // names
		want  string // problems
	}{
		{"none", nil, "", ""},
		{"some", map[string]string{"b.peer": keyed("b", ""), "a.peer": keyed("a", "address 10.9.0.2\nsubnet 10.1.0.0/16"), "c.peer~": "?", "d": "?"}, "a b", ""},
		{"mistake", map[string]string{"a.peer": "?", "b.peer": keyed("b", "")}, "b", `a.peer:1: ?: unknown keyword; vpnd.conf(5) lists all there are
a.peer: publickey: missing; say "publickey KEY", as "vpnd -c" shows it on the client
a.peer: secret: missing; say "secret SECRET", the same as in the client's key file`},
		{"one key", map[string]string{"a.peer": keyed("x", ""), "b.peer": keyed("x", "")}, "a", `b.peer:1: publickey: a.peer:1 has the same key; each client has a key of its own`},
		{"one address", map[string]string{"a.peer": keyed("a", "address 10.9.0.2"), "b.peer": keyed("b", "address 10.9.0.2")}, "a", `b.peer:3: address: 10.9.0.2 is the address of a.peer:3`},
		{"one subnet", map[string]string{"a.peer": keyed("a", "subnet 10.1.0.0/16"), "b.peer": keyed("b", "subnet 10.1.0.0/16")}, "a", `b.peer:3: subnet: 10.1.0.0/16 has addresses of a subnet of a.peer:3`},
		{"subnet around", map[string]string{"a.peer": keyed("a", "subnet 10.1.0.0/16"), "b.peer": keyed("b", "subnet 10.0.0.0/15")}, "a", `b.peer:3: subnet: 10.0.0.0/15 has addresses of a subnet of a.peer:3`},
		{"subnet inside", map[string]string{"a.peer": keyed("a", "subnet 10.1.0.0/16"), "b.peer": keyed("b", "subnet 10.1.9.0/24")}, "a", `b.peer:3: subnet: 10.1.9.0/24 has addresses of a subnet of a.peer:3`},
		{"subnets beside", map[string]string{"a.peer": keyed("a", "subnet 10.0.0.0/16"), "b.peer": keyed("b", "subnet 10.1.0.0/16")}, "a b", ""},
		{"the hub's address", map[string]string{"a.peer": keyed("a", "address 10.9.0.1")}, "", `a.peer:3: address: 10.9.0.1 is the hub's own address`},
		{"outside the pool", map[string]string{"a.peer": keyed("a", "address 10.8.0.1")}, "", `a.peer:3: address: 10.8.0.1 is outside the pool (hub.conf:7)`},
		{"subnet of the pool", map[string]string{"a.peer": keyed("a", "subnet 10.9.0.128/25")}, "", `a.peer:3: subnet: 10.9.0.128/25 has addresses of the pool (hub.conf:7)`},
		{"everything", map[string]string{"a.peer": keyed("a", "subnet 0.0.0.0/0")}, "", `a.peer:3: subnet: 0.0.0.0/0 holds the hub's own address`},
		{"several mistakes", map[string]string{"a.peer": keyed("a", "address 10.8.0.1\nsubnet 0.0.0.0/0")}, "", `a.peer:3: address: 10.8.0.1 is outside the pool (hub.conf:7)
a.peer:4: subnet: 0.0.0.0/0 holds the hub's own address`},
		{"of one that is refused", map[string]string{"a.peer": keyed("a", "address 10.9.0.1\nsubnet 10.1.0.0/16"), "b.peer": keyed("b", "subnet 10.1.0.0/16")}, "b", `a.peer:3: address: 10.9.0.1 is the hub's own address`},
		{"off, with what it cannot have", map[string]string{"a.peer": keyed("a", "address 10.8.0.1\nenabled off")}, "a", ""},
		{"of one that is off", map[string]string{"a.peer": keyed("a", "subnet 10.1.0.0/16\nenabled off"), "b.peer": keyed("b", "subnet 10.1.0.0/16")}, "a b", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := fill(t, tt.files)
			peers, problems, err := hubOf(dir, "10.9.0.0/24").ReadPeers()
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, p := range peers {
				names = append(names, p.Name)
			}
			if got := strings.Join(names, " "); got != tt.in {
				t.Errorf("clients are %q, want %q", got, tt.in)
			}
			got := ""
			if err := errors.Join(problems...); err != nil {
				got = strings.ReplaceAll(err.Error(), dir+"/", "")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestMostPeers has more files than may be, some of them with mistakes.
func TestMostPeers(t *testing.T) {
	dir := fill(t, map[string]string{"a.peer": keyed("a", ""), "b.peer": "?", "c.peer": keyed("c", ""), "d.peer": "?", "e.peer": keyed("e", "")})
	peers, problems, err := hubOf(dir, "10.9.0.0/24").readPeers(2)
	if err != nil || len(peers) != 2 || len(problems) != 3 {
		t.Fatalf("clients are %v, problems %v, %v", peers, problems, err)
	}
	if got, want := problems[2].Error(), dir+"/e.peer: there are 2 clients before this one, and no more can be"; got != want {
		t.Errorf("problem is %q, want %q", got, want)
	}
}

// TestNoPool has a hub without a pool: clients have addresses, or cannot be.
func TestNoPool(t *testing.T) {
	dir := fill(t, map[string]string{
		"a.peer": keyed("a", "address 10.8.0.1\nsubnet 10.1.0.0/16"), "b.peer": keyed("b", ""),
		"c.peer": keyed("c", "address 10.1.2.3"), "d.peer": keyed("d", "address 10.7.0.1\nsubnet 10.8.0.0/24"),
	})
	peers, problems, err := hubOf(dir).ReadPeers()
	if err != nil || len(peers) != 1 || peers[0].Name != "a" {
		t.Fatalf("clients are %v, %v", peers, err)
	}
	want := `b.peer: address: missing; say "address ADDRESS", or give the hub a pool
c.peer:3: address: 10.1.2.3 is in a subnet of a.peer:4
d.peer:4: subnet: 10.8.0.0/24 has the address of a.peer:3`
	if diff := cmp.Diff(want, strings.ReplaceAll(errors.Join(problems...).Error(), dir+"/", "")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestPeerFiles has files that must not be read.
func TestPeerFiles(t *testing.T) {
	dir := fill(t, map[string]string{"a.peer": needed, "good.peer": keyed("b", "")})
	link := filepath.Join(dir, "link.peer")
	for _, err := range []error{
		os.Chmod(filepath.Join(dir, "a.peer"), 0o640),
		os.Mkdir(filepath.Join(dir, "dir.peer"), 0o700),
		os.Symlink("good.peer", link),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	peers, problems, err := hubOf(dir, "10.9.0.0/24").ReadPeers()
	if err != nil || len(peers) != 1 || peers[0].Name != "good" {
		t.Fatalf("clients are %v, %v", peers, err)
	}
	want := dir + "/a.peer: others may read or write the secret (mode 0640); say: chmod 600 " + dir + "/a.peer\n" +
		dir + "/dir.peer: not a regular file\n" +
		"open " + link + ": too many levels of symbolic links"
	if diff := cmp.Diff(want, errors.Join(problems...).Error()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, _, err := hubOf(filepath.Join(dir, "gone")).ReadPeers(); err == nil || !strings.HasPrefix(err.Error(), "hub.conf: peers: open ") || !strings.HasSuffix(err.Error(), "make it: mkdir -m 700 "+filepath.Join(dir, "gone")) {
		t.Errorf("error is %v", err)
	}
}

// TestPeerManual compares the keywords with the items of vpnd.conf(5).
func TestPeerManual(t *testing.T) {
	page, err := os.ReadFile("../docs/vpnd.conf.5")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), ".Sh FILES OF CLIENTS\n")
	section, _, _ = strings.Cut(section, "\n.Sh ")
	var got, want []string
	for _, m := range regexp.MustCompile(`(?m)^\.It Cm (\S+)`).FindAllStringSubmatch(section, -1) {
		got = append(got, m[1])
	}
	for _, k := range PeerKeywords() {
		want = append(want, k.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the manual has %q, want %q", got, want)
	}
}

// FuzzParsePeer reads any text: what is taken can be.
func FuzzParsePeer(f *testing.F) {
	for _, tt := range peerProblems {
		f.Add(tt.text)
	}
	f.Add(needed + "address 10.9.0.5\naddress fd09::5\nsubnet 10.5.0.0/16\nenabled\nmaxrate 100")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePeer("a.peer", strings.NewReader(text))
		if err != nil {
			if errs := (Errors)(nil); !errors.As(err, &errs) || len(errs) == 0 {
				t.Errorf("error without problems: %v", err)
			}
			return
		}
		if len(p.Addrs) > 2 || len(p.Addrs) == 2 && p.Addrs[0].Is4() == p.Addrs[1].Is4() || p.MaxRate < 0 || p.MaxRate > maxRate {
			t.Errorf("peer is %+v", p)
		}
		for i, n := range p.Subnets {
			if n != n.Masked() || slices.ContainsFunc(p.Subnets[:i], n.Overlaps) {
				t.Errorf("subnets are %v", p.Subnets)
			}
		}
	})
}

// TestStrangeNames: what --check says of any file of the directory is safe for a
// terminal, and stands on one line.
func TestStrangeNames(t *testing.T) {
	const name = "a\x1b[2J\nhub.conf is right\n.peer"
	for _, tt := range []struct {
		name string
		make func(path string) error
	}{
		{"file", func(path string) error { return os.WriteFile(path, nil, 0o600) }},
		{"file of all", func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o666))
		}},
		{"symbolic link", func(path string) error { return os.Symlink("x", path) }},
		{"directory", func(path string) error { return os.Mkdir(path, 0o700) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &Config{Peers: t.TempDir()}
			if err := tt.make(filepath.Join(c.Peers, name)); err != nil {
				t.Fatal(err)
			}
			_, problems, err := c.ReadPeers()
			if err != nil || len(problems) != 1 || strings.ContainsAny(problems[0].Error(), "\x1b\n") {
				t.Errorf("%q, %v", problems, err)
			}
		})
	}
}
