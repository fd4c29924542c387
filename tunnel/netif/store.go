package netif

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxState bounds the size of a state file: some 100000 routes.
	maxState = 16 << 20
	// maxLockTries bounds how often a lock file may vanish while we lock it.
	maxLockTries = 100
	// lockWait is how long a lock that another process has is waited for, and
	// lockPoll how often it is tried. One that was killed has it until its last
	// descriptor is closed, which a child that it was just starting has, too.
	lockWait = 2 * time.Second
	lockPoll = 20 * time.Millisecond

	newSuffix     = ".new"     // a state file being written
	damagedSuffix = ".damaged" // one that was moved aside
)

// store is the state file of one instance and the lock beside it.
type store struct {
	path  string
	lock  *os.File
	saved []byte // what the file holds, nil when there is none
	err   error  // why nothing can be recorded
}

// openStore takes the lock of an instance. When that is not possible for
// another reason than ErrRunning the store says so when something is saved.
func openStore(dir, instance string) (*store, error) {
	if instance != filepath.Base(instance) {
		return nil, fmt.Errorf("instance %q: not a file name", instance)
	}
	s := &store{path: filepath.Join(dir, instance+".state")}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		s.err = err
		return s, nil
	}
	lock, err := takeLock(s.lockPath())
	if errors.Is(err, ErrRunning) {
		return nil, fmt.Errorf("instance %s: %w", instance, err)
	}
	s.lock, s.err = lock, err
	return s, nil
}

func (s *store) lockPath() string {
	return strings.TrimSuffix(s.path, ".state") + ".lock"
}

// takeLock returns the locked file.
func takeLock(path string) (*os.File, error) {
	for waited := time.Duration(0); ; waited += lockPoll {
		f, err := tryLock(path)
		if waited >= lockWait || !errors.Is(err, ErrRunning) {
			return f, err
		}
		time.Sleep(lockPoll)
	}
}

// tryLock is takeLock without the wait. The holder removes the file in the end, so
// a lock counts only while the file still has its name.
func tryLock(path string) (*os.File, error) {
	for range maxLockTries {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			defer f.Close()
			if err == unix.EWOULDBLOCK {
				return nil, fmt.Errorf("%w, pid %s", ErrRunning, holder(f))
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if sameFile(f, path) {
			writePID(f)
			return f, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("lock %s: it keeps vanishing", path)
}

func sameFile(f *os.File, path string) bool {
	open, _ := f.Stat()
	named, _ := os.Stat(path)
	return os.SameFile(open, named) // false for those that are not there
}

// writePID tells others who holds the lock. On a full disk they do not learn it.
func writePID(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	}
}

func holder(f *os.File) string {
	text := make([]byte, 20)
	n, _ := f.ReadAt(text, 0)
	pid, err := strconv.Atoi(string(text[:n]))
	if err != nil {
		return "unknown"
	}
	return strconv.Itoa(pid)
}

// load returns what a killed predecessor left. A file that cannot be used is
// moved aside: it must not stop the instance for ever.
func (s *store) load(log *slog.Logger) record {
	if s.err != nil {
		return record{}
	}
	text, err := readFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}
	}
	var r record
	if err == nil {
		r, err = decode(text)
	}
	if err == nil {
		s.saved = text
		return r
	}
	aside := s.path + damagedSuffix
	log.Warn("state file cannot be used, what it lists stays on the host", "file", s.path, "err", err, "moved to", aside)
	s.err = os.Rename(s.path, aside)
	return record{}
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if len(text) > maxState {
		return nil, fmt.Errorf("more than %d bytes", maxState)
	}
	return text, err
}

// save makes the file hold r.
func (s *store) save(r record) error {
	if r.empty() {
		return s.remove()
	}
	if s.err != nil {
		return s.err
	}
	text, err := r.encode()
	if err != nil || bytes.Equal(text, s.saved) {
		return err
	}
	if err := replaceFile(s.path, text); err != nil {
		return err
	}
	s.saved = text
	return nil
}

func (s *store) remove() error {
	if s.saved == nil {
		return nil
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.saved = nil
	return nil
}

// replaceFile writes a file so that at any moment it is the old or the new one.
func replaceFile(path string, text []byte) error {
	temp := path + newSuffix
	if err := writeFile(temp, text); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

func writeFile(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// close gives the lock back.
func (s *store) close() error {
	if s.lock == nil {
		return nil
	}
	_ = os.Remove(s.path + newSuffix) // of a write that failed or was killed
	err := os.Remove(s.lockPath())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.lock.Close())
}
