package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"vpnd/cmd/internal/settings"
)

// changing is what is made of files, and made anew when one of them has changed.
type changing[T any] struct {
	paths []string
	make  func() (T, error)

	mu     sync.Mutex
	states []os.FileInfo
	value  T
}

// get returns what the files say now. Several goroutines may call it.
func (c *changing[T]) get() (value T, err error) {
	states := make([]os.FileInfo, len(c.paths))
	for i, path := range c.paths {
		if states[i], err = os.Stat(path); err != nil {
			return value, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOf(states) {
		return c.value, nil
	}
	made, err := c.make()
	if err != nil {
		return value, err
	}
	c.states, c.value = states, made
	return made, nil
}

// isOf reports whether the value was made of these files. One that is changed in place
// twice at one time of the clock has another length, or is missed.
func (c *changing[T]) isOf(states []os.FileInfo) bool {
	if len(c.states) != len(states) {
		return false
	}
	for i, now := range states {
		old := c.states[i]
		if !os.SameFile(now, old) || now.Size() != old.Size() || !now.ModTime().Equal(old.ModTime()) || now.Mode() != old.Mode() {
			return false
		}
	}
	return true
}

// newNetworks returns the networks of a network file.
func newNetworks(path string) *changing[[]settings.Network] {
	return &changing[[]settings.Network]{
		paths: []string{path},
		make:  func() ([]settings.Network, error) { return settings.LoadNetworks(path) },
	}
}

// certificate is that of the server, also after it was renewed.
type certificate struct {
	changing[*tls.Certificate]
	good atomic.Pointer[tls.Certificate]
}

func newCertificate(path, keyPath string) *certificate {
	return &certificate{changing: changing[*tls.Certificate]{
		paths: []string{path, keyPath},
		make: func() (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(path, keyPath)
			if err != nil {
				return nil, fmt.Errorf("certificate %s with key %s: %w", path, keyPath, err)
			}
			return &c, nil
		},
	}}
}

// get returns the certificate. While its two files are being replaced, one after the
// other, that is the one before.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	now, err := c.changing.get()
	if err == nil {
		c.good.Store(now)
		return now, nil
	}
	if old := c.good.Load(); old != nil {
		return old, nil
	}
	return nil, err
}
