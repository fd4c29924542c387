package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"vpnd/cmd/internal/exit"
	"vpnd/conf"
	"vpnd/crypto"
	"vpnd/serial/chat"
	"vpnd/tunnel/hook"
)

// secrets is what a configuration names and the system has to hold ready before
// anything is changed on it.
type secrets struct {
	keys   []*crypto.Key // shared ones
	file   *crypto.StrongFile
	strong *crypto.StrongKey // nil: shared ones, or sealed still
	random io.Reader
	chat   *chat.Script // nil without
	close  func()
}

// problems is everything that is wrong with what a configuration names.
type problems []error

// Error returns one line for each problem.
func (p problems) Error() string { return errors.Join(p...).Error() }

// prepare reads the keys and the chat script, opens the random device and checks
// the hooks. The error joins every problem, each with its file and line.
func prepare(c *conf.Config) (*secrets, error) {
	var found problems
	problem := func(keyword string, err error) {
		if err != nil {
			found = append(found, fmt.Errorf("%s: %s: %w", c.Where(keyword), keyword, err))
		}
	}
	s := &secrets{random: rand.Reader, close: func() {}}
	s.loadKeys(c, problem)
	if c.RandomDev != "" {
		device, err := openRandom(c.RandomDev)
		problem("randomdev", err)
		if err == nil {
			s.random, s.close = crypto.MixRandom(device), func() { device.Close() }
		}
	}
	if c.ModemChat != "" {
		var err error
		s.chat, err = chat.ParseFile(c.ModemChat)
		for _, mistake := range unjoin(err) {
			if errors.As(mistake, new(*chat.Error)) {
				found = append(found, mistake) // has a file and a line of its own
			} else {
				problem("modemchat", mistake)
			}
		}
	}
	problem("pidfile", checkPidfile(c))
	problem("statedir", checkPlace(c.StateDir))
	for _, h := range []struct{ keyword, path string }{
		{"linkup", c.LinkUp}, {"linkdown", c.LinkDown}, {"slipup", c.SlipUp}, {"slipdown", c.SlipDown},
	} {
		if h.path != "" {
			problem(h.keyword, hook.Check(h.path))
		}
	}
	if len(found) > 0 {
		s.close()
		return nil, exit.With(exit.Config, found)
	}
	return s, nil
}

// checkPlace returns an error if there is no directory in which path could be made.
func checkPlace(path string) error {
	_, err := os.Stat(filepath.Dir(path))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w; make the directory", err)
	}
	return nil // what else is wrong, who makes it says
}

func checkPidfile(c *conf.Config) error {
	info, err := os.Lstat(c.PidFile)
	switch dir := filepath.Dir(c.PidFile); {
	case c.PidFile == "":
		return nil
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file; name another one", c.PidFile)
	case dir == c.StateDir || dir == filepath.Dir(c.Control):
		return nil // these are made
	}
	return checkPlace(c.PidFile)
}

// unjoin returns the errors that were joined, or the one there is.
func unjoin(err error) []error {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return all.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// openRandom opens a random device: a character device that the system lists as
// one, or whose driver gives random bytes without end.
func openRandom(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := isRandom(path, info); err != nil { // to open something else may take for ever
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = isRandom(path, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// runCheck is vpnd --check.
func (o *options) runCheck(sys system) error {
	c, err := o.config()
	if err != nil {
		return err
	}
	s, err := prepare(c)
	clients, clientsErr := checkPeers(c)
	if err := errors.Join(err, exit.With(exit.Config, clientsErr)); err != nil {
		return err
	}
	defer s.close()
	phrases := newPassphrases(o, sys)
	phrases.silent = true // a sealed key is opened if that needs nobody
	if err := s.unlock(c, phrases); err != nil && !errors.Is(err, errNoTerminal) {
		return err
	}
	about := s.about()
	if c.Peers != "" {
		about += fmt.Sprintf(", clients: %d", clients)
	}
	_, err = fmt.Fprintf(sys.stdout, "%s is right: %s, %s\n", c.Path, c.Mode, about)
	return err
}

// checkPeers returns how many clients a hub lets in, or what is wrong with their files.
func checkPeers(c *conf.Config) (clients int, err error) {
	if c.Peers == "" {
		return 0, nil
	}
	peers, found, err := c.ReadPeers()
	if err != nil {
		return 0, err
	}
	for _, p := range peers {
		if !p.Enabled {
			continue
		}
		if _, _, err := keysOf(p); err != nil {
			found = append(found, err)
		}
		clients++
	}
	if len(found) > 0 {
		return 0, problems(found)
	}
	return clients, nil
}

// runMakeKey is vpnd -m.
func (o *options) runMakeKey(sys system) error {
	path := "vpnd.key"
	if len(o.args) == 1 {
		path = o.args[0]
	}
	key, err := crypto.MakeKey(path, rand.Reader)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(sys.stdout, "made %s (key id %v)\nCopy it to the other end over a safe way, and keep its mode 0600.\n", path, key.ID())
	return err
}
