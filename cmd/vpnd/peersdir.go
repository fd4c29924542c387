package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"vpnd/conf"
)

// peersDir is the directory with the files of a hub's clients, which nobody else
// changes by this command meanwhile.
type peersDir struct {
	path string
	lock *os.File
}

// newInfix stands in the name of a file that is not complete yet.
const newInfix = ".new-"

// openPeers locks the directory, which is made if it is not there, and sweeps what a
// process that was killed has left in it.
func openPeers(path string) (*peersDir, error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("directory of the clients: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("directory of the clients: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	sweep(path, func(name string) bool { return strings.Contains(name, conf.PeerSuffix+newInfix) })
	return &peersDir{path, f}, nil
}

// sweep removes what processes that were killed have left in a directory.
func sweep(dir string, isLeft func(name string) bool) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if isLeft(e.Name()) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// close gives the lock back.
func (d *peersDir) close() { d.lock.Close() }

func (d *peersDir) file(name string) string { return filepath.Join(d.path, name+conf.PeerSuffix) }

// has reports whether a client has a file.
func (d *peersDir) has(name string) bool {
	_, err := os.Lstat(d.file(name))
	return !errors.Is(err, os.ErrNotExist)
}

// free returns an error if a client has the name.
func (d *peersDir) free(name string) error {
	if d.has(name) {
		return fmt.Errorf("there is a client %s already (%s); take another name, or say first: vpnd revoke %s", name, d.file(name), name)
	}
	return nil
}

// add writes the file of a client, for the user whose the directory is.
func (d *peersDir) add(name, text string) error {
	info, err := d.lock.Stat()
	if err != nil {
		return err
	}
	return writeWhole(d.file(name), text, int(info.Sys().(*syscall.Stat_t).Uid))
}

// remove takes the file of a client away.
func (d *peersDir) remove(name string) error {
	err := os.Remove(d.file(name))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no client %s in %s", name, d.path)
	}
	if err != nil {
		return err
	}
	return d.lock.Sync()
}

// writeWhole makes path a file with this text, mode 0600, that is there for good and
// belongs to a user, or to this one for -1. At any moment it is whole or not there.
// After an error it is not there.
func writeWhole(path, text string, owner int) (err error) {
	dir := filepath.Dir(path)
	sweep(dir, func(name string) bool { return strings.HasPrefix(name, filepath.Base(path)+newInfix) })
	f, err := os.CreateTemp(dir, filepath.Base(path)+newInfix+"*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.WriteString(text)
	if err == nil && owner >= 0 && owner != os.Geteuid() {
		err = f.Chown(owner, -1)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}
