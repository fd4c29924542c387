package settings

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vpnd/crypto"
)

// key returns a public key that can be told from others.
func key(n byte) crypto.PublicKey {
	k := crypto.PublicKey{31: 0x10}
	for i := range 31 {
		k[i] = n + byte(i)*7
	}
	return k
}

const goodNexus = `# nexus
port = 8080
password = "correct horse battery"	# a comment
config_path = 'networks'
gw_addrs_path="/var/lib/nexus/"
`

func TestNexus(t *testing.T) {
	want := &Nexus{Port: 8080, Password: "correct horse battery", Networks: "/etc/dynvpn/networks", StateDir: "/var/lib/nexus"}
	got, err := ParseNexus("/etc/dynvpn/nexus.conf", goodNexus)
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("error %v: %s", err, cmp.Diff(want, got))
	}
	got, err = ParseNexus("/etc/dynvpn/nexus.conf", strings.ReplaceAll(goodNexus, "port = 8080", "certificate_path = a.crt\r\ncertificate_key_path='a b#\".key' "))
	want.Port, want.Certificate, want.CertificateKey = 2002, "/etc/dynvpn/a.crt", `/etc/dynvpn/a b#".key`
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("error %v: %s", err, cmp.Diff(want, got))
	}
}

// wantProblems compares all problems of a file.
func wantProblems(t *testing.T, err error, want ...string) {
	t.Helper()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), text); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if _, ok := err.(Problems); err != nil && !ok {
		t.Errorf("the error is a %T", err)
	}
}

const settingNames = "there are port, password, config_path, gw_addrs_path, certificate_path, certificate_key_path"

func TestNexusProblems(t *testing.T) {
	for _, tt := range []struct {
		name, add string
		want      []string
	}{
		{"two ports", "port = 1", []string{"n:6: port stands in line 2 already"}},
		{"unknown", "prot = 1", []string{`n:6: there is no setting "prot": ` + settingNames}},
		{"no assignment", "port", []string{`n:6: this is no setting: name = number, or name = "text"`}},
		{"nothing before", " = 3", []string{`n:6: this is no setting: name = number, or name = "text"`}},
		{"two words", "the port = 3", []string{`n:6: this is no setting: name = number, or name = "text"`}},
		{"comment in the name", "port # = 3", []string{`n:6: this is no setting: name = number, or name = "text"`}},
		{"quoted name", "'port' = 3", []string{`n:6: this is no setting: name = number, or name = "text"`}},
		{"no value", "certificate_path =", []string{"n:6: certificate_path: the value is missing; an empty one is ''"}},
		{"comment for a value", "certificate_path = # 3", []string{"n:6: certificate_path: the value is missing; an empty one is ''"}},
		{"open quote", `certificate_path = "a.crt'`, []string{"n:6: certificate_path: a quote opens here and never closes"}},
		{"behind", `certificate_path = 'a' b`, []string{`n:6: certificate_path: something stands behind the value; put the whole of it in quotes that it does not hold`}},
		{"quotes joined", `certificate_path = 'a'"b"`, []string{`n:6: certificate_path: something stands behind the value; put the whole of it in quotes that it does not hold`}},
		{"empty path", `certificate_path = ''`, []string{"n:6: certificate_path is empty: a path belongs here"}},
		{"half", "certificate_path = a", []string{"n: certificate_path and certificate_key_path belong together"}},
		{"other half", "certificate_key_path = a", []string{"n: certificate_path and certificate_key_path belong together"}},
		{"no text", "certificate_path = a\x00", []string{"n:6: the line holds bytes that are no text"}},
		{"not UTF-8", "# \xff", []string{"n:6: the line holds bytes that are no text"}},
		{"terminal", "\x1b[31m = 3", []string{"n:6: the line holds bytes that are no text"}},
		{"long line", "# " + strings.Repeat("x", maxLine), []string{"n:6: the line is longer than 4096 bytes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseNexus("n", goodNexus+tt.add+"\n")
			wantProblems(t, err, tt.want...)
		})
	}
	_, err := ParseNexus("n", "port = 0\nport = 1\nfoo = 3\n")
	wantProblems(t, err, `n:1: port "0" is not a port: a number from 1 to 65535`, "n:2: port stands in line 1 already",
		`n:3: there is no setting "foo": `+settingNames, "n: password is missing", "n: config_path is missing", "n: gw_addrs_path is missing")
}

