package lab

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc, the same on all Linux.
const clockTick = time.Second / 100

// Usage is what a process holds and has used.
type Usage struct {
	Memory  int64 // resident bytes
	CPU     time.Duration
	Threads int
	Files   int // open descriptors
}

// Usage returns what the process holds and has used up to now.
func (p *Process) Usage() (Usage, error) {
	if p.gone() {
		return Usage{}, fmt.Errorf("read usage of %s: %w", p, os.ErrProcessDone)
	}
	dir := fmt.Sprintf("/proc/%d", p.PID())
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Usage{}, fmt.Errorf("read usage of %s: %w", p, err)
	}
	u, err := parseStat(string(stat))
	if err != nil {
		return Usage{}, fmt.Errorf("read usage of %s: %w", p, err)
	}
	files, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return Usage{}, fmt.Errorf("count descriptors of %s: %w", p, err)
	}
	u.Files = len(files)
	return u, nil
}

// parseStat reads /proc/PID/stat, see proc(5). The second field is a name in
// parentheses that may itself contain blanks and parentheses.
func parseStat(stat string) (Usage, error) {
	const utime, stime, threads, rss = 11, 12, 17, 21 // counted behind the name
	name := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[name+1:])
	if name < 0 || len(fields) <= rss {
		return Usage{}, fmt.Errorf("too few fields in %q", stat)
	}
	var errs []error
	number := func(i int) int64 {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		errs = append(errs, err)
		return n
	}
	u := Usage{
		Memory:  number(rss) * int64(os.Getpagesize()),
		CPU:     time.Duration(number(utime)+number(stime)) * clockTick,
		Threads: int(number(threads)),
	}
	return u, errors.Join(errs...)
}
