package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"vpnd/cmd/internal/exit"
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
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0) // another pipe would be waited for
	if err != nil {
		return nil, fmt.Errorf("directory of the clients: %w", err)
	}
	if err := lockPrivate(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("directory of the clients: %w", err)
	}
	sweep(path, func(name string) bool { return strings.HasSuffix(name, conf.PeerSuffix) })
	return &peersDir{path, f}, nil
}

// lockPrivate waits for the lock of a directory. Who can open it can hold the lock.
func lockPrivate(dir *os.File) error {
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return exit.Withf(exit.Config, "%s is open to others (mode %04o); say: chmod 700 %s", dir.Name(), mode, dir.Name())
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	return nil
}

// sweep removes what processes that were killed have left in a directory of files that
// they were to write.
func sweep(dir string, isOurs func(name string) bool) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if name, ok := unfinished(e.Name()); ok && isOurs(name) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// unfinished returns which file one was to become that writeWhole has not completed.
func unfinished(path string) (name string, ok bool) {
	name = strings.TrimRight(path, "0123456789") // of os.CreateTemp
	return strings.TrimSuffix(name, newInfix), name != path && strings.HasSuffix(name, newInfix)
}

// close gives the lock back.
func (d *peersDir) close() { d.lock.Close() }

func (d *peersDir) file(name string) string { return filepath.Join(d.path, name+conf.PeerSuffix) }

// holds reports whether a path leads into the directory.
func (d *peersDir) holds(path string) bool {
	there, err := os.Stat(filepath.Dir(path))
	here, herr := d.lock.Stat()
	return err == nil && herr == nil && os.SameFile(there, here)
}

// clients reads the files of all clients. A mistake in one of them is an error: what it
// has could not be told from what is free.
func (d *peersDir) clients(c *conf.Config) ([]*conf.Peer, error) {
	info, err := d.lock.Stat()
	if err != nil {
		return nil, err
	}
	if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != 0 && owner != os.Geteuid() {
		return nil, fmt.Errorf("directory of the clients: %s belongs to user %d, and this is user %d: invite as the user that the hub runs as", d.path, owner, os.Geteuid())
	}
	peers, found, err := c.ReadPeers()
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		return nil, append(problems(found), errors.New("mend that, or revoke the client, before another one is invited"))
	}
	return peers, nil
}

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

// add writes the file of a client.
func (d *peersDir) add(name, text string) error { return writeWhole(d.file(name), text) }

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

// writeWhole makes path a file with this text, mode 0600, that is there for good. At any
// moment it is whole or not there. After an error it is not there.
func writeWhole(path, text string) (err error) {
	dir := filepath.Dir(path)
	sweep(dir, func(name string) bool { return name == filepath.Base(path) })
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