// TestPasswordIsNotRepeated: what seems to stand behind a password is the rest of it.
func TestPasswordIsNotRepeated(t *testing.T) {
	for _, tt := range []struct{ name, line, hidden string }{
		{"quote in it", `password = 'Rosi's long password 1'`, "long password"},
		{"blank in it", `password = correct horse battery staple`, "horse"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseNexus("n", tt.line+"\n")
			if err == nil || !strings.Contains(err.Error(), "n:1: password: something stands behind the value") || strings.Contains(err.Error(), tt.hidden) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestValues(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{`password = "PASSWORD"`, "n:1: password is that of the example, which everybody knows: choose another one"},
		{`password = 'password'`, "n:1: password is that of the example, which everybody knows: choose another one"},
		{`password = ''`, "n:1: password has 0 characters: at least 12"},
		{`password = 'eleven char'`, "n:1: password has 11 characters: at least 12"},
		{`password = 'twelve chars'`, ""},
		{`password = 'aaaaaaaaaaaa'`, "n:1: password is one character again and again: choose another one"},
		{`password = '` + strings.Repeat("ab", 128) + `'`, ""},
		{`password = '` + strings.Repeat("ab", 128) + `c'`, "n:1: password has 257 characters: at most 256"},
		{`port = 65535`, ""},
		{`port = "1"`, ""},
		{`port = 65536`, `n:1: port "65536" is not a port: a number from 1 to 65535`},
		{`port = -1`, `n:1: port "-1" is not a port: a number from 1 to 65535`},
		{`port = 02`, `n:1: port "02" is not a port: a number from 1 to 65535`},
		{`port = ''`, `n:1: port "" is not a port: a number from 1 to 65535`},
	} {
		rest := goodNexus
		if name, _, _ := strings.Cut(tt.line, " "); name == "port" {
			rest = strings.Replace(rest, "port = 8080", "", 1)
		} else {
			rest = strings.Replace(rest, `password = "correct horse battery"`, "", 1)
		}
		_, err := ParseNexus("n", tt.line+"\n"+rest)
		if tt.want == "" && err == nil {
			continue
		}
		wantProblems(t, err, tt.want)
	}
}

func goodPackthread() string {
	return "server_addr = 'www.example.org'\nserver_port = 8080\ncgi_script = '/cgi-bin/nexus.cgi' # empty: direct\n" +
		"port = 2004\npassword = 'correct horse battery'\nserver_key = '" + key(1).String() + "'\n"
}

func TestPackthread(t *testing.T) {
	want := &Packthread{URL: "http://www.example.org:8080/cgi-bin/nexus.cgi", ServerKey: key(1), Password: "correct horse battery",
		Port: 2004, KeyFile: "/etc/dynvpn/packthread.key", StateDir: "/var/lib/packthread"}
	got, err := ParsePackthread("/etc/dynvpn/packthread.conf", "\ufeff"+goodPackthread())
	compare := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if err != nil || !cmp.Equal(got, want, compare) {
		t.Errorf("error %v: %s", err, cmp.Diff(want, got, compare))
	}
	got, err = ParsePackthread("/etc/dynvpn/packthread.conf", goodPackthread()+"address='192.0.2.7'\nkey_path=k\nstate_path=s\n")
	want.Address, want.KeyFile, want.StateDir = netip.MustParseAddr("192.0.2.7"), "/etc/dynvpn/k", "/etc/dynvpn/s"
	if err != nil || !cmp.Equal(got, want, compare) {
		t.Errorf("error %v: %s", err, cmp.Diff(want, got, compare))
	}
	_, err = ParsePackthread("p", strings.Replace(goodPackthread(), "2004", "2003", 1))
	wantProblems(t, err, "p:4: port 2003 is where calls through a third gateway come from: choose another one")
	_, err = ParsePackthread("p", "")
	wantProblems(t, err, "p: server_addr is missing", "p: password is missing", "p: server_key is missing")
}

func TestPlaces(t *testing.T) {
	for _, tt := range []struct{ addr, port, script, want string }{
		{"a.example", "", "", "http://a.example:2002/"},
		{"http://a.example", "", "", "http://a.example:2002/"},
		{"a.example", "80", "", "http://a.example:80/"},
		{"a.example.", "", "/n", "http://a.example.:80/n"},
		{"https://a.example", "", "/n", "https://a.example:443/n"},
		{"https://a.example", "80", "/n", "https://a.example:80/n"},
		{"https://a.example", "", "", "https://a.example:2002/"},
		{"192.0.2.1", "", "/a b/n.cgi", "http://192.0.2.1:80/a%20b/n.cgi"},
		{"2001:db8::1", "", "/n", "http://[2001:db8::1]:80/n"},
		{"[2001:db8::1]", "", "/n", "http://[2001:db8::1]:80/n"},
		{"", "", "", `p:1: server_addr "" is no name and no address of a server`},
		{"a.example/x", "", "", `p:1: server_addr "a.example/x" is no name and no address of a server`},
		{"a..example", "", "", `p:1: server_addr "a..example" is no name and no address of a server`},
		{"-a.example", "", "", `p:1: server_addr "-a.example" is no name and no address of a server`},
		{"user@a.example", "", "", `p:1: server_addr "user@a.example" is no name and no address of a server`},
		{"fe80::1%eth0", "", "", `p:1: server_addr "fe80::1%eth0" is no name and no address of a server`},
		{strings.Repeat("a.", 127), "", "", `p:1: server_addr "` + strings.Repeat("a.", 32) + `..." is no name and no address of a server`},
		{"a", "", "n.cgi", `p:2: cgi_script "n.cgi" is no path on a web server, such as /cgi-bin/nexus.cgi`},
		{"a", "", "/n?x=1", `p:2: cgi_script "/n?x=1" is no path on a web server, such as /cgi-bin/nexus.cgi`},
		{"a", "", "/n?", `p:2: cgi_script "/n?" is no path on a web server, such as /cgi-bin/nexus.cgi`},
		{"a", "", "/n#x", `p:2: cgi_script "/n#x" is no path on a web server, such as /cgi-bin/nexus.cgi`},
		{"a", "", "/n#", `p:2: cgi_script "/n#" is no path on a web server, such as /cgi-bin/nexus.cgi`},
		{"a", "", "//b/n", `p:2: cgi_script "//b/n" is no path on a web server, such as /cgi-bin/nexus.cgi`},
		{"a", "", "/%zz", `p:2: cgi_script "/%zz" is no path on a web server, such as /cgi-bin/nexus.cgi`},
		{"a", "", "http://b/n", `p:2: cgi_script "http://b/n" is no path on a web server, such as /cgi-bin/nexus.cgi`},
	} {
		text := "server_addr = '" + tt.addr + "'\ncgi_script='" + tt.script + "'\npassword='correct horse battery'\nserver_key='" + key(1).String() + "'\n"
		if tt.port != "" {
			text = "server_port = " + tt.port + "\n" + text
		}
		got, err := ParsePackthread("p", text)
		switch {
		case err != nil:
			wantProblems(t, err, tt.want)
		case got.URL != tt.want:
			t.Errorf("%s %s %s: %s, want %s", tt.addr, tt.port, tt.script, got.URL, tt.want)
		}
	}
}

func TestPackthreadValues(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"address = x", `p:7: address "x" is not an address`},
		{"address = 127.0.0.1", `p:7: address cannot be reached from another network: "127.0.0.1"`},
		{"address = 0.0.0.0", `p:7: address cannot be reached from another network: "0.0.0.0"`},
		{"address = 224.0.0.1", `p:7: address cannot be reached from another network: "224.0.0.1"`},
		{"address = fe80::1", `p:7: address cannot be reached from another network: "fe80::1"`},
		{"address = 2001:db8::1%eth0", `p:7: address cannot be reached from another network: "2001:db8::1%eth0"`},
	} {
		_, err := ParsePackthread("p", goodPackthread()+tt.line+"\n")
		wantProblems(t, err, tt.want)
	}
	for text, want := range map[string]string{
		"private:" + strings.TrimPrefix(key(1).String(), "public:"): "p:6: server_key is not what nexus -m printed: this is a private key: the public key belongs here (public:...)",
		"x": "p:6: server_key is not what nexus -m printed: this is no public key (public:...)",
	} {
		_, err := ParsePackthread("p", strings.Replace(goodPackthread(), key(1).String(), text, 1))
		wantProblems(t, err, want)
	}
}

