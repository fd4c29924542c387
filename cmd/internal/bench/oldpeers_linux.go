package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
)

// legacyConfig makes OpenSSL 3 offer Blowfish to programs that do not ask for
// where it is.
const legacyConfig = `openssl_conf = settings
[settings]
providers = providers
[providers]
default = load
legacy = load
[load]
activate = 1
`

// legacy puts a command where OpenSSL has Blowfish.
func (b *bed) legacy(cmd *exec.Cmd) error {
	path, err := b.write("openssl.cnf", legacyConfig)
	cmd.Env = append(os.Environ(), "OPENSSL_CONF="+path)
	return err
}

// vtunPID is what vtund leaves when it is killed.
const vtunPID = "/var/run/vtund.server.pid"

// startVtun returns what starts vtun over TCP with that encryption and compression,
// or "no".
func startVtun(encrypt, compress string) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error {
		path, err := b.write("vtund.conf", vtunConfig(encrypt, compress))
		if err != nil {
			return err
		}
		server, err := tool("vtund", "-n", "-s", "-f", path, "-P", fmt.Sprint(port))
		if err != nil {
			return err
		}
		client, err := tool("vtund", "-n", "-f", path, "-P", fmt.Sprint(port), "bench", outerB.String())
		if err != nil {
			return err
		}
		for _, cmd := range []*exec.Cmd{server, client} {
			if err := b.legacy(cmd); err != nil {
				return err
			}
		}
		b.takeAway(vtunPID)
		if err := b.startBoth(ctx, server, client); err != nil {
			return err
		}
		return b.address(ctx, 0)
	}
}

// vtunConfig is the configuration of both ends.
func vtunConfig(encrypt, compress string) string {
	return fmt.Sprintf(`options {
  port %d;
  timeout 10;
}
bench {
  passwd bench;
  type tun;
  device %s;
  proto tcp;
  encrypt %s;
  compress %s;
  keepalive yes;
  persist no;
  stat no;
  speed 0;
}
`, port, tunnelDevice, encrypt, compress)
}

// takeAway removes a file or directory of the host in the end that is not there
// now.
func (b *bed) takeAway(path string) {
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		return
	}
	b.leftovers = append(b.leftovers, func() error {
		if err := os.Remove(path); !os.IsNotExist(err) {
			return err
		}
		return nil
	})
}

// startTinc starts tinc 1.0 in router mode, over TCP only, with Blowfish.
func startTinc(ctx context.Context, b *bed) error {
	var commands [2]*exec.Cmd
	var hosts [2]string
	for i, end := range []struct {
		name, more   string
		inner, outer netip.Addr
	}{{"b", "", innerB, outerB}, {"a", "ConnectTo = b\n", innerA, outerA}} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return fmt.Errorf("make tinc key: %w", err)
		}
		hosts[i] = tincHost(end.inner, end.outer) + pemText("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&key.PublicKey))
		if _, err := b.write(end.name+"/tinc.conf", tincConfig(end.name)+end.more); err != nil {
			return err
		}
		if _, err := b.write(end.name+"/rsa_key.priv", pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))); err != nil {
			return err
		}
		if commands[i], err = tool("tincd", "-D", "-d2", "-c", b.file(end.name), "--pidfile="+b.file(end.name+".pid")); err != nil {
			return err
		}
		if err := b.legacy(commands[i]); err != nil {
			return err
		}
	}
	for _, dir := range []string{"a", "b"} {
		for i, name := range []string{"b", "a"} {
			if _, err := b.write(dir+"/hosts/"+name, hosts[i]); err != nil {
				return err
			}
		}
	}
	if err := b.startBoth(ctx, commands[0], commands[1]); err != nil {
		return err
	}
	return b.address(ctx, 1500)
}

func tincConfig(name string) string {
	return fmt.Sprintf("Name = %s\nMode = router\nDeviceType = tun\nInterface = %s\nAddressFamily = ipv4\n", name, tunnelDevice)
}

// tincHost is what both ends know of one.
func tincHost(inner, outer netip.Addr) string {
	return fmt.Sprintf("Address = %v %d\nPort = %d\nSubnet = %v/32\nTCPOnly = yes\nCipher = blowfish\nDigest = sha256\n", outer, port, port, inner)
}
