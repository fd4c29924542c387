package main

import "golang.org/x/sys/unix"

// How a terminal is read and set, the latter with what was typed ahead thrown away.
const (
	getTermios      = unix.TCGETS
	setTermiosFlush = unix.TCSETSF
	noKey           = 0
)
