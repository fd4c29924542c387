package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"vpnd/conf"
	"vpnd/crypto"
)

// loadKeys reads the key files. A sealed one stays sealed, see unlock.
func (s *secrets) loadKeys(c *conf.Config, problem func(keyword string, err error)) {
	if c.Key != "" {
		var err error
		s.strong, err = crypto.ParseStrongWords(crypto.ClientRole, c.Key)
		problem("key", err)
		return
	}
	if c.Auth == conf.Strong {
		file, err := crypto.LoadStrong(c.KeyFile)
		if err == nil {
			err = rightEnd(c, file)
		}
		if err == nil && !file.Sealed() {
			s.strong, err = file.Open(nil)
		}
		s.file = file
		problem("keyfile", err)
		return
	}
	key, err := loadShared(c.KeyFile)
	problem("keyfile", err)
	s.keys = append(s.keys, key)
	if c.OldKeyFile != "" {
		old, err := loadShared(c.OldKeyFile)
		problem("oldkeyfile", err)
		s.keys = append(s.keys, old)
	}
}

// loadShared reads a shared key.
func loadShared(path string) (*crypto.Key, error) {
	key, err := crypto.LoadKey(path)
	if errors.Is(err, crypto.ErrStrongKey) {
		err = fmt.Errorf(`%w, or "auth strong"`, err)
	}
	return key, err
}

// rightEnd sees that a key belongs to this end: the two files of a pair are mixed up
// easily.
func rightEnd(c *conf.Config, file *crypto.StrongFile) error {
	if string(file.Role()) == string(c.Mode) {
		return nil
	}
	name := map[conf.Mode]string{conf.Server: crypto.ServerFile, conf.Client: crypto.ClientFile}[c.Mode]
	return fmt.Errorf("key file %s: this is the key of the %s: the %s needs the other one of the pair (%s)", c.KeyFile, file.Role(), c.Mode, name)
}

// unlock opens the key if it is sealed.
func (s *secrets) unlock(c *conf.Config, phrases *passphrases) (err error) {
	if s.file == nil || s.strong != nil {
		return nil
	}
	phrases.path = c.Passphrase
	if s.strong, err = phrases.unlock(c.KeyFile, s.file); err != nil {
		return keyError(fmt.Errorf("%s: keyfile: %w", c.Where("keyfile"), err))
	}
	return nil
}

// about says which key this is.
func (s *secrets) about() string {
	switch {
	case s.strong != nil:
		return "link " + s.strong.ID().String()
	case s.file != nil:
		return "key sealed, and not opened without a pass phrase"
	}
	return s.keys[0].String()
}

// handOn returns the pass phrase that the daemon will need and cannot ask for, since
// it has no terminal; nil if it needs none, or gets it by itself.
func (o *options) handOn(sys system) ([]byte, error) {
	c, err := o.config()
	if err != nil || c.Auth != conf.Strong || c.Key != "" {
		return nil, err
	}
	file, err := crypto.LoadStrong(c.KeyFile)
	if err != nil || !file.Sealed() {
		return nil, nil // the daemon says so, and what else is wrong
	}
	phrases := newPassphrases(o, sys)
	phrases.path = c.Passphrase
	phrase, err := phrases.handOn("Pass phrase of " + c.KeyFile)
	if err != nil {
		return nil, keyError(fmt.Errorf("%s: keyfile: %w", c.Where("keyfile"), err))
	}
	return phrase, nil
}

// journalFile is where a server's transaction numbers are.
func journalFile(c *conf.Config) string { return filepath.Join(c.StateDir, c.Name+".numbers") }
