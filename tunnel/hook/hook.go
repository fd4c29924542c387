// Package hook runs one script with a fixed environment and a time limit.
//
// A script has the rights of the daemon, so nobody else may choose what it
// does: Check accepts a file only if it, and each directory and link on the way
// to it, belongs to root or to the daemon's user and can be changed by nobody
// else. Run checks again and starts the very file that the links lead to: from
// then on only these users can put another one into its place. Starting it through
// an open descriptor would keep even them out, but the script would find
// /proc/self/fd/3 in $0.
//
// A script is executed directly, never through a shell, in a process group of
// its own, in the directory /, with standard input from /dev/null. What it
// prints goes to the log.
package hook

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// grace is how long a script has between SIGTERM and SIGKILL, and how long the
// output of what it leaves in the background is still read.
const grace = 2 * time.Second

// Script is a program to run, with all that it gets.
type Script struct {
	Path    string
	Args    []string      // from $1 on
	Env     []string      // the whole environment, each NAME=value
	Timeout time.Duration // from its start on; 0: none
	Log     *slog.Logger  // gets what the script prints; must be set
}

// Run checks the script, runs it and waits for its end, but not for that of
// processes it leaves in the background. When the time is up or ctx is done,
// its process group gets SIGTERM and at most 2 seconds later SIGKILL.
func (s Script) Run(ctx context.Context) error {
	file, err := resolve(s.Path, os.Geteuid())
	if err == nil {
		err = s.run(ctx, file)
	}
	if err != nil {
		return fmt.Errorf("hook %s: %w", s.Path, err)
	}
	return nil
}

// run is Run for the file that the path leads to.
func (s Script) run(ctx context.Context, file string) error {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(limited, file, s.Args...)
	cmd.Args[0] = s.Path
	cmd.Env = append([]string{}, s.Env...) // nil would mean the daemon's own
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out := &output{log: s.Log.With("hook", s.Path), left: maxOutput}
	cmd.Stdout, cmd.Stderr = out, out

	killed := false
	cmd.Cancel = func() error {
		err := killGroup(cmd, syscall.SIGTERM)
		killed = err == nil
		return err
	}
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return startError(err)
	}
	if s.Timeout > 0 { // not before: where the start takes long it would be up by then
		defer time.AfterFunc(s.Timeout, cancel).Stop()
	}
	err := cmd.Wait()
	out.flush()

	switch {
	case killed:
		_ = killGroup(cmd, syscall.SIGKILL) // the script is gone, its children may not be
		if ctx.Err() != nil {
			return fmt.Errorf("killed: %w", context.Cause(ctx))
		}
		return fmt.Errorf("killed after %v", s.Timeout)
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // it left something in the background
	}
	return err
}

// killGroup sends the signal to the script and to what it started.
func killGroup(cmd *exec.Cmd, sig syscall.Signal) error {
	err := syscall.Kill(-cmd.Process.Pid, sig)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// startError adds what the error of a script that cannot start does not say.
func startError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%w: a script begins with a line such as #!/bin/sh", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: the interpreter named in its first line is missing", err)
	}
	return err
}
