package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os/exec"
	"strings"
	"time"
)

// startOpenVPN returns what starts OpenVPN over TCP, point to point, with
// certificates and without its kernel module.
func startOpenVPN(cipher string) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error {
		server, errServer := newIdentity("server")
		client, errClient := newIdentity("client")
		if errServer != nil || errClient != nil {
			return fmt.Errorf("make certificates: %w, %w", errServer, errClient)
		}
		listen := fmt.Sprintf("proto tcp-server\nlport %d\nifconfig %v %v\ntls-server\ndh none\n", port, innerB, innerA)
		call := fmt.Sprintf("proto tcp-client\nremote %v %d\nnobind\nifconfig %v %v\ntls-client\n", outerB, port, innerA, innerB)
		commands := [2]*exec.Cmd{}
		for i, text := range []string{listen + openVPNConfig(cipher, server, client), call + openVPNConfig(cipher, client, server)} {
			path, err := b.write(fmt.Sprintf("openvpn%d.conf", i), text)
			if err != nil {
				return err
			}
			if commands[i], err = tool("openvpn", "--config", path); err != nil {
				return err
			}
		}
		if err := b.startBoth(ctx, commands[0], commands[1]); err != nil {
			return err
		}
		return b.address(ctx, 0)
	}
}

// openVPNConfig is what the configurations of both ends have in common. The lab
// gives the interface its addresses.
func openVPNConfig(cipher string, self, peer identity) string {
	providers := ""
	if strings.HasPrefix(cipher, "BF") {
		providers = "providers legacy default\n" // where OpenSSL 3 has Blowfish
	}
	return fmt.Sprintf(`%sdev %s
dev-type tun
ifconfig-noexec
disable-dco
tcp-nodelay
keepalive 10 120
connect-retry 1 1
auth SHA256
cipher %s
data-ciphers %s
data-ciphers-fallback %s
verb 3
<cert>
%s</cert>
<key>
%s</key>
<peer-fingerprint>
%s
</peer-fingerprint>
`, providers, tunnelDevice, cipher, cipher, cipher, self.cert, self.key, peer.fingerprint)
}

// identity is a certificate that is known by its fingerprint.
type identity struct{ cert, key, fingerprint string }

func newIdentity(name string) (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.AddDate(0, 0, -1),
		NotAfter:     now.AddDate(0, 0, 7),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return identity{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return identity{}, err
	}
	sum := sha256.Sum256(cert)
	return identity{
		cert:        pemText("CERTIFICATE", cert),
		key:         pemText("PRIVATE KEY", private),
		fingerprint: strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":"),
	}, nil
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
