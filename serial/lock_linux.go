//go:build !ppc && !ppc64 && !ppc64le

package serial

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile is a UUCP lock file: LCK..ttyS0 with the owner's process number as 10
// characters and a line feed. nil is one that is not needed.
type lockFile struct {
	path string
	made os.FileInfo
}

// takeLock makes the lock file of a device. One whose owner is gone is replaced; if
// it belongs to another user, so that this one may not, it stays, and whoever looks
// finds that its owner is gone.
func takeLock(dir, device string) (*lockFile, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	path := filepath.Join(dir, "LCK.."+lockName(device))
	// A link appears at once with its content; nobody sees half a lock file.
	own, err := os.CreateTemp(dir, "LTMP.")
	if err != nil {
		return nil, fmt.Errorf("make lock file: %w", err)
	}
	defer os.Remove(own.Name())
	defer own.Close()
	if _, err := fmt.Fprintf(own, "%10d\n", os.Getpid()); err != nil {
		return nil, fmt.Errorf("write lock file: %w", err)
	}
	if err := own.Chmod(0o644); err != nil {
		return nil, fmt.Errorf("write lock file: %w", err)
	}
	made, err := own.Stat()
	if err != nil {
		return nil, fmt.Errorf("write lock file: %w", err)
	}
	for range lockTries {
		err := os.Link(own.Name(), path)
		if err == nil {
			return &lockFile{path, made}, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make lock file: %w", err)
		}
		if err := removeStale(path); errors.Is(err, fs.ErrPermission) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %s comes back again and again", ErrInUse, path)
}

// lockTries is how often a stale lock file is removed before we give in.
const lockTries = 3

// lockName is a device's name below /dev, on one level.
func lockName(device string) string {
	return strings.ReplaceAll(strings.TrimPrefix(device, "/dev/"), "/", "_")
}

// removeStale removes a lock file whose owner does not live, and is an error when
// it does.
func removeStale(path string) error {
	text, err := readLock(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read lock file: %w", err)
	}
	number, _, _ := strings.Cut(strings.TrimSpace(text), " ") // some write their name behind it
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 0 {
		return fmt.Errorf("%w: %s says %.20q; remove it if nobody uses the line", ErrInUse, path, text)
	}
	if err := unix.Kill(pid, 0); pid != os.Getpid() && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w by process %d%s, says %s", ErrInUse, pid, nameOf(pid), path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale lock file: %w", err)
	}
	return nil
}

// readLock returns the beginning of a lock file. The directory is open to everybody
// on many hosts: what is no plain file is not read.
func readLock(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if is, err := f.Stat(); err != nil || !is.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a plain file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 128))
	return string(text), err
}

// nameOf returns the name of a process in brackets, if it can be had.
func nameOf(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return " (" + strings.TrimSpace(string(name)) + ")"
}

// release removes the lock file, unless somebody has put another one in its place.
func (l *lockFile) release() {
	if l == nil {
		return
	}
	if is, err := os.Lstat(l.path); err == nil && os.SameFile(is, l.made) {
		os.Remove(l.path)
	}
}
