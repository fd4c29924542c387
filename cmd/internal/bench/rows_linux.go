package main

import (
	"context"
	"fmt"
	"path"
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
		{name: "vtun-plain", kind: tcpPeer, start: startVtun("no")},
		{name: nameVtunBF, kind: tcpPeer, start: startVtun("blowfish128ecb")},
		{name: "tinc-blowfish", kind: tcpPeer, start: startTinc},
		{name: "ssh-aes128-gcm", kind: tcpPeer, start: startSSH},
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

// choose returns the rows that one of the patterns matches, all for none.
func choose(all []row, patterns string) ([]row, error) {
	if patterns == "" {
		return all, nil
	}
	wanted := make([]bool, len(all))
	for p := range strings.SplitSeq(patterns, ",") {
		found := false
		for i, r := range all {
			match, err := path.Match(p, r.name)
			if err != nil {
				return nil, fmt.Errorf("-only %s: %w", p, err)
			}
			found = found || match
			wanted[i] = wanted[i] || match
		}
		if !found {
			return nil, fmt.Errorf("-only %s: there is no such row; there are %s", p, names(all))
		}
	}
	var chosen []row
	for i, r := range all {
		if wanted[i] {
			chosen = append(chosen, r)
		}
	}
	return chosen, nil
}

func names(all []row) string {
	var list []string
	for _, r := range all {
		list = append(list, r.name)
	}
	return strings.Join(list, ", ")
}
