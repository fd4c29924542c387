package crypto

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
)

// MixRandom returns the kernel's random bytes with those of device mixed in
// (exclusive or): a weak or hostile device makes them no worse.
func MixRandom(device io.Reader) io.Reader { return mixed{device} }

type mixed struct{ device io.Reader }

func (m mixed) Read(p []byte) (int, error) {
	if _, err := io.ReadFull(m.device, p); err != nil {
		return 0, fmt.Errorf("read random device: %w", err)
	}
	pad := make([]byte, len(p))
	rand.Read(pad) // never fails
	return subtle.XORBytes(p, p, pad), nil
}
