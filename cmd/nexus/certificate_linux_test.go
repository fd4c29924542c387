package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"
)

// certificate writes NAME.crt and NAME.key, made for nobody in particular, and not
// valid any more: that of a nexus proves nothing.
func (w *world) certificate(name string) {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(w.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(-time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(w.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(w.t, err)
	w.write(name+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	w.write(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

// The server bounds connections, so a connection has one request at a time: none is
// HTTP/2.
func TestHTTP1Only(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "lahm")
	w.certificate("nexus")
	w.serve("certificate_path = nexus.crt", "certificate_key_path = nexus.key")
	c, err := tls.Dial("tcp", w.host(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	must(t, err)
	defer c.Close()
	if got := c.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("the connection is of the protocol %q", got)
	}
}

// A certificate that was renewed is used without a restart.
func TestCertificateRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "lahm")
	w.certificate("first")
	w.serve("certificate_path = first.crt", "certificate_key_path = first.key")
	shown := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", strings.Trim(strings.TrimPrefix(w.url, "https:"), "/"), &tls.Config{InsecureSkipVerify: true})
		must(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := shown(); got != "first" {
		t.Errorf("the certificate is that of %s", got)
	}
	w.certificate("second")
	must(t, os.Rename(w.file("second.key"), w.file("first.key")))
	if got := shown(); got != "first" {
		t.Errorf("with half of a new one the certificate is that of %s", got)
	}
	must(t, os.Rename(w.file("second.crt"), w.file("first.crt")))
	if got := shown(); got != "second" {
		t.Errorf("after it was renewed the certificate is that of %s", got)
	}
}
