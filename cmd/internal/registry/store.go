package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
)

const (
	stateFile   = "state"
	newFile     = "state.new"
	damagedFile = "state.damaged"
	lockFile    = "lock"
)

// Store keeps the state in a directory. Any number of processes may have it open: each
// change takes a lock, reads the file, and replaces it by a new one. A process that is
// killed leaves the old or the new one.
//
// The disk is not waited for, as a change that a crash of the host undoes does no harm:
// a new boot is a new epoch, and a file that was lost is one that was damaged, see the
// package comment. Only where the boot is not known the disk is waited for.
type Store struct {
	dir   string
	log   *slog.Logger
	clock func() moment
	turn  chan struct{} // who has it may wait for the lock
}

// OpenStore returns the store in a directory, which must be there, and closed to others.
func OpenStore(dir string, log *slog.Logger) (*Store, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	switch mode := info.Mode(); {
	case !mode.IsDir():
		return nil, fmt.Errorf("state directory: %s is not a directory", dir)
	case mode.Perm()&0o077 != 0:
		return nil, fmt.Errorf("state directory: %s is open to others (mode %04o): chmod 700 %s", dir, mode.Perm(), dir)
	case owner != os.Geteuid():
		return nil, fmt.Errorf("state directory: %s belongs to user %d, and this is user %d: run nexus as its owner, whom the web server runs it as", dir, owner, os.Geteuid())
	}
	return &Store{dir: dir, log: log, clock: hostClock, turn: make(chan struct{}, 1)}, nil
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// update lets change work on the state, and stores it if it says so. When update
// returns without an error, that is done.
func (s *Store) update(ctx context.Context, change func(*state) (store bool)) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return fmt.Errorf("lock state: %w", err)
	}
	defer unlock()
	st, fresh, err := s.load()
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if !change(st) && !fresh {
		return nil
	}
	if err := s.save(st); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// load returns the state as it is now. One that is fresh has to be stored.
func (s *Store) load() (st *state, fresh bool, err error) {
	now := s.clock()
	text, err := readBounded(s.path(stateFile))
	if err == nil {
		st, err = parseState(text)
	}
	switch {
	case err == nil:
		fresh, err = st.advance(now, rand.Reader)
		return st, fresh, err
	case errors.Is(err, os.ErrNotExist):
		s.log.Info("state is new", "directory", s.dir)
	case errors.Is(err, errState):
		s.log.Warn("state is damaged: what gateways told is lost, they tell it again", "kept", s.path(damagedFile))
		if err := os.Rename(s.path(stateFile), s.path(damagedFile)); err != nil {
			return nil, false, err
		}
	default:
		return nil, false, err
	}
	st, err = newState(rand.Reader, now)
	return st, true, err
}

// save replaces the state file.
func (s *Store) save(st *state) error {
	f, err := os.OpenFile(s.path(newFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(st.format())
	if err == nil && st.boot == noBoot {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(s.path(newFile), s.path(stateFile))
}

func readBounded(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxState+1))
}

// lock waits until no other goroutine or process has the state. If the context ends
// first, the lock is given back when it comes.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	f, err := os.OpenFile(s.path(lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		<-s.turn
		return nil, err
	}
	free := func() {
		f.Close()
		<-s.turn
	}
	locked := make(chan error, 1)
	go func() { locked <- flock(f) }()
	select {
	case err = <-locked:
		if err != nil {
			free()
			return nil, err
		}
		return free, nil
	case <-ctx.Done():
		go func() {
			<-locked
			free()
		}()
		return nil, context.Cause(ctx)
	}
}

// flock waits for the lock of a file.
func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
