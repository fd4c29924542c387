package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// outputGrace is how long output is read on after a process ended: a
	// daemon that it left behind may hold the pipe for ever. What a busy
	// machine has not read by then is lost.
	outputGrace = 10 * time.Second
	// killLimit bounds the wait for a killed process to be gone.
	killLimit = 10 * time.Second
)

// ExitUnknown is the exit code of an adopted process, which is told to its
// parent only.
const ExitUnknown = -1

// Process is a running or ended program in a namespace. It ends with the
// lab at the latest. It is signalled through a process descriptor, so never
// hits another process that got its number.
type Process struct {
	// Stdout and Stderr hold the output, unless the caller had sent it
	// elsewhere or the process was adopted.
	Stdout, Stderr *Output

	name string
	pid  int
	proc *os.Process
	done chan struct{} // closed when the process is gone
	code int           // valid when done is closed
}

// Start starts cmd in the namespace, in a process group of its own. It is
// killed when this program dies.
func (n *Namespace) Start(cmd *exec.Cmd) (*Process, error) {
	p := prepare(cmd)
	started := make(chan error)
	go func() {
		// Pdeathsig fires when the thread that forked ends, so that thread
		// is kept until the process is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := n.Do(cmd.Start)
		started <- err
		if err == nil {
			_ = cmd.Wait() // tells what the state tells, or of the grace
			p.end(exitCode(cmd.ProcessState))
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start in %s: %w", n.name, err)
	}
	p.proc, p.pid = cmd.Process, cmd.Process.Pid
	n.lab.onClose(p.kill)
	return p, nil
}

// Adopt waits until pidfile names a process that runs the program exe in
// this namespace, such as a daemon that detached itself.
func (n *Namespace) Adopt(ctx context.Context, pidfile, exe string) (*Process, error) {
	p := newProcess(exe)
	err := poll(ctx, func() (err error) {
		p.proc, err = n.findByPidfile(pidfile, exe)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("adopt process of %s: %w", pidfile, err)
	}
	p.pid = p.proc.Pid
	go func() {
		_ = waitGone(p.proc, -1) // fails only without process descriptors, which findOurs would not
		p.end(ExitUnknown)
	}()
	n.lab.onClose(func() error { return errors.Join(p.kill(), p.proc.Release()) })
	return p, nil
}

// prepare makes a command the child of a lab.
func prepare(cmd *exec.Cmd) *Process {
	p := newProcess(cmd.Path)
	if cmd.Stdout == nil {
		cmd.Stdout = p.Stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.Stderr
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.WaitDelay = outputGrace
	return p
}

func newProcess(name string) *Process {
	return &Process{Stdout: newOutput(), Stderr: newOutput(), name: name, done: make(chan struct{})}
}

func (p *Process) end(code int) {
	p.code = code
	p.Stdout.end()
	p.Stderr.end()
	close(p.done)
}

// PID returns the process number.
func (p *Process) PID() int { return p.pid }

// Done returns a channel that is closed when the process is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

func (p *Process) gone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends sig; os.ErrProcessDone says that the process is gone.
func (p *Process) Signal(sig os.Signal) error {
	err := os.ErrProcessDone
	if !p.gone() { // one that its parent has not yet waited for still takes signals
		err = p.proc.Signal(sig)
	}
	if err != nil {
		return fmt.Errorf("send %s to %s: %w", sig, p, err)
	}
	return nil
}

// Wait returns the exit code once the process is gone: 128 and the signal
// after a deadly one, as shells have it.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.code, nil
	case <-ctx.Done():
		return ExitUnknown, fmt.Errorf("wait for %s: %w", p, context.Cause(ctx))
	}
}

// String returns the program and process number.
func (p *Process) String() string {
	return fmt.Sprintf("%s (pid %d)", p.name, p.pid)
}

// kill ends the process with its lab.
func (p *Process) kill() error {
	err := p.Signal(syscall.SIGKILL)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	_, err = p.Wait(ctx)
	return err
}

func exitCode(s *os.ProcessState) int {
	if ws := s.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}

func (n *Namespace) findByPidfile(pidfile, exe string) (*os.Process, error) {
	text, err := os.ReadFile(pidfile)
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, err
	}
	return n.findOurs(pid, func() error {
		return sameFile(fmt.Sprintf("/proc/%d/exe", pid), exe)
	})
}

// findOurs opens the process pid and then looks whether it is in the
// namespace and passes check: in that order, a number that changes hands
// meanwhile does no harm.
func (n *Namespace) findOurs(pid int, check func() error) (*os.Process, error) {
	proc, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(n.holds(pid), check()); err != nil {
		return nil, errors.Join(err, proc.Release())
	}
	return proc, nil
}

// holds returns nil if the process is in the namespace.
func (n *Namespace) holds(pid int) error {
	return sameFile(fmt.Sprintf("/proc/%d/ns/net", pid), fmt.Sprintf("/proc/self/fd/%d", int(n.fd)))
}

func sameFile(a, b string) error {
	infoA, err := os.Stat(a)
	if err != nil {
		return err
	}
	infoB, err := os.Stat(b)
	if err != nil {
		return err
	}
	if !os.SameFile(infoA, infoB) {
		return fmt.Errorf("%s is not %s", a, b)
	}
	return nil
}

// waitGone waits until a process that need not be a child is gone. A
// negative limit is none.
func waitGone(proc *os.Process, limit time.Duration) error {
	var n int
	var err error
	timeout := -1
	if limit >= 0 {
		timeout = int(limit.Milliseconds())
	}
	handleErr := proc.WithHandle(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			if n, err = unix.Poll(fds, timeout); err != unix.EINTR {
				return
			}
		}
	})
	if err := errors.Join(handleErr, err); err != nil {
		return fmt.Errorf("wait for pid %d: %w", proc.Pid, err)
	}
	if n == 0 {
		return fmt.Errorf("pid %d does not end", proc.Pid)
	}
	return nil
}

// PIDs returns the processes in the namespace, those of this program left out.
func (n *Namespace) PIDs() ([]int, error) {
	procs, err := n.strays()
	if err != nil {
		return nil, fmt.Errorf("list processes of %s: %w", n.name, err)
	}
	var pids []int
	for _, p := range procs {
		pids = append(pids, p.Pid)
		_ = p.Release()
	}
	return pids, nil
}

// killStrays kills what processes of the lab have left in the namespace,
// such as hooks and daemons that nobody adopted. Nobody else can be in a
// namespace without a name.
func (n *Namespace) killStrays() error {
	for {
		strays, err := n.strays()
		if err != nil || len(strays) == 0 {
			return err
		}
		for _, proc := range strays {
			_ = proc.Kill() // it may be gone, waitGone says
			err = errors.Join(err, waitGone(proc, killLimit), proc.Release())
		}
		if err != nil {
			return err
		}
	}
}

func (n *Namespace) strays() ([]*os.Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []*os.Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || n.holds(pid) != nil {
			continue
		}
		if proc, err := n.findOurs(pid, func() error { return nil }); err == nil {
			found = append(found, proc)
		}
	}
	return found, nil
}
