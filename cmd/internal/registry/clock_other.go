//go:build !linux

package registry

// hostClock is the clock.
func hostClock() moment { return wallClock() }
