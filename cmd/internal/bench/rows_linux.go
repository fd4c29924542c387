package main

import (
	"context"
	"strings"
)

// Kinds of rows.
const (
	wire      = iota // no tunnel at all
	reference        // not a VPN
	own              // vpnd
	tcpPeer
	udpPeer
)

// row is one way from A to B.
type row struct {
	name string
	kind int
	text bool // what it carries compresses
	// start starts both ends. The bed waits for the tunnel to work, and ends it.
	start func(ctx context.Context, b *bed) error
}

func (r row) called() string { return r.name }

// Names that the goals refer to.
const (
	nameEmpty      = "empty"
	nameBlowfish   = "vpnd-blowfish"
	nameAES        = "vpnd-aes-256-gcm"
	nameChaCha     = "vpnd-chacha20-poly1305"
	nameOpenVPNBF  = "openvpn-bf-cbc"
	nameOpenVPNGCM = "openvpn-aes-256-gcm"
	nameVtunBF     = "vtun-blowfish128ecb"
	nameWireGuard  = "wireguard-go"

	// Added to the name of a vpnd: compress off, and text where the others carry
	// random bytes.
	suffixText = "-text"
	suffixOff  = "-off"
)

// rows returns all rows; text says what they carry.
func rows(text bool) []row {
	list := []row{
		{name: "veth", kind: wire, start: startNothing},
		{name: nameEmpty, kind: reference, start: startEmpty},
		vpndRow("blowfish", "auto"),
		vpndRow("aes-256-gcm", "auto"),
		vpndRow("chacha20-poly1305", "auto"),
		vpndRow("blowfish", "off"),
		vpndRow("aes-256-gcm", "off"),
		{name: nameOpenVPNBF, kind: tcpPeer, start: startOpenVPN("BF-CBC")},
		{name: nameOpenVPNGCM, kind: tcpPeer, start: startOpenVPN("AES-256-GCM")},
		{name: "vtun-plain", kind: tcpPeer, start: startVtun("no", "no")},
		{name: nameVtunBF, kind: tcpPeer, start: startVtun("blowfish128ecb", "no")},
		{name: "tinc-blowfish", kind: tcpPeer, start: startTinc},
		{name: "ssh-aes128-gcm", kind: tcpPeer, start: startSSH("no")},
		{name: nameWireGuard, kind: udpPeer, start: startWireGuard},
		{name: "fastd-salsa2012+umac", kind: udpPeer, start: startFastd},
	}
	for i := range list {
		list[i].text = text
	}
	if !text {
		list = append(list, textRows()...)
	}
	return list
}

// textRows are what compression is judged by when the other rows carry random
// bytes.
func textRows() []row {
	list := []row{
		vpndRow("blowfish", "auto"), vpndRow("blowfish", "off"),
		vpndRow("aes-256-gcm", "auto"), vpndRow("aes-256-gcm", "off"),
	}
	for i := range list {
		list[i].text = true
		base, off := strings.CutSuffix(list[i].name, suffixOff)
		list[i].name = base + suffixText
		if off {
			list[i].name += suffixOff
		}
	}
	return list
}

func vpndRow(cipher, compress string) row {
	name := "vpnd-" + cipher
	if compress == "off" {
		name += suffixOff
	}
	return row{name: name, kind: own, start: startVpnd(cipher, compress)}
}
