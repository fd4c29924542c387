package registry

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"vpnd/crypto"
)

// A saved table is
//
//	"vpnd-table-1\n" | sum 32 | answer
//
// where sum is SHA-256 of nexus's public key, the gateway's, and the answer: a table of
// another mesh or another gateway is none.
const tableTag = "vpnd-table-1\n"

// MaxSaved bounds a saved table.
const MaxSaved = len(tableTag) + sha256.Size + MaxAnswer

var errSaved = errors.New("it is damaged, or belongs to another gateway or another nexus")

// AppendTable returns a table in the form that ParseTable reads.
func AppendTable(t *Table, own, server crypto.PublicKey) []byte {
	text := (&answer{status: done, Table: *t}).encode()
	sum := tableSum(own, server, text)
	return append(append([]byte(tableTag), sum[:]...), text...)
}

// ParseTable reads a table that the same gateway saved from the same nexus.
func ParseTable(saved []byte, own, server crypto.PublicKey) (*Table, error) {
	rest, _ := bytes.CutPrefix(saved, []byte(tableTag)) // without it the sum is not right
	if len(rest) < sha256.Size {
		return nil, errSaved
	}
	text := rest[sha256.Size:]
	if sum := tableSum(own, server, text); !bytes.Equal(sum[:], rest[:sha256.Size]) {
		return nil, errSaved
	}
	a, err := parseAnswer(text)
	if err != nil {
		return nil, fmt.Errorf("saved table: %w", err)
	}
	if a.status != done {
		return nil, errSaved
	}
	return &a.Table, nil
}

func tableSum(own, server crypto.PublicKey, text []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(server[:])
	h.Write(own[:])
	h.Write(text)
	return [sha256.Size]byte(h.Sum(nil))
}
