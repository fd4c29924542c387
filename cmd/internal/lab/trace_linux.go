package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Watcher sees each system call of a traced program twice: when it is about to
// be made, and when it is Done. It runs while the calling thread stands still;
// true kills the process right there. Calls come one after the other.
type Watcher func(*Call) bool

// Tracing says how a program is traced.
type Tracing struct {
	Watch Watcher // may be nil
	// Children are traced as well. Otherwise they are let go as soon as they are
	// born.
	Children bool
	// HideVDSO makes the program ask the kernel for the time, by calls that a
	// Watcher sees, instead of reading it from memory.
	HideVDSO bool
}

// Trace is a program that runs under ptrace. All that concerns ptrace is done by
// one thread, as the kernel demands.
type Trace struct {
	*Process
	options Tracing
	watch   atomic.Pointer[Watcher]
	threads map[int]*thread // by number
	ended   chan struct{}
}

// thread is one traced thread.
type thread struct {
	pid   int
	begun bool  // the stop that each one begins with is over
	call  *Call // the call that it is in
}

// Trace starts cmd like Start, but under ptrace.
func (n *Namespace) Trace(cmd *exec.Cmd, options Tracing) (*Trace, error) {
	t := &Trace{Process: prepare(cmd), options: options, threads: make(map[int]*thread), ended: make(chan struct{})}
	t.Watch(options.Watch)
	cmd.SysProcAttr.Ptrace = true
	started := make(chan error)
	go onChildless(func() {
		err := n.Do(cmd.Start)
		if err == nil {
			t.begin(n, cmd)
		}
		started <- err
		if err == nil {
			t.follow(cmd)
			close(t.ended)
		}
	})
	if err := <-started; err != nil {
		return nil, fmt.Errorf("trace in %s: %w", n.name, err)
	}
	return t, nil
}

// onChildless calls f on a thread that has no children, so that what f waits for are
// its own. A thread that has started a process stays its parent.
func onChildless(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WNOTHREAD|unix.WALL, nil)
	if err == unix.ECHILD {
		f()
		return
	}
	done := make(chan struct{})
	go func() { // on another thread, as this one is taken until then
		defer close(done)
		onChildless(f)
	}()
	<-done
}

// Watch replaces the watcher. The one before may still be at work for a moment.
func (t *Trace) Watch(w Watcher) {
	if w == nil {
		w = func(*Call) bool { return false }
	}
	t.watch.Store(&w)
}

// Ended returns a channel that is closed when all that was traced is gone, children
// too.
func (t *Trace) Ended() <-chan struct{} { return t.ended }

// follow waits for the stops of all threads until none is left. It waits for
// those of this thread only: others of this program have children, too.
func (t *Trace) follow(cmd *exec.Cmd) {
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case err == unix.EINTR:
		case err != nil: // ECHILD
			return
		case ws.Stopped():
			t.stopped(tid, ws)
		default:
			delete(t.threads, tid)
			if tid == t.pid {
				go t.finish(cmd, ws)
			}
		}
	}
}

// finish ends the process with its output.
func (t *Trace) finish(cmd *exec.Cmd, ws unix.WaitStatus) {
	_ = cmd.Wait() // the process itself has been waited for
	code := ws.ExitStatus()
	if ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	t.end(code)
}

const (
	syscallStop = unix.SIGTRAP | 0x80 // what PTRACE_O_TRACESYSGOOD makes of it
	traceFlags  = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_TRACECLONE |
		unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_EXITKILL
)

// begin is the stop of the main thread after exec.
func (t *Trace) begin(n *Namespace, cmd *exec.Cmd) {
	t.proc, t.pid = cmd.Process, cmd.Process.Pid
	n.lab.onClose(t.kill)
	var ws unix.WaitStatus
	if _, err := unix.Wait4(t.pid, &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
		return // killed already: follow finds it gone
	}
	_ = unix.PtraceSetOptions(t.pid, traceFlags)
	t.threads[t.pid] = &thread{pid: t.pid, begun: true}
	t.executed(t.pid)
	t.resume(t.pid, 0)
}

