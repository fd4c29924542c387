package conf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inviting is a hub that clients call at host, "" for any address.
func inviting(t testing.TB, more string) *Config {
	t.Helper()
	c, err := Parse("/etc/vpnd/hub.conf", strings.NewReader(`mode server
server vpn.example.org 24741
local 10.9.0.1
pool 10.9.0.0/24
peers peers
auth strong
`+more))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ann is an invitation with nothing left out.
var ann = Invitation{
	Name: "ann", PublicKey: "public:p", Secret: "secret:s", Key: "private:a public:b secret:c", Server: "192.0.2.1:5000",
	Addrs: []string{"10.9.0.7"}, Subnets: []string{"10.1.0.0/16", "fd01::/64"}, Routes: []string{"192.168.0.0/24"},
}

func TestInvite(t *testing.T) {
	file, client, err := inviting(t, "clienttoclient\nmtu 1400\nkeysize 128\ncipher aes-256-gcm blowfish").Invite(ann, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("publickey public:p\nsecret secret:s\naddress 10.9.0.7\nsubnet 10.1.0.0/16\nsubnet fd01::/64\n", file); diff != "" {
		t.Errorf("the peer's file: -want +got:\n%s", diff)
	}
	again := ann
	again.Routes = []string{"10.9.0.0/24"}
	if _, text, err := inviting(t, "clienttoclient").Invite(again, nil); err != nil || strings.Count(text, "route 10.9.0.0/24") != 1 {
		t.Errorf("a route that is asked for and needed: %v\n%s", err, text)
	}
	want := `# Client ann. The key is in this file: keep it secret, and its mode 0600.
mode client
server 192.0.2.1 5000
local auto
route 192.168.0.0/24
route 10.9.0.0/24
auth strong
key private:a public:b secret:c
cipher aes-256-gcm blowfish
keysize 128
mtu 1400
`
	if diff := cmp.Diff(want, client); diff != "" {
		t.Errorf("the client's file: -want +got:\n%s", diff)
	}
}

// TestCalledAt finds out where clients call.
func TestCalledAt(t *testing.T) {
	for _, tt := range []struct{ listens, said, want string }{
		{"vpn.example.org 24741", "", "vpn.example.org:24741"},
		{"192.0.2.1", "", "192.0.2.1:379"},
		{"2001:db8::1 5", "", "[2001:db8::1]:5"},
		{"24741", "gate", "gate:24741"},
		{"24741", "gate:80", "gate:80"},
		{"24741", "192.0.2.9", "192.0.2.9:24741"},
		{"24741", "192.0.2.9:81", "192.0.2.9:81"},
		{"24741", "2001:db8::9", "[2001:db8::9]:24741"},
		{"24741", "[2001:db8::9]:82", "[2001:db8::9]:82"},
		{"192.0.2.1 24741", "gate", "gate:24741"},
	} {
		t.Run(tt.listens+", "+tt.said, func(t *testing.T) {
			c := inviting(t, "")
			c.Server = mustParse(t, "/etc/vpnd/hub.conf", base(Server, "server")+"server "+tt.listens).Server
			i := ann
			i.Server = tt.said
			_, text, err := c.Invite(i, nil)
			if err != nil {
				t.Fatal(err)
			}
			client := mustParse(t, "/etc/vpnd/ann.conf", text)
			if got := client.Server[0].String(); got != tt.want || len(client.Server) != 1 {
				t.Errorf("the client calls %s, want %s", got, tt.want)
			}
		})
	}
}

func TestInviteProblems(t *testing.T) {
	other := keyed("x", "address 10.9.0.5\nsubnet 10.77.0.0/16")
	off := keyed("y", "address 10.9.0.6\nenabled off")
	dir := fill(t, map[string]string{"bob.peer": other, "old.peer": off})
	for _, tt := range []struct {
		name   string
		change func(*Invitation)
		hub    string // lines
		any    bool   // it listens on any address
		want   string
	}{
		{"any address", func(i *Invitation) { i.Server = "" }, "", true, "--server: which address the clients call is not known, as the hub listens on any (/etc/vpnd/hub.conf:2); say --server HOST"},
		{"no host", func(i *Invitation) { i.Server = "a b" }, "", false, `--server: "a b" is not an IPv4 address, an IPv6 address or a host name`},
		{"zero", func(i *Invitation) { i.Server = "0.0.0.0" }, "", false, "--server: a client needs the address of the server, not any address"},
		{"no port", func(i *Invitation) { i.Server = "gate:http" }, "", false, `--server: "http" is not a port from 0 to 65535`},
		{"device", func(i *Invitation) { i.Server = "/dev/ttyS0" }, "", false, `--server: a device stands alone; the speed is a keyword, "speed BITRATE"`},
		{"another line", func(i *Invitation) { i.Server = "gate\nlinkup /tmp/evil" }, "", false, `--server: "gate\nlinkup /tmp/evil" cannot stand in a configuration`},
		{"no text", func(i *Invitation) { i.Secret = "\xff" }, "", false, `: secret: "\xff" cannot stand in a configuration`},
		{"no argument", func(i *Invitation) { i.Subnets = []string{""} }, "", false, `--subnet: "" is not a network such as 192.0.2.0/24 or 2001:db8::/32`},
		{"end of quotes", func(i *Invitation) { i.Routes = []string{`10.0.0.0/8" x`} }, "", false, `--route: "10.0.0.0/8\" x" cannot stand in a configuration`},
		{"comment", func(i *Invitation) { i.Routes = []string{"10.0.0.0/8#"} }, "", false, `--route: "10.0.0.0/8#" is not a network such as 192.0.2.0/24 or 2001:db8::/32`},
		{"outside the pool", func(i *Invitation) { i.Addrs = []string{"10.8.0.1"} }, "", false, "--address: 10.8.0.1 is outside the pool (/etc/vpnd/hub.conf:4)"},
		{"the hub's", func(i *Invitation) { i.Addrs = []string{"10.9.0.1"} }, "", false, "--address: 10.9.0.1 is the hub's own address"},
		{"another's", func(i *Invitation) { i.Addrs = []string{"10.9.0.5"} }, "", false, "--address: 10.9.0.5 is the address of " + dir + "/bob.peer:3"},
		{"of one that is off", func(i *Invitation) { i.Addrs = []string{"10.9.0.6"} }, "", false, "--address: 10.9.0.6 is the address of " + dir + "/old.peer:3"},
		{"no address", func(i *Invitation) { i.Addrs = []string{"ten"} }, "", false, `--address: "ten" is not an IPv4 or IPv6 address (no name, no prefix length, no zone)`},
		{"another's subnet", func(i *Invitation) { i.Subnets = []string{"10.77.1.0/24"} }, "", false, "--subnet: 10.77.1.0/24 has addresses of a subnet of " + dir + "/bob.peer:4"},
		{"subnet of the pool", func(i *Invitation) { i.Subnets = []string{"10.9.0.128/28"} }, "", false, "--subnet: 10.9.0.128/28 has addresses of the pool (/etc/vpnd/hub.conf:4)"},
		{"no network", func(i *Invitation) { i.Subnets = []string{"10.1.0.0"} }, "", false, `--subnet: "10.1.0.0" lacks a prefix length; for this one host say 10.1.0.0/32`},
		{"another's key", func(i *Invitation) { i.PublicKey = "public:x" }, "", false, "--public-key: " + dir + "/bob.peer:1 has the same key; each client has a key of its own"},
		{"two mistakes", func(i *Invitation) { i.Server, i.Addrs = "0", []string{"10.9.0.1"} }, "", false, "--address: 10.9.0.1 is the hub's own address\n--server: a client needs the address of the server, not any address"},
		{"IPv6 over a small mtu", func(i *Invitation) { i.Routes = []string{"fd00::/8"} }, "mtu 1000", false, "/ann.conf:10: mtu: 1000 is too small for IPv6 (fd00::/8); say at least 1280"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := inviting(t, tt.hub)
			if c.Peers = dir; tt.any {
				c.Server = []Endpoint{{Port: 24741}}
			}
			peers, problems, err := c.ReadPeers()
			if err != nil || len(problems) > 0 {
				t.Fatal(problems, err)
			}
			i := ann
			i.Subnets, i.Routes = nil, nil
			tt.change(&i)
			file, client, err := c.Invite(i, peers)
			var errs Errors
			if file != "" || client != "" || !errors.As(err, &errs) {
				t.Fatalf("got %q, %q, error %v", file, client, err)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestCheckPeerName(t *testing.T) {
	for name, want := range map[string]bool{
		"ann": true, "Ann-2_b.c": true, strings.Repeat("x", maxPeerName): true,
		"": false, ".": false, "..": false, "../ann": false, "a/b": false, "-f": false, "a b": false, "a\nb": false, "ü": false,
		strings.Repeat("x", maxPeerName+1): false,
	} {
		if err := CheckPeerName(name); (err == nil) != want || err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestKeyFiles reads configurations with a key in them.
func TestKeyFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ann.conf")
	text := base(Client, "") + "auth strong\nkey private:x public:y secret:z\n"
	for _, tt := range []struct {
		mode os.FileMode
		text string
		want string
	}{
		{0o600, text, ""},
		{0o400, text, ""},
		{0o640, text, path + ":6: key: others may read or write the secret (mode 0640); say: chmod 600 " + path},
		{0o602, text, path + ":6: key: others may read or write the secret (mode 0602); say: chmod 600 " + path},
		{0o644, base(Client, ""), ""},
	} {
		if err := errors.Join(os.WriteFile(path, []byte(tt.text), 0o600), os.Chmod(path, tt.mode)); err != nil {
			t.Fatal(err)
		}
		c, err := ParseFile(path)
		switch {
		case tt.want != "" && (err == nil || err.Error() != tt.want):
			t.Errorf("mode %o: error %v, want %s", tt.mode, err, tt.want)
		case tt.want == "" && err != nil:
			t.Errorf("mode %o: %v", tt.mode, err)
		case err == nil && tt.text == text && (c.Key != "private:x public:y secret:z" || c.KeyFile != ""):
			t.Errorf("key %q, file %q", c.Key, c.KeyFile)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzInvite writes files of any words: they say just these, or there is an error.
func FuzzInvite(f *testing.F) {
	f.Add(ann.Name, ann.PublicKey, ann.Secret, ann.Key, ann.Server, "10.9.0.7", "10.1.0.0/16", "192.168.0.0/24")
	f.Add("a", "p", "s", "k", "", "fd09::1", "fd01::/16", "0.0.0.0/0")
	f.Add("a", "p q", "#", "x\ty", "[2001:db8::1]:5", "10.9.0.7", "10.1.0.0/16", "::/0")
	f.Add("a\nb", "p\"", "s\nsubnet 0.0.0.0/0", "k\r", "gate:5", "10.9.0.1", "10.9.0.0/24", "x\nlinkup /evil")
	f.Fuzz(func(t *testing.T, name, public, secret, key, server, addr, subnet, route string) {
		i := Invitation{name, public, secret, key, server, []string{addr}, []string{subnet}, []string{route}}
		c := inviting(t, "")
		file, client, err := c.Invite(i, nil)
		if err != nil {
			if errs := (Errors)(nil); !errors.As(err, &errs) || len(errs) == 0 || file != "" || client != "" {
				t.Errorf("error without problems, or with a file: %v", err)
			}
			return
		}
		p, err := ParsePeer(name+PeerSuffix, strings.NewReader(file))
		if err != nil || p.PublicKey != public || p.Secret != secret || fmt.Sprint(p.Addrs) != fmt.Sprint([]netip.Addr{netip.MustParseAddr(addr).Unmap()}) ||
			len(p.Subnets) != 1 || !p.Enabled || p.MaxRate != 0 {
			t.Errorf("%+v is read as %+v, %v", i, p, err)
		}
		got, err := Parse("/a.conf", strings.NewReader(client))
		if err != nil || got.Mode != Client || !got.LocalAuto || len(got.Server) != 1 || len(got.Routes) != 1 || got.LinkUp+got.SlipUp != "" ||
			!slices.Equal(strings.Fields(got.Key), strings.Fields(key)) || !slices.Equal(got.Ciphers, c.Ciphers) {
			t.Errorf("%+v is read as %+v, %v", i, got, err)
		}
	})
}
