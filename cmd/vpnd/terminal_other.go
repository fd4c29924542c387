//go:build !linux

package main

import "golang.org/x/sys/unix"

// How a terminal is read and set, the latter with what was typed ahead thrown away.
const (
	getTermios      = unix.TIOCGETA
	setTermiosFlush = unix.TIOCSETAF
	noKey           = 0xff
)
