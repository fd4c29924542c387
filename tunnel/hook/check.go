package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Check returns why the script must not be run, and how to mend that: it is
// missing, not a regular file, not executable, or not safe from other users
// than root and the daemon's. Links are followed.
func Check(path string) error {
	if _, err := resolve(path, os.Geteuid()); err != nil {
		return fmt.Errorf("hook %s: %w", path, err)
	}
	return nil
}

// resolve returns the file that the path leads to, if a daemon of the user euid
// may run it.
func resolve(path string, euid int) (file string, err error) {
	name, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	file, err = filepath.EvalSymlinks(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%w; write it, or remove the keyword", err)
	case err != nil:
		return "", err
	}
	if err := checkFile(file, euid); err != nil {
		return "", err
	}
	if err := checkParents(name, euid); err != nil {
		return "", err
	}
	return file, checkParents(file, euid)
}

// checkFile checks the script itself, which is no link.
func checkFile(path string, euid int) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file; name a script", path)
	}
	if err := checkOwner(path, info, euid); err != nil {
		return err
	}
	if info.Mode()&0o022 != 0 {
		return writable(path, info)
	}
	if _, err := exec.LookPath(path); errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s is not executable (mode %04o); run: chmod a+rx %s", path, info.Mode().Perm(), shellQuote(path))
	} else if err != nil {
		return err
	}
	return nil
}

// checkParents checks that no other user can replace the entry for path, or one
// of the directories that lead to it. In a sticky directory, such as /tmp,
// users can only replace their own.
func checkParents(path string, euid int) error {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if err := checkOwner(dir, info, euid); err != nil {
			return err
		}
		if info.Mode()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return writable(dir, info)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func checkOwner(path string, info fs.FileInfo, euid int) error {
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	if owner == 0 || owner == euid {
		return nil
	}
	return fmt.Errorf("%s belongs to user %d, neither root nor user %d that runs vpnd; run: chown root %s", path, owner, euid, shellQuote(path))
}

func writable(path string, info fs.FileInfo) error {
	return fmt.Errorf("%s is writable by group or others (mode %04o); run: chmod go-w %s", path, info.Mode().Perm(), shellQuote(path))
}

// shellQuote returns s as one word of a command line.
func shellQuote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,@%:="
	if strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
