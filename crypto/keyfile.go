package crypto

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// readPrivate reads a small file that nobody but root or the effective user can
// read or change. What is checked is the open descriptor, not the name, so that
// nothing can be exchanged between check and read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, syscall.ELOOP):
		return nil, fmt.Errorf("key file %s is a symbolic link: name the file itself", path)
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("key file %s does not exist: make it with vpnd -m %s, and copy it to the other end", path, path)
	case err != nil:
		return nil, fmt.Errorf("key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if err := checkPrivate(path, info.Mode(), int(owner), os.Geteuid()); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("key file %s is longer than %d bytes: not a key", path, maxKeyFile)
	}
	return text, nil
}

func checkPrivate(path string, mode os.FileMode, owner, user int) error {
	switch {
	case !mode.IsRegular():
		return fmt.Errorf("key file %s is not a regular file", path)
	case owner != 0 && owner != user:
		return fmt.Errorf("key file %s belongs to user %d: it must belong to root or to the user of the daemon (chown %d %s)", path, owner, user, path)
	case mode.Perm()&0o077 != 0:
		return fmt.Errorf("key file %s can be read or changed by others (mode %04o): chmod 600 %s", path, mode.Perm(), path)
	}
	return nil
}
