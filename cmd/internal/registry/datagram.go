package registry

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"vpnd/crypto"
)

const (
	nudgeLetter = 'N'
	checkLetter = 'C'
	proofLetter = 'P'

	nudgeSize = 1 + 8 + crypto.SignSize
	checkSize = 1 + proofSize + crypto.SignSize
	// MaxDatagram is more than any datagram of nexus has.
	MaxDatagram = 64
)

// signOf returns the sign of nexus for a gateway in an epoch, which the gateway is told.
func signOf(own *crypto.Identity, gateway crypto.PublicKey, epoch Epoch) crypto.Sign {
	return own.Sign(slices.Concat([]byte{nudgeLetter}, epoch[:], gateway[:]))
}

// proofOf returns what a gateway has to show in an epoch to have this endpoint
// published. Only nexus can make it.
func proofOf(own *crypto.Identity, gateway crypto.PublicKey, epoch Epoch, endpoint netip.AddrPort) [proofSize]byte {
	addr := endpoint.Addr().As16()
	d := binary.BigEndian.AppendUint16(addr[:], endpoint.Port())
	return [proofSize]byte(own.Sign(slices.Concat([]byte{proofLetter}, epoch[:], gateway[:])).Tag(d))
}

// nudge returns a nudge for the gateway that has the sign.
func nudge(sign crypto.Sign, serial uint64) []byte {
	d := append(make([]byte, 0, nudgeSize), nudgeLetter)
	d = binary.BigEndian.AppendUint64(d, serial)
	return append(d, sign.Tag(d)...)
}

// check returns a check for the gateway that has the sign.
func check(sign crypto.Sign, proof [proofSize]byte) []byte {
	d := append(make([]byte, 0, checkSize), checkLetter)
	d = append(d, proof[:]...)
	return append(d, sign.Tag(d)...)
}