// stopped handles one stop of one thread. A thread may be killed at any moment;
// then all that is tried with it fails, and follow gets to know.
func (t *Trace) stopped(tid int, ws unix.WaitStatus) {
	th := t.threads[tid]
	if th == nil {
		if th = t.admit(tid); th == nil {
			_ = unix.PtraceDetach(tid)
			return
		}
	}
	signal := ws.StopSignal()
	switch {
	case signal == syscallStop:
		t.inCall(tid, th)
		signal = 0
	case signal == unix.SIGSTOP && !th.begun:
		th.begun = true
		signal = 0
	case ws.TrapCause() == unix.PTRACE_EVENT_EXEC:
		th.call = nil // it was another thread's
		t.executed(tid)
		signal = 0
	case ws.TrapCause() > 0:
		signal = 0
	}
	t.resume(tid, int(signal))
}

// admit takes a new thread in, unless it is a process that nobody watches.
func (t *Trace) admit(tid int) *thread {
	pid := processOf(tid)
	known := t.options.Children
	for _, th := range t.threads {
		known = known || th.pid == pid
	}
	if !known {
		return nil
	}
	th := &thread{pid: pid}
	t.threads[tid] = th
	return th
}

func (t *Trace) resume(tid, signal int) {
	_ = unix.PtraceSyscall(tid, signal)
}

// processOf returns the process of a thread, or 0 when it is gone.
func processOf(tid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	_, after, _ := strings.Cut(string(text), "\nTgid:\t")
	number, _, _ := strings.Cut(after, "\n")
	pid, _ := strconv.Atoi(number)
	return pid
}

// callInfo is struct ptrace_syscall_info, the same on every processor.
type callInfo struct {
	op     uint8
	_      [3]uint8
	arch   uint32
	ip, sp uint64
	// number and arguments of an entry; result of an exit
	data [8]uint64
}

func info(tid int) (i callInfo, err error) {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(i), uintptr(unsafe.Pointer(&i)), 0, 0)
	if errno != 0 {
		return i, errno
	}
	return i, nil
}

// inCall shows a call to the watcher.
func (t *Trace) inCall(tid int, th *thread) {
	i, err := info(tid)
	if err != nil {
		return
	}
	switch {
	case i.op == unix.PTRACE_SYSCALL_INFO_ENTRY:
		th.call = &Call{PID: th.pid, tid: tid, Number: i.data[0], Args: [6]uint64(i.data[1:7])}
	case i.op == unix.PTRACE_SYSCALL_INFO_EXIT && th.call != nil:
		th.call.Done, th.call.Result = true, int64(i.data[0])
	default:
		return
	}
	if (*t.watch.Load())(th.call) {
		_ = unix.Kill(th.pid, unix.SIGKILL)
	}
}

// executed is the stop after exec: the new program has not run yet.
func (t *Trace) executed(tid int) {
	if !t.options.HideVDSO {
		return
	}
	if err := hideVDSO(tid); err != nil {
		fmt.Fprintln(t.Stderr, "trace: hide the vDSO:", err)
		_ = unix.Kill(tid, unix.SIGKILL)
	}
}

// Types of entries in the auxiliary vector, see linux/auxvec.h.
const (
	auxEnd    = 0
	auxIgnore = 1
	auxVDSO   = 33
)

// hideVDSO strikes the vDSO out of the auxiliary vector, which lies on the stack
// behind the arguments and the environment.
func hideVDSO(tid int) error {
	i, err := info(tid)
	if err != nil {
		return err
	}
	c := Call{tid: tid}
	at := i.sp + 8*(1+c.word(i.sp)+1) // the count of arguments, these, zero
	for c.word(at) != 0 {
		at += 8
	}
	for at += 8; c.word(at) != auxEnd; at += 16 {
		if c.word(at) == auxVDSO {
			return c.setWord(at, auxIgnore)
		}
	}
	return errors.New("there is none")
}
