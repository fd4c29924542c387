package number

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// disk is what this package needs of a file system. Tests have one that fails and
// crashes; see fake_test.go.
type disk interface {
	// open opens a file for reading and writing. flag may have O_CREATE, O_TRUNC.
	open(path string, flag int) (file, error)
	rename(from, to string) error
	// syncDir makes the names beside path last.
	syncDir(path string) error
}

// file is an open file. Who opened it closes it.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes what was written last.
	Sync() error
}

// host is the real file system.
type host struct{}

func (host) open(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|flag, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", path), f.Close())
	}
	return f, nil
}

func (host) rename(from, to string) error { return os.Rename(from, to) }

func (host) syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// replace makes path a new file with this text, and returns it open. At any moment,
// and after a crash at any moment, the old or the new one is there.
func replace(d disk, path string, text []byte) (f file, err error) {
	temp := path + ".new" // one process at a time: it holds the lock
	f, err = d.open(temp, os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			f = nil
		}
	}()
	if _, err = f.WriteAt(text, 0); err != nil {
		return f, err
	}
	if err = f.Sync(); err != nil {
		return f, err
	}
	if err = d.rename(temp, path); err != nil {
		return f, err
	}
	return f, d.syncDir(path)
}

// read returns what is in a file, which has at most max bytes.
func read(f file, max int64) ([]byte, error) {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, max+1))
	if err == nil && int64(len(text)) > max {
		err = fmt.Errorf("it has more than %d bytes", max)
	}
	return text, err
}

// lockFile keeps other processes away from path until the file is closed. The
// directory is made if it is not there.
func lockFile(path string) (*os.File, error) {
	os.Mkdir(filepath.Dir(path), 0o700) // if that fails, so does what follows, unless it is there
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ErrLocked says that another process has the numbers.
var ErrLocked = errors.New("another process has them: does a vpnd with the same key run already?")
