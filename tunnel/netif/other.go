//go:build !linux

package netif

import (
	"fmt"

	"golang.zx2c4.com/wireguard/tun"
)

// OpenTUN works only on Linux.
func OpenTUN(string) (tun.Device, string, error) {
	return nil, "", fmt.Errorf("open TUN device: %w: only on Linux", ErrUnavailable)
}

func openKernel() (kernel, error) {
	return nil, fmt.Errorf("configure interfaces: %w: only on Linux", ErrUnavailable)
}
