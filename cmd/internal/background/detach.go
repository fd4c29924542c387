package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
)

// readyEnv tells the second process of a detaching daemon that descriptor readyFD
// is where it says that it is up, phraseEnv that phraseFD gives it the pass phrase of
// its key.
const (
	readyEnv  = "VPND_READY_FD"
	readyFD   = 3
	phraseEnv = "VPND_PASSPHRASE_FD"
	phraseFD  = 4
)

// runDaemon is vpnd without a command. A daemon that detaches runs in a second
// process, in a session of its own; the first one waits until it is up, and
// otherwise ends with its exit code.
func (o *options) runDaemon(sys system) error {
	second := os.Getenv(readyEnv) != ""
	if second && os.Getenv(phraseEnv) != "" {
		o.passphraseFD = new(phraseFD)
	}
	os.Unsetenv(readyEnv)
	os.Unsetenv(phraseEnv)
	closeInherited()
	if !o.foreground && !second {
		phrase, err := o.handOn(sys)
		if err != nil {
			return err
		}
		return detach(sys, phrase)
	}
	c, err := o.config()
	if err != nil {
		return err
	}
	phrases := newPassphrases(o, sys)
	if o.foreground {
		out := newLogQueue(sys.stderr)
		defer out.close()
		return serve(c, phrases, sys, foregroundLog(out), func() error {
			_ = dropCrashes(crashFile(c)) // it is of no use here
			return nil
		})
	}
	log, syslog := newSyslog(c.Name, sys.stderr)
	err = serve(c, phrases, sys, log, func() error {
		if err := keepCrashes(crashFile(c), log); err != nil {
			log.Warn("the reason of a crash would be lost", "error", err)
		}
		if !syslog.available() {
			log.Warn("no system log here (/dev/log): messages of the detached daemon are lost; -n logs to standard error")
		}
		syslog.release()
		return sayReady()
	})
	if err != nil {
		syslog.release() // the terminal gets the error from the caller
		log.Error("daemon ends", "error", err)
	}
	return err
}

// detach starts this program again, with a pass phrase if there is one, and waits
// until it is up.
func detach(sys system, phrase []byte) error {
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
	if phrase != nil {
		given, err := pipeOf(phrase)
		if err != nil {
			return err
		}
		defer given.Close()
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", phraseEnv, phraseFD))
		cmd.ExtraFiles = append(cmd.ExtraFiles, given)
	}
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
	return exit.Withf(exit.Internal, "the background process ended before it was up: %w", err)
}

// pipeOf returns the end of a pipe that gives a pass phrase, which is clear then.
// There is room in a pipe for it.
func pipeOf(phrase []byte) (*os.File, error) {
	defer clear(phrase)
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = write.Write(phrase)
	return read, errors.Join(err, write.Close())
}

// sayReady lets go of the terminal and of the directory, and tells the first
// process.
func sayReady() error {
	if err := letGo(); err != nil {
		return fmt.Errorf("let go of the terminal: %w", err)
	}
	ready := os.NewFile(readyFD, "ready")
	_, err := ready.Write([]byte{1})
	return errors.Join(err, ready.Close())
}

func letGo() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for fd := range 3 {
		if err := unix.Dup2(int(null.Fd()), fd); err != nil {
			return err
		}
	}
	return os.Chdir("/")
}
