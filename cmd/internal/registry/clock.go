package registry

import "time"

// moment is a time of this host in milliseconds: since which start, and how long since
// then.
type moment struct {
	boot string // noBoot if the host does not tell
	at   time.Duration
}

// noBoot stands for the id of a boot that is not known. Time is that of the clock then.
const noBoot = "-"

// bootSize is the length of the id of a boot.
const bootSize = 36

// wallClock is for hosts that do not tell when they started. That somebody sets the
// clock is seen as a new boot, or as a time in which nobody was heard.
func wallClock() moment {
	return moment{noBoot, time.Duration(time.Now().UnixMilli()) * time.Millisecond}
}
