package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// pidfile is a locked file with the process id.
type pidfile struct{ f *os.File }

// errStale says that the file was removed while its lock was waited for.
var errStale = errors.New("removed by another process")

// lockPidfile writes the process id to path. A file that a dead daemon left is
// taken over; one that a living daemon holds is an error.
func lockPidfile(path string) (*pidfile, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
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

func writePid(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		pid := make([]byte, 16)
		n, _ := f.Read(pid)
		return exitf(exitUnavailable, "process %s holds it: is this vpnd running already?", strings.TrimSpace(string(pid[:n])))
	}
	if err != nil {
		return err
	}
	there, err := os.Stat(f.Name())
	if mine, merr := f.Stat(); err != nil || merr != nil || !os.SameFile(there, mine) {
		return errStale
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, os.Getpid())
	return err
}

// remove removes the file, and gives up the lock after that, so that nobody can
// take over a file that is about to vanish.
func (p *pidfile) remove() error {
	if p == nil {
		return nil
	}
	err := os.Remove(p.f.Name())
	return errors.Join(err, p.f.Close())
}
