package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
)

// readyEnv tells the second process of a packthread that detaches itself that descriptor
// readyFD is where it says that it is up.
const (
	readyEnv = "PACKTHREAD_READY_FD"
	readyFD  = 3
)

// isSecond reports whether this is the second process.
func isSecond() bool {
	second := os.Getenv(readyEnv) != ""
	os.Unsetenv(readyEnv)
	return second
}

// detach starts this program again, in a session of its own, and waits until it is up.
// Otherwise it ends with the other one's exit code.
func detach(sys system) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", readyEnv, readyFD))
	cmd.Stdout, cmd.Stderr = sys.stdout, sys.stderr
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	if _, err := io.ReadFull(read, make([]byte, 1)); err == nil {
		return cmd.Process.Release()
	}
	err = cmd.Wait()
	if e := (*exec.ExitError)(nil); errors.As(err, &e) && e.ExitCode() > 0 {
		return &exit.Error{Code: e.ExitCode()} // it has said why
	}
	return err // nil: another one was faster
}

// sayReady lets go of the terminal and of the directory, and tells the first process.
func sayReady() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for fd := range 3 {
		if err := unix.Dup2(int(null.Fd()), fd); err != nil {
			return fmt.Errorf("let go of the terminal: %w", err)
		}
	}
	ready := os.NewFile(readyFD, "ready")
	_, err = ready.Write([]byte{1})
	return errors.Join(err, ready.Close(), os.Chdir("/"))
}

// systemLog returns a log to syslog or the journal. Until there is one, and until the
// terminal is let go, warnings go there.
func systemLog(name string, stderr io.Writer) (*slog.Logger, error) {
	w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "packthread."+name)
	if err != nil {
		fmt.Fprintln(stderr, "packthread: no system log here (/dev/log): messages are lost; -n logs to standard error")
		return slog.New(slog.DiscardHandler), nil
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: withoutTime})), nil
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
