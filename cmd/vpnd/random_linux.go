package main

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// isRandom checks that a file is /dev/random, /dev/urandom or a hardware generator
// (/dev/hwrng), by device number: the name says nothing.
func isRandom(path string, info os.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&os.ModeCharDevice == 0 {
		return fmt.Errorf("%s is not a random device", path)
	}
	dev := uint64(stat.Rdev)
	switch [2]uint32{unix.Major(dev), unix.Minor(dev)} {
	case [2]uint32{1, 8}, [2]uint32{1, 9}, [2]uint32{10, 183}:
		return nil
	}
	return fmt.Errorf("%s is not a random device: use /dev/urandom", path)
}
