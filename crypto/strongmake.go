package crypto

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The two files of a pair.
const (
	ServerFile = "vpnd.lcl.key"
	ClientFile = "vpnd.rmt.key"
)

// NewStrongPair makes the keys of a link's two ends.
func NewStrongPair(random io.Reader) (server, client *StrongKey, err error) {
	a, err := NewIdentity(random)
	if err != nil {
		return nil, nil, err
	}
	b, err := NewIdentity(random)
	if err != nil {
		return nil, nil, err
	}
	secret, err := NewSecret(random)
	if err != nil {
		return nil, nil, err
	}
	if server, err = newStrongKey(ServerRole, a, b.public, secret); err == nil {
		client, err = newStrongKey(ClientRole, b, a.public, secret)
	}
	return server, client, err
}

// MakeStrongPair writes the two key files of a new link into a directory, which it
// makes if it is not there, sealed if there is a pass phrase, and returns the link's
// id. A file that exists is left alone and is an error. On an error nothing new is
// left.
func MakeStrongPair(dir string, random io.Reader, passphrase []byte) (id KeyID, err error) {
	server, client, err := NewStrongPair(random)
	if err != nil {
		return id, fmt.Errorf("make key pair: %w", err)
	}
	var made []string
	defer func() {
		for _, path := range made {
			if err != nil {
				os.Remove(path) // files before their directory
			}
		}
	}()
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		made = append(made, dir)
	case !errors.Is(err, os.ErrExist):
		return id, fmt.Errorf("make key pair: %w", err)
	}
	for _, f := range []struct {
		name string
		key  *StrongKey
	}{{ServerFile, server}, {ClientFile, client}} {
		path := filepath.Join(dir, f.name)
		text, err := f.key.fileText(f.key.about(), random, passphrase)
		if err != nil {
			return id, fmt.Errorf("make key file %s: %w", path, err)
		}
		err = writeNew(path, text)
		clear(text)
		if err != nil {
			return id, err
		}
		made = append([]string{path}, made...)
	}
	if err := syncDir(dir); err != nil {
		return id, fmt.Errorf("write key files: %w", err)
	}
	return server.id, nil
}

// about returns the comment lines of a new key file.
func (k *StrongKey) about() []string {
	other := ClientRole
	if k.role == ClientRole {
		other = ServerRole
	}
	return []string{
		fmt.Sprintf("# vpnd strong key of the %s, link %v, made %s.", k.role, k.id, time.Now().UTC().Format(time.DateOnly)),
		fmt.Sprintf("# Keep it secret, and only on the %s: whoever has it can play the %s.", k.role, k.role),
		fmt.Sprintf("# The %s has the other file of the pair.", other),
	}
}

// writeNew writes a file that did not exist, mode 0600, to the disk itself.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, os.ErrExist):
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return fmt.Errorf("key file %s is a directory: name a file, such as %s", path, filepath.Join(path, "vpnd.key"))
		}
		return fmt.Errorf("key file %s exists already: it was left as it is", path)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("make key file: %w: make the directory first", err)
	case err != nil:
		return fmt.Errorf("make key file: %w", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path)
		return fmt.Errorf("write key file: %w", err)
	}
	return nil
}

// ChangePassphrase seals the key file at path anew, under another pass phrase, or
// for the first time; key is what is in it. At any moment, and after a crash at any
// moment, the whole old file or the whole new one is there. The comments stay.
func (f *StrongFile) ChangePassphrase(path string, key *StrongKey, random io.Reader, passphrase []byte) error {
	if err := CheckPassphrase(passphrase); err != nil {
		return err
	}
	text, err := key.fileText(f.comments, random, passphrase)
	if err != nil {
		return fmt.Errorf("seal key file %s: %w", path, err)
	}
	sweep(path)
	if err := replacePrivate(path, text); err != nil {
		return fmt.Errorf("write key file %s: %w: the old one is as it was", path, err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write key file %s: %w: after a crash it may be the old one again", path, err)
	}
	return nil
}

// newInfix stands in the name of a key file that is not complete yet.
const newInfix = ".new-"

// sweep removes what a killed process left beside the file. If the process lives, it
// cannot give the name any more, and says so.
func sweep(path string) {
	dir, base := filepath.Split(path)
	entries, _ := os.ReadDir(cmp.Or(dir, "."))
	for _, e := range entries {
		if number, ok := strings.CutPrefix(e.Name(), base+newInfix); ok && isNumber(number) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// isNumber reports whether s is what [os.CreateTemp] puts in place of the asterisk.
func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// replacePrivate writes a file beside the one at path, with the same owner, and
// gives it the name.
func replacePrivate(path string, text []byte) (err error) {
	old, err := os.Lstat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+newInfix+"*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if owner := old.Sys().(*syscall.Stat_t); err == nil && int(owner.Uid) != os.Geteuid() {
		err = f.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// syncDir makes the names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
