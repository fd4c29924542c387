package crypto

import "encoding/hex"

// lowOrder are the points of X25519 that give no secret with any private key, in each
// of their encodings without the highest bit: 0, 1, the two of order 8, p-1, p and p+1
// for p = 2^255-19. To look there costs nothing beside a multiplication, and a list of
// many keys is read often.
var lowOrder = [...]string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// isLowOrder reports whether a point without its highest bit is one of them.
func isLowOrder(point []byte) bool {
	text := hex.EncodeToString(point)
	for _, low := range lowOrder {
		if text == low {
			return true
		}
	}
	return false
}