// TestFiles checks who may be able to read and to change a file.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	loads := map[string]func(string) error{
		"nexus":      func(p string) error { _, err := LoadNexus(p); return err },
		"packthread": func(p string) error { _, err := LoadPackthread(p); return err },
		"networks":   func(p string) error { _, err := LoadNetworks(p); return err },
	}
	text := map[string]string{"nexus": goodNexus, "packthread": goodPackthread(), "networks": network("lahm", 1, "10.0.0.0/24")}
	for name, load := range loads {
		path := filepath.Join(dir, name)
		if err := load(path); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%s that is not there: %v", name, err)
		}
		if err := load(dir); err == nil || !strings.Contains(err.Error(), "is not a regular file") && !strings.Contains(err.Error(), "is a directory") {
			t.Errorf("%s that is a directory: %v", name, err)
		}
		if err := os.WriteFile(path, []byte(text[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, mode := range []os.FileMode{0o600, 0o640, 0o400, 0o644, 0o660, 0o602, 0o601, 0o620} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			allowed := mode&0o027 == 0 || name == "networks" && mode&0o022 == 0
			if err := load(path); (err == nil) != allowed {
				t.Errorf("%s with mode %04o: %v", name, mode, err)
			}
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, 12345, 0); err != nil {
			t.Fatal(err)
		}
		if err := load(path); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
			t.Errorf("%s of another user: %v", name, err)
		}
		if err := os.Chown(path, 0, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Repeat("#\n", maxFile)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := load(path); err == nil || !strings.Contains(err.Error(), "is longer than") {
			t.Errorf("%s without end: %v", name, err)
		}
	}
}
