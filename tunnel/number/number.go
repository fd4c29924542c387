package number

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// ID says whose numbers these are: the id of a link.
type ID [8]byte

// String returns the id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Call is what a client says about itself in a first flight.
type Call struct {
	// Number is used by no other flight.
	Number uint64
	// Before is the greatest number that the client may have used before, 0 if it
	// remembers none.
	Before uint64
}

const (
	digits  = 20 // of a number
	sumSize = 8  // bytes of a checksum
)

// sum is a checksum against damage, not against forgery.
func sum(text []byte) string {
	h := sha256.Sum256(text)
	return hex.EncodeToString(h[:sumSize])
}

func formatNumber(n uint64) string { return fmt.Sprintf("%0*d", digits, n) }

// errFormat says that a text is not what it should be. Who sees it knows where.
var errFormat = errors.New("damaged")

// parseNumber reads what formatNumber writes. Of anything else it makes something
// that is written in another way.
func parseNumber(text []byte) uint64 {
	n, _ := strconv.ParseUint(string(text), 10, 64)
	return n
}
