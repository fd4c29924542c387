//go:build !linux

package link

import (
	"errors"
	"syscall"
)

// set has nothing to do for the zero Options; the rest is only on Linux.
func (o Options) set(syscall.RawConn, bool) error {
	if o.TOS != 0 || o.Priority != 0 {
		return errors.New("ipopts works only on Linux")
	}
	return nil
}

func reuseAddress(syscall.RawConn, bool) error { return nil }
