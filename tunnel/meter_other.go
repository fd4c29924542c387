//go:build !linux

package tunnel

import "net"

// meterOf returns what measures a connection, nil if nobody can: here nobody asks the
// kernel.
func meterOf(conn net.Conn) meter {
	m, _ := conn.(meter)
	return m
}
