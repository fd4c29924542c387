package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
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
	u, err := usageOf(p.PID())
	if err != nil {
		return Usage{}, fmt.Errorf("read usage of %s: %w", p, err)
	}
	return u, nil
}

// Usage returns what the processes in the namespace together hold and have used
// up to now, those of this program left out.
func (n *Namespace) Usage() (Usage, error) {
	pids, err := n.PIDs()
	if err != nil {
		return Usage{}, err
	}
	var all Usage
	for _, pid := range pids {
		u, err := usageOf(pid)
		if ended(err) {
			continue
		}
		if err != nil {
			return Usage{}, fmt.Errorf("read usage in %s: %w", n.name, err)
		}
		all.Memory += u.Memory
		all.CPU += u.CPU
		all.Threads += u.Threads
		all.Files += u.Files
	}
	return all, nil
}

// ended reports whether an error of /proc says that the process is gone.
func ended(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

func usageOf(pid int) (Usage, error) {
	dir := fmt.Sprintf("/proc/%d", pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Usage{}, err
	}
	u, err := parseStat(string(stat))
	if err != nil {
		return Usage{}, err
	}
	files, err := os.ReadDir(dir + "/fd")
	u.Files = len(files)
	return u, err
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
