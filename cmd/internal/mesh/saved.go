package mesh

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"vpnd/cmd/internal/registry"
	"vpnd/crypto"
)

// Saved is the place of a gateway's last table, so that a restart needs no nexus.
type Saved struct {
	name        string
	path        string
	own, server crypto.PublicKey
}

// NewSaved returns the place in a state directory, which is made if it is not there.
// own and server are the public keys of the gateway and of nexus.
func NewSaved(dir, name string, own, server crypto.PublicKey) (*Saved, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return &Saved{name, filepath.Join(dir, name+".table"), own, server}, nil
}

// makeDir makes a directory for this user only. One that is there has to be such a one.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if mode := info.Mode(); !mode.IsDir() || mode.Perm()&0o022 != 0 {
		return fmt.Errorf("%s can be changed by others (mode %04o): chmod 700 %s", dir, mode.Perm(), dir)
	}
	if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, and this is user %d", dir, owner, os.Geteuid())
	}
	return nil
}

// load returns the saved table, nil if there is none.
func (s *Saved) load() (*registry.Table, error) {
	f, err := os.OpenFile(s.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(registry.MaxSaved)+1))
	if err != nil {
		return nil, err
	}
	t, err := registry.ParseTable(text, s.own, s.server)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	return t, nil
}

// store replaces the saved table. After a crash at any moment the old or the new one
// is there.
func (s *Saved) store(t *registry.Table) error {
	temp := s.path + ".new" // one process at a time: see Instance
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(registry.AppendTable(t, s.own, s.server))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(temp, s.path)
}
