package background

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

// What the second process finds: readyEnv says that descriptor readyFD is where it tells
// that it is up, secretEnv that secretFD gives it a secret.
const (
	readyEnv  = "VPND_READY_FD"
	readyFD   = 3
	secretEnv = "VPND_SECRET_FD"
	secretFD  = 4
)

// Begin reports whether this process is the second one of a program that detaches, and
// the descriptor of the secret that it got, if any. Other descriptors that the caller left
// open are kept from whatever this program starts.
func Begin() (second bool, secret *int) {
	second = os.Getenv(readyEnv) != ""
	if second && os.Getenv(secretEnv) != "" {
		secret = new(secretFD)
	}
	os.Unsetenv(readyEnv)
	os.Unsetenv(secretEnv)
	closeInherited()
	return second, secret
}

// Detach starts this program again, in a session of its own and with a secret if there is
// one, which is clear then. It waits until that process is up. Otherwise it returns an
// error with its exit code, and nothing more to say.
func Detach(secret []byte, stdout, stderr io.Writer) error {
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
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if secret != nil {
		given, err := pipeOf(secret)
		if err != nil {
			return errors.Join(err, write.Close())
		}
		defer given.Close()
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", secretEnv, secretFD))
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

// pipeOf returns the end of a pipe that gives a secret, which is clear then. There is room
// in a pipe for it.
func pipeOf(secret []byte) (*os.File, error) {
	defer clear(secret)
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = write.Write(secret)
	return read, errors.Join(err, write.Close())
}

// Ready lets go of the terminal and of the directory, and tells the first process that
// the second one, which calls it, is up.
func Ready() error {
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
