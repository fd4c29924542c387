package settings

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// network returns the lines of a network: those that begin with a digit are subnets.
func network(name string, n byte, lines ...string) string {
	text := name + "\n  key=" + key(n).String() + "\n"
	for _, l := range lines {
		if l[0] >= '0' && l[0] <= '9' {
			l = "subnet=" + l
		}
		text += "\t" + l + "\n"
	}
	return text
}

func TestNetworks(t *testing.T) {
	text := "# the mesh\n\n" + network("lahm", 1, "192.168.20.0/24", "10.1.0.0/16 # the old one") +
		"berlin-1  # a comment\n    subnet = 2001:db8:1::/48\n\n  # more\n    key =\t" + key(2).String() + "   \r\n    disabled\n" +
		network("c.x_y", 3, "172.16.0.0/31", "address=192.0.2.1", "port=2003", "inner=172.16.0.1") +
		network("0", 4, "192.168.21.1/32") + "z\n\tkey=" + key(5).String() + "\n\tsubnet=192.168.22.0/30\n\tinner=192.168.22.2"
	got, err := ParseNetworks("/etc/dynvpn/networks", text)
	if err != nil {
		t.Fatal(err)
	}
	prefixes := func(list ...string) (p []netip.Prefix) {
		for _, s := range list {
			p = append(p, netip.MustParsePrefix(s))
		}
		return p
	}
	addr := netip.MustParseAddr
	want := []Network{
		{Name: "lahm", Line: 3, Key: key(1), Subnets: prefixes("10.1.0.0/16", "192.168.20.0/24"), Inner: addr("10.1.0.1")},
		{Name: "berlin-1", Line: 7, Key: key(2), Subnets: prefixes("2001:db8:1::/48"), Inner: addr("2001:db8:1::1"), Disabled: true},
		{Name: "c.x_y", Line: 13, Key: key(3), Subnets: prefixes("172.16.0.0/31"), Inner: addr("172.16.0.1"), Address: addr("192.0.2.1"), Port: 2003},
		{Name: "0", Line: 19, Key: key(4), Subnets: prefixes("192.168.21.1/32"), Inner: addr("192.168.21.1")},
		{Name: "z", Line: 22, Key: key(5), Subnets: prefixes("192.168.22.0/30"), Inner: addr("192.168.22.2")},
	}
	if diff := cmp.Diff(fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got)); diff != "" {
		t.Error(diff)
	}
}

