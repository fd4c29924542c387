package settings

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
)

// checkProblems finds problems that nobody could use.
func checkProblems(t *testing.T, err error) {
	t.Helper()
	list, ok := err.(Problems)
	if !ok || len(list) == 0 {
		t.Fatalf("error %T without problems: %v", err, err)
	}
	for _, p := range list {
		if p.File == "" || p.Text == "" || strings.ContainsAny(p.Error(), "\n\x1b") {
			t.Errorf("unfit problem %+v", p)
		}
	}
}

func FuzzNetworks(f *testing.F) {
	for _, tt := range networkProblems {
		f.Add(tt.text)
	}
	f.Add(network("lahm", 1, "192.168.20.0/24", "address=192.0.2.1", "port=2003", "inner=192.168.20.7") + network("b", 2, "subnet=2001:db8::/48", "disabled"))
	f.Fuzz(func(t *testing.T, text string) {
		networks, err := ParseNetworks("f", text)
		if err != nil {
			checkProblems(t, err)
			return
		}
		size := 0
		var all []netip.Prefix
		for _, n := range networks {
			size += n.size()
			if CheckName(n.Name) != nil || n.Line == 0 || len(n.Subnets) == 0 || !n.Inner.IsValid() {
				t.Errorf("network %+v", n)
			}
			inside := false
			for _, s := range n.Subnets {
				inside = inside || s.Contains(n.Inner)
				for _, other := range all {
					if s.Overlaps(other) {
						t.Errorf("%v overlaps %v", s, other)
					}
				}
				all = append(all, s)
			}
			if !inside {
				t.Errorf("%v is not in %v", n.Inner, n.Subnets)
			}
		}
		if len(networks) == 0 || size > MaxTable || len(networks) > MaxNetworks {
			t.Errorf("%d networks of %d bytes", len(networks), size)
		}
	})
}

func FuzzNexus(f *testing.F) {
	f.Add(goodNexus)
	f.Add("port='1'\npassword=\"it's a password\" # x\nconfig_path=a\ngw_addrs_path=b\ncertificate_path=c\ncertificate_key_path=d")
	f.Add("port = \"2002'\npassword = 'PASSWORD'\nport=1=2")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseNexus("/etc/f", text)
		if err != nil {
			checkProblems(t, err)
			return
		}
		if n.Port == 0 || len(n.Password) < minPassword || !filepath.IsAbs(n.Networks) || !filepath.IsAbs(n.StateDir) ||
			(n.Certificate == "") != (n.CertificateKey == "") {
			t.Errorf("settings %+v", n)
		}
	})
}

func FuzzPackthread(f *testing.F) {
	f.Add(goodPackthread())
	f.Add(goodPackthread() + "address = 192.0.2.1\nkey_path = 'k'\nstate_path = s")
	f.Add("server_addr = 'https://[::1]'\ncgi_script = ''\nserver_key = \"\"\npassword = PASSWORD\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePackthread("/etc/f", text)
		if err != nil {
			checkProblems(t, err)
			return
		}
		if !strings.HasPrefix(p.URL, "http") || p.Port == 0 || p.Port == callPort || len(p.Password) < minPassword || !filepath.IsAbs(p.KeyFile) || !filepath.IsAbs(p.StateDir) ||
			p.Address.IsValid() && !p.Address.IsGlobalUnicast() {
			t.Errorf("settings %+v", p)
		}
	})
}
