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

// watcher hears nothing.
type watcher struct{}

func openWatcher() (*watcher, error) {
	return nil, fmt.Errorf("watch interfaces: %w: only on Linux", ErrUnavailable)
}

func (w *watcher) close() {}

func (w *watcher) run(func(change)) {}

func openKernel() (kernel, error) {
	return nil, fmt.Errorf("configure interfaces: %w: only on Linux", ErrUnavailable)
}