var networkProblems = []struct {
	name, text string
	want       []string
}{
	{"empty", "", []string{"f: there is no network in it, as if a full disk had emptied it: to leave a network out, disable it"}},
	{"comments", "# the mesh\n\n", []string{"f: there is no network in it, as if a full disk had emptied it: to leave a network out, disable it"}},
	{"climbing name", network("../etc", 1, "10.0.0.0/24"), []string{`f:1: "../etc" is no name of a network: letters, digits, - _ and . belong there`}},
	{"dots", network("..", 1, "10.0.0.0/24"), []string{`f:1: ".." is no name of a network: it begins with a letter or a digit`}},
	{"minus", network("-f", 1, "10.0.0.0/24"), []string{`f:1: "-f" is no name of a network: it begins with a letter or a digit`}},
	{"blank", network("a b", 1, "10.0.0.0/24"), []string{`f:1: "a b" is no name of a network: letters, digits, - _ and . belong there`}},
	{"umlaut", network("höf", 1, "10.0.0.0/24"), []string{`f:1: "höf" is no name of a network: letters, digits, - _ and . belong there`}},
	{"long", network(strings.Repeat("a", 64), 1, "10.0.0.0/24"), []string{`f:1: the name "` + strings.Repeat("a", 64) + `" is longer than 63 characters`}},
	{"twice", network("a", 1, "10.0.0.0/24") + network("A", 2, "10.0.1.0/24"), []string{"f:4: there is a network A in line 1 already"}},
	{"one key", network("a", 1, "10.0.0.0/24") + network("b", 1, "10.0.1.0/24"), []string{"f:4: b has the key of a in line 1: each gateway has its own"}},
	{"not indented at the end", network("a", 1, "10.0.0.0/24") + "disabled=\nport=1\n", []string{
		`f:4: "disabled=": this belongs to a network, so it is indented`, `f:5: "port=1": this belongs to a network, so it is indented`}},
	{"equals sign", network("a=b", 1, "10.0.0.0/24"), []string{`f:1: "a=b" is no name of a network: letters, digits, - _ and . belong there`}},
	{"nothing in it", "a\nb\n", []string{"f:1: a has no subnet=", "f:1: a has no key=", "f:2: b has no subnet=", "f:2: b has no key="}},
	{"no name", "  key=x\n", []string{"f:1: a line that is indented belongs to a name, and there is none above it"}},
	{"not indented", "subnet=10.0.0.0/24\nport = 3\n", []string{
		`f:1: "subnet=10.0.0.0/24": this belongs to a network, so it is indented`, `f:2: "port = 3": this belongs to a network, so it is indented`}},
	{"unknown", network("a", 1, "10.0.0.0/24", "subnets=1", "disabled=1", "key"), []string{
		`f:4: "subnets" is not subnet=, key=, inner=, address=, port= or disabled`, `f:5: "disabled" is not subnet=, key=, inner=, address=, port= or disabled`,
		`f:6: "key" is not subnet=, key=, inner=, address=, port= or disabled`}},
	{"again", network("a", 1, "10.0.0.0/24", "disabled", "disabled", "key="), []string{"f:5: disabled stands in line 4 already", "f:6: key stands in line 2 already"}},
	{"not a key", "a\n subnet=10.0.0.0/8\n key=0sAQN\n", []string{"f:3: key: this is no public key (public:...)"}},
	{"no subnet", network("a", 1, "10.0.0.0", "10.0.0.0/33", "subnet=x", "subnet=", "subnet=::ffff:10.0.0.0/120"), []string{
		`f:3: subnet: "10.0.0.0" is not address/bits, such as 192.168.20.0/24`, `f:4: subnet: "10.0.0.0/33" is not address/bits, such as 192.168.20.0/24`,
		`f:5: subnet: "x" is not address/bits, such as 192.168.20.0/24`, `f:6: subnet: "" is not address/bits, such as 192.168.20.0/24`,
		`f:7: subnet: "::ffff:10.0.0.0/120" is not address/bits, such as 192.168.20.0/24`}},
	{"host bits", network("a", 1, "10.0.0.1/24"), []string{"f:3: subnet: 10.0.0.1/24 has bits behind its end: 10.0.0.0/24 is the network"}},
	{"everything", network("a", 1, "0.0.0.0/0", "subnet=::/0"), []string{
		"f:3: subnet: this is everything, the way out to the Internet too", "f:4: subnet: this is everything, the way out to the Internet too"}},
	{"unfit", network("a", 1, "127.0.1.0/24", "224.0.0.0/4", "169.254.0.0/16", "subnet=fe80::/64", "subnet=ff00::/8", "subnet=::1/128", "0.1.0.0/16"), []string{
		"f:3: subnet: 127.0.1.0/24 overlaps 127.0.0.0/8, which no network can have", "f:4: subnet: 224.0.0.0/4 overlaps 224.0.0.0/3, which no network can have",
		"f:5: subnet: 169.254.0.0/16 overlaps 169.254.0.0/16, which no network can have", "f:6: subnet: fe80::/64 overlaps fe80::/10, which no network can have",
		"f:7: subnet: ff00::/8 overlaps ff00::/8, which no network can have", "f:8: subnet: ::1/128 overlaps ::/64, which no network can have",
		"f:9: subnet: 0.1.0.0/16 overlaps 0.0.0.0/8, which no network can have"}},
	{"overlap", network("a", 1, "10.0.0.0/16") + network("b", 2, "10.0.3.0/24", "10.0.3.0/24") + network("c", 3, "10.0.0.0/15"), []string{
		"f:10: subnet 10.0.0.0/15 of c overlaps 10.0.0.0/16 of a in line 3", "f:10: subnet 10.0.0.0/15 of c overlaps 10.0.3.0/24 of b in line 6",
		"f:10: subnet 10.0.0.0/15 of c overlaps 10.0.3.0/24 of b in line 7"}},
	{"overlap in one network", network("a", 1, "10.0.0.0/24", "10.0.0.0/16"), []string{"f:4: subnet 10.0.0.0/16 of a overlaps 10.0.0.0/24 of a in line 3"}},
	{"overlap of a disabled one", network("a", 1, "10.0.0.0/16", "disabled") + network("b", 2, "10.0.0.0/16"), []string{"f:7: subnet 10.0.0.0/16 of b overlaps 10.0.0.0/16 of a in line 3"}},
	{"inner", network("a", 1, "10.0.0.0/24", "inner=10.0.1.1") + network("b", 2, "10.0.2.0/24", "inner=10.0.2.0") + network("c", 3, "10.0.3.0/24", "inner=10.0.3.255") +
		network("d", 4, "10.0.4.0/24", "inner=x") + network("e", 5, "subnet=2001:db8::/64", "inner=2001:db8::"), []string{
		"f:4: inner: 10.0.1.1 is in none of the subnets of a", "f:8: inner: 10.0.2.0 is no address of a host in 10.0.2.0/24",
		"f:12: inner: 10.0.3.255 is no address of a host in 10.0.3.0/24", `f:16: inner: "x" is not an address`,
		"f:20: inner: 2001:db8:: is no address of a host in 2001:db8::/64"}},
	{"outer", network("a", 1, "10.0.0.0/24", "address=www.example.org", "port=70000"), []string{
		`f:4: address "www.example.org" is not an address`, `f:5: port "70000" is not a port: a number from 1 to 65535`}},
	{"empty values", network("a", 1, "10.0.0.0/24", "address=", "port=", "inner="), []string{
		`f:4: address "" is not an address`, `f:5: port "" is not a port: a number from 1 to 65535`, `f:6: inner: "" is not an address`}},
}

