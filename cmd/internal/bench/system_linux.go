package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/lab"
)

// clockTicks is how many units of /proc/stat make a second, the same on all Linux.
const clockTicks = 100

// systemCPU returns the seconds that the CPUs have worked since the start.
func systemCPU() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseBusy(string(text))
}

// parseBusy reads the first line of /proc/stat, see proc(5).
func parseBusy(stat string) (float64, error) {
	const idle, iowait, steal = 3, 4, 7
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 1+steal+1 || f[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var sum int64
	for i, text := range f[1 : 1+steal] { // what follows is not work, or counted already
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i != idle && i != iowait {
			sum += n
		}
	}
	return float64(sum) / clockTicks, nil
}

const allowedCongestion = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"

// setCongestion sets the congestion control of namespaces. They may choose only
// among what the host allows to everybody, so it allows more for this moment.
func setCongestion(name string, all ...*lab.Namespace) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("set congestion control %q (sysctl net.ipv4.tcp_available_congestion_control shows what there is): %w", name, err)
		}
	}()
	before, err := os.ReadFile(allowedCongestion)
	if err != nil {
		return err
	}
	if list := strings.Fields(string(before)); !slices.Contains(list, name) {
		list = append(list, name)
		if err := os.WriteFile(allowedCongestion, []byte(strings.Join(list, " ")), 0); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.WriteFile(allowedCongestion, before, 0)) }()
	}
	for _, n := range all {
		if err := n.Sysctl("ipv4/tcp_congestion_control", name); err != nil {
			return err
		}
	}
	return nil
}

// describe says under which circumstances the figures come about.
func describe(o options) string {
	carries := "random bytes"
	if o.text {
		carries = "text"
	}
	procs := "all"
	if o.procs > 0 {
		procs = strconv.Itoa(o.procs)
	}
	return machine() + fmt.Sprintf("%d rounds, %v a stream; TCP %s; %s unless the name says text; GOMAXPROCS of the daemons: %s",
		o.runs, o.time, o.cc, carries, procs)
}

// machine is a line about where and when.
func machine() string {
	return fmt.Sprintf("%s; %s; %d CPUs %s; load average at the start %s; %s\n",
		time.Now().Format("2006-01-02 15:04"), kernel(), runtime.NumCPU(), cpuModel(), loadAverage(), runtime.Version())
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown kernel"
	}
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // it only goes into the heading
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg") // it only goes into the heading
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
