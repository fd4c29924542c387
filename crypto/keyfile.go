package crypto

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// ReadPrivate reads a small file that nobody but root or the effective user can
// read or change. What is checked is the open descriptor, not the name, so that
// nothing can be exchanged between check and read. Errors call it what it is.
func ReadPrivate(what, path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, syscall.ELOOP):
		return nil, fmt.Errorf("%s %s is a symbolic link: name the file itself", what, path)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if err := checkPrivate(what, path, info.Mode(), int(owner), os.Geteuid()); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%s %s is longer than %d bytes: not a key", what, path, maxKeyFile)
	}
	return text, nil
}

func checkPrivate(what, path string, mode os.FileMode, owner, user int) error {
	switch {
	case !mode.IsRegular():
		return fmt.Errorf("%s %s is not a regular file", what, path)
	case owner != 0 && owner != user:
		return fmt.Errorf("%s %s belongs to user %d: it must belong to root or to the user of the daemon (chown %d %s)", what, path, owner, user, path)
	case mode.Perm()&0o077 != 0:
		return fmt.Errorf("%s %s can be read or changed by others (mode %04o): chmod 600 %s", what, path, mode.Perm(), path)
	}
	return nil
}