func TestNetworkProblems(t *testing.T) {
	for _, tt := range networkProblems {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseNetworks("f", tt.text)
			wantProblems(t, err, tt.want...)
			if got != nil {
				t.Error("networks in spite of problems")
			}
		})
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "z", "A", "Z", "0", "9", "a-_.", "port", "subnet", "disabled", strings.Repeat("a", MaxName)} {
		if _, err := ParseNetworks("f", network(name, 1, "subnet=2001:db8::/64", "inner=2001:db8::ffff:ffff:ffff:ffff")); err != nil || CheckName(name) != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if CheckName("") == nil {
		t.Error("no name is a name")
	}
}

func TestNetworkBounds(t *testing.T) {
	var many strings.Builder
	for i := range MaxSubnets {
		fmt.Fprintf(&many, " subnet=10.0.%d.0/24\n", i)
	}
	if _, err := ParseNetworks("f", "a\n key="+key(1).String()+"\n"+many.String()); err != nil {
		t.Error(err)
	}
	many.WriteString(" subnet=10.1.0.0/24\n")
	_, err := ParseNetworks("f", "a\n key="+key(1).String()+"\n"+many.String())
	wantProblems(t, err, "f:1: a has 65 subnets: at most 64")

	many.Reset()
	for i := range MaxNetworks + 1 {
		k := key(byte(i))
		k[1] = byte(i >> 8)
		fmt.Fprintf(&many, "n%d\n key=%v\n subnet=10.%d.%d.0/24\n", i, k, i>>8, i&255)
	}
	_, err = ParseNetworks("f", many.String())
	wantProblems(t, err, "f: names and subnets need 80972 bytes in the answer to a gateway: at most 65000")

	// The design's limit of a full mesh fits, with long names and many subnets.
	many.Reset()
	for i := range 200 {
		k := key(byte(i))
		fmt.Fprintf(&many, "%s%03d\n key=%v\n", strings.Repeat("n", 60), i, k)
		for j := range 10 {
			fmt.Fprintf(&many, " subnet=10.%d.%d.0/24\n", i, j)
		}
	}
	if n, err := ParseNetworks("f", many.String()); err != nil || len(n) != 200 {
		t.Errorf("200 networks: %v", err)
	}
}
