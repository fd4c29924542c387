//go:build !linux

package tunnel

import "time"

var started = time.Now()

// bootTime is the time since the process started; whether a suspend counts is
// the system's choice.
func bootTime() time.Duration { return time.Since(started) }
