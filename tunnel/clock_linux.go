package tunnel

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is the time since the host started, suspend included, so that a
// laptop notices on resume how long it was gone.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // every Linux that Go supports has it
	}
	return time.Duration(ts.Nano())
}
