package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hubEnv tells this program to be the hub, at the address that it holds.
const hubEnv = "VPND_SCALE_HUB"

// garbage is as in vpnd.
const garbage = 25

// beHub is the other process. It says where it listens, and works until it is
// terminated.
func beHub(address string) error {
	debug.SetGCPercent(garbage)
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	t, err := newHub(l, newSilent())
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return t.Run(ctx)
}

// hub is the other process as this one sees it.
type hub struct {
	cmd     *exec.Cmd
	address string
}

// startHub starts a hub at an address, and returns when it listens.
func startHub(address string) (*hub, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), hubEnv+"="+address)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		cmd.Process.Kill()
		return nil, fmt.Errorf("start hub: %w", err)
	}
	return &hub{cmd, strings.TrimSpace(line)}, nil
}

// kill ends the hub without a word to its clients.
func (h *hub) kill() {
	h.cmd.Process.Kill()
	h.cmd.Wait()
}

// resident returns the hub's resident memory in bytes.
func (h *hub) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", h.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// tick is the unit of CPU time in /proc.
const tick = time.Second / 100

// used returns the CPU time that the hub has used.
func (h *hub) used() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var sum time.Duration
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}
