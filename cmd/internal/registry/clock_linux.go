package registry

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hostClock is the time since the host started, suspend included.
func hostClock() moment {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	boot := strings.TrimSpace(string(id))
	var ts unix.Timespec
	if err != nil || len(boot) != bootSize || unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return wallClock() // in a cage without /proc
	}
	return moment{boot, time.Duration(ts.Nano()).Truncate(time.Millisecond)}
}
