//go:build !linux

package netif

import (
	"errors"
	"fmt"

	"golang.zx2c4.com/wireguard/tun"
)

// TUN is a TUN device.
type TUN struct{ tun.Device }

// OpenTUN works only on Linux.
func OpenTUN(string) (*TUN, string, error) {
	return nil, "", fmt.Errorf("open TUN device: %w: only on Linux", ErrUnavailable)
}

// Read is never called.
func (t *TUN) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// WriteWhole is never called.
func (t *TUN) WriteWhole([]byte) error { return errors.ErrUnsupported }

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
