package hook

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
)

// Check returns why the script must not be run, and how to mend that: it is
// missing, not a regular file, not executable, not safe from other users than root
// and the daemon's, or a text without an interpreter. Links are followed.
func Check(path string) error {
	file, err := resolve(path, os.Geteuid())
	if err == nil {
		err = checkBegin(file)
	}
	if err != nil {
		return fmt.Errorf("hook %s: %w", path, err)
	}
	return nil
}

// checkBegin checks the first line of a script. What is not text the kernel may know.
func checkBegin(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // who may run it need not be able to read it
	}
	defer f.Close()
	head := make([]byte, 128)
	n, _ := io.ReadFull(f, head)
	line, _, _ := strings.Cut(string(head[:n]), "\n")
	line, crlf := strings.CutSuffix(line, "\r")
	isText := !strings.ContainsFunc(line, func(r rune) bool { return r != '\t' && r != '\ufeff' && !unicode.IsPrint(r) })
	switch begins := strings.HasPrefix(line, "#!"); {
	case begins && crlf:
		return fmt.Errorf("%s has lines that end in CR LF; run: sed -i 's/\\r$//' %s", path, shellQuote(path))
	case !begins && isText:
		return fmt.Errorf("%s does not begin with a line such as #!/bin/sh", path)
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
	if file, err = walk(name, euid); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w; write it, or remove the keyword", err)
	}
	return file, err
}

// maxLinks is how many links the kernel follows on one path.
const maxLinks = 40

// walk goes from the root to the file, by each directory and link on the way: who
// can change one of them decides what is run.
func walk(name string, euid int) (file string, err error) {
	at, rest := "/", name
	for links := 0; ; {
		info, err := os.Lstat(at)
		if err != nil {
			return "", err
		}
		if err := checkOwner(at, info, euid); err != nil {
			return "", err
		}
		switch link := info.Mode()&fs.ModeSymlink != 0; {
		case link:
			target, err := os.Readlink(at)
			if err != nil {
				return "", err
			}
			if links++; links > maxLinks {
				return "", fmt.Errorf("%s: too many links", name)
			}
			if rest = target + "/" + rest; filepath.IsAbs(target) {
				at = "/"
			} else {
				at = filepath.Dir(at)
			}
		case strings.Trim(rest, "/") == "":
			return at, checkFile(at, info)
		case !info.IsDir():
			return "", fmt.Errorf("%s is not a directory", at)
		case info.Mode()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0:
			return "", writable(at, info) // in a sticky one users can only replace their own
		}
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		at = filepath.Join(at, part)
	}
}

// checkFile checks the script itself.
func checkFile(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file; name a script", path)
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
