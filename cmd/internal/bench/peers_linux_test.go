package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestListens(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 020200C0:1B58 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 020200C0:1F90 010200C0:1B59 01 00000000:00000000 00:00000000 00000000     0        0 2
`
	for _, test := range []struct {
		port uint16
		want bool
	}{{7000, true}, {8080, false}, {7001, false}, {0, false}} {
		if got := listens(table, test.port); got != test.want {
			t.Errorf("port %d: %v", test.port, got)
		}
	}
}

func TestParseBusy(t *testing.T) {
	got, err := parseBusy("cpu  100 20 300 9999 8888 4 6 7777 50 60\ncpu0 1 2 3\n")
	if err != nil || got != 4.3 {
		t.Errorf("%v s, %v", got, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 x 4 5 6 7 8"} {
		if got, err := parseBusy(bad); err == nil {
			t.Errorf("%q: %v s", bad, got)
		}
	}
}

func TestParseFastdKey(t *testing.T) {
	a, b := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	k, err := parseFastdKey("Reading 32 bytes from /dev/random...\nSecret: " + a + "\nPublic: " + b + "\n")
	if err != nil || k.secret != a || k.public != b {
		t.Errorf("%+v, %v", k, err)
	}
	for _, bad := range []string{"", "Secret: " + a + "\n", "Secret: xx\nPublic: " + b + "\n"} {
		if k, err := parseFastdKey(bad); err == nil {
			t.Errorf("%q: %+v", bad, k)
		}
	}
}

// TestVpndConfig lets vpnd itself judge.
func TestVpndConfig(t *testing.T) {
	vpnd, dir := buildVpnd(t), t.TempDir()
	if out, err := exec.Command(vpnd, "-m", filepath.Join(dir, "vpnd.key")).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for end, where := range map[string]string{"server": "server 7000", "client": "client /dev/null\nspeed 33600"} {
		path := filepath.Join(dir, end+".conf")
		check(t, os.WriteFile(path, []byte(vpndConfig(end, dir, where, "aes-256-gcm", "off")), 0o600))
		if out, err := exec.Command(vpnd, "--check", "-f", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", end, err, out)
		}
	}
}

// TestIdentity checks that a certificate belongs to its key and fingerprint.
func TestIdentity(t *testing.T) {
	id, err := newIdentity("name")
	check(t, err)
	pair, err := tls.X509KeyPair([]byte(id.cert), []byte(id.key))
	check(t, err)
	sum := fmt.Sprintf("%X", sha256.Sum256(pair.Certificate[0]))
	if strings.ReplaceAll(id.fingerprint, ":", "") != sum || strings.Count(id.fingerprint, ":") != 31 {
		t.Errorf("fingerprint %s, want %s", id.fingerprint, sum)
	}
}

// TestConfigs looks for what must be in the configurations of the peers: the
// programs need not be here.
func TestConfigs(t *testing.T) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	check(t, err)
	peer, err := ecdh.X25519().GenerateKey(rand.Reader)
	check(t, err)
	public := fmt.Sprintf("%x", peer.PublicKey().Bytes())
	self, other := identity{"cert\n", "key\n", "mine"}, identity{"no\n", "no\n", "its"}
	for _, test := range []struct {
		name, text string
		want, not  []string
	}{
		{"openvpn, Blowfish", openVPNConfig("BF-CBC", self, other),
			[]string{"providers legacy default\n", "cipher BF-CBC\n", "<cert>\ncert\n</cert>", "<key>\nkey\n</key>", "<peer-fingerprint>\nits\n"}, []string{"mine"}},
		{"openvpn, AES", openVPNConfig("AES-256-GCM", self, other), []string{"data-ciphers AES-256-GCM\n", "disable-dco\n"}, []string{"legacy", "BF"}},
		{"vtun", vtunConfig("blowfish128ecb", "zlib:9"), []string{"proto tcp;", "encrypt blowfish128ecb;", "compress zlib:9;", "port 7000;"}, nil},
		{"tinc", tincConfig("a") + tincHost(innerA, outerA), []string{"Name = a\n", "TCPOnly = yes\n", "Subnet = 10.8.0.1/32\n", "Address = 192.0.2.1 7000\n"}, nil},
		{"sshd", sshdConfig("/dir"), []string{"HostKey /dir/host\n", "AuthorizedKeysFile /dir/user.pub\n", "PermitTunnel point-to-point\n"}, nil},
		{"ssh", strings.Join(sshArgs("/dir", "yes"), " "), []string{"-i /dir/user ", "Compression=yes ", "-w 0:0 ", " root@192.0.2.129"}, nil},
		{"fastd, caller", fastdConfig(fastdKey{"secret", "no"}, fastdKey{"no", "public"}, outerB),
			[]string{`secret "secret";`, `key "public"; remote 192.0.2.129:7000;`}, []string{`"no"`}},
		{"fastd, called", fastdConfig(fastdKey{}, fastdKey{}, netip.Addr{}), []string{"mode tun;"}, []string{"remote"}},
		{"wireguard", wireGuardConfig(key, peer, innerB, outerB),
			[]string{"private_key=" + fmt.Sprintf("%x", key.Bytes()), "public_key=" + public, "endpoint=192.0.2.129:7000\n", "allowed_ip=10.8.0.2/32\n"}, nil},
	} {
		for _, want := range test.want {
			if !strings.Contains(test.text, want) {
				t.Errorf("%s: no %q in\n%s", test.name, want, test.text)
			}
		}
		for _, not := range test.not {
			if strings.Contains(test.text, not) {
				t.Errorf("%s: %q in\n%s", test.name, not, test.text)
			}
		}
	}
}

func TestPlay(t *testing.T) {
	for _, role := range []string{"", "nobody", roleEmpty, roleWireGuard} {
		if err := play(role, nil); err == nil || !strings.Contains(err.Error(), "no role") {
			t.Errorf("%q: %v", role, err)
		}
	}
}
