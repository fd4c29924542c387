package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"vpnd/cmd/internal/exit"
)

// pidfile is a locked file with the process id.
type pidfile struct{ f *os.File }

// errStale says that the file was removed while its lock was waited for.
var errStale = errors.New("removed by another process")

// lockPidfile writes the process id to path. A file that a dead daemon left is
// taken over; one that a living daemon holds is an error.
func lockPidfile(path string) (*pidfile, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, pidfileMode)
		if err != nil {
			return nil, fmt.Errorf("pidfile: %w", err)
		}
		if err = writePid(f); err == nil {
			return &pidfile{f}, nil
		}
		f.Close()
		if !errors.Is(err, errStale) {
			return nil, fmt.Errorf("pidfile %s: %w", path, err)
		}
	}
}

// pidfileMode lets nobody else open the file: who can read it can hold its lock.
const pidfileMode = 0o600

func writePid(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return exit.Withf(exit.Config, "not a regular file: it was left as it is; name another one")
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		pid, _ := readPid(f)
		return exit.Withf(exit.Unavailable, "process %d holds it: is this vpnd running already?", pid)
	}
	if err != nil {
		return err
	}
	if !isNamed(f) {
		return errStale
	}
	if _, err := readPid(f); err != nil {
		return exit.With(exit.Config, err)
	}
	if err = f.Chmod(pidfileMode); err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0); err != nil {
		os.Remove(f.Name()) // an empty one would tell nobody anything
	}
	return err
}

// maxPid bounds what is read of a pidfile.
const maxPid = 32

// readPid returns the number in the file, 0 if it is empty. It is an error if there
// is anything else in it: then it is not a pidfile, and not ours to write over.
func readPid(f *os.File) (int, error) {
	text := make([]byte, maxPid)
	n, err := f.ReadAt(text, 0)
	if err != nil && err != io.EOF {
		return 0, err
	}
	if n == 0 {
		return 0, nil
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return 0, errors.New("it exists and holds no process number: not a pidfile")
	}
	return pid, nil
}

// isNamed reports whether the open file still has its name.
func isNamed(f *os.File) bool {
	there, err := os.Lstat(f.Name())
	mine, merr := f.Stat()
	return err == nil && merr == nil && os.SameFile(there, mine)
}

// remove removes the file, and gives up the lock after that, so that nobody can
// take over a file that is about to vanish. One that somebody else has removed, or
// made anew, is left alone.
func (p *pidfile) remove() (err error) {
	if isNamed(p.f) {
		err = os.Remove(p.f.Name())
	}
	return errors.Join(err, p.f.Close())
}
