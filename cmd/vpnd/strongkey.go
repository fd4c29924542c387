package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"vpnd/cmd/internal/exit"
	"vpnd/crypto"
)

func (o *options) setPassphraseFD(text string) error {
	fd, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return errors.New("it is not the number of a descriptor")
	}
	o.passphraseFD = new(int(fd))
	return nil
}

// validateStrong is the part of validate that concerns strong keys.
func (o *options) validateStrong() error {
	switch {
	case o.passphrase && !o.makeStrong:
		return exit.Withf(exit.Usage, "--passphrase goes with -x; -c asks by itself")
	case o.passphraseFD != nil && (o.makeKey || o.status || o.chat || o.flags.Changed("resync") || o.word == revokeWord):
		return exit.Withf(exit.Usage, "--passphrase-fd goes with -x, -c, --check, invite and the daemon")
	case o.flags.Changed("resync") && (o.resync == "" || len(resyncWord+o.resync) >= maxRequest || strings.Contains(o.resync, "\n")):
		return exit.Withf(exit.Usage, "--resync needs the name of a client, or the id of its link")
	case o.makeStrong && len(o.args) == 0:
		return exit.Withf(exit.Usage, "-x needs a directory")
	case o.checkKey && len(o.args) == 0:
		return exit.Withf(exit.Usage, "-c needs a key file")
	}
	return nil
}

// runMakeStrong is vpnd -x.
func (o *options) runMakeStrong(sys system) error {
	dir := o.args[0]
	var passphrase []byte
	if o.passphrase || o.passphraseFD != nil {
		var err error
		if passphrase, err = newPassphrases(o, sys).seal("Pass phrase for the keys in " + dir); err != nil {
			return keyError(err)
		}
		defer clear(passphrase)
	}
	id, err := crypto.MakeStrongPair(dir, rand.Reader, passphrase)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(sys.stdout, "made %s for the server and %s for the client (link %v)\n"+
		"Move the client's to the client over a safe way, and keep their mode 0600.\n",
		filepath.Join(dir, crypto.ServerFile), filepath.Join(dir, crypto.ClientFile), id)
	return err
}

// runCheckKey is vpnd -c.
func (o *options) runCheckKey(sys system) error {
	path := o.args[0]
	file, err := crypto.LoadStrong(path)
	if errors.Is(err, crypto.ErrSharedKey) {
		return o.checkShared(sys.stdout, path)
	}
	if err != nil {
		return exit.With(exit.Config, err)
	}
	phrases := newPassphrases(o, sys)
	key, err := phrases.unlock(path, file)
	if err != nil {
		return keyError(err)
	}
	state := "not sealed"
	if file.Sealed() {
		state = "sealed under a pass phrase"
	}
	if _, err := fmt.Fprintf(sys.stdout, "%s is right: strong key of the %s, link %v, %s\nits public key is %v\n",
		path, key.Role(), key.ID(), state, key.Identity().Public()); err != nil {
		return err
	}
	passphrase, err := phrases.change("New pass phrase for " + path + " (empty: leave the file as it is)")
	if err != nil || passphrase == nil {
		return keyError(err)
	}
	defer clear(passphrase)
	if err := file.ChangePassphrase(path, key, rand.Reader, passphrase); err != nil {
		return err
	}
	_, err = fmt.Fprintf(sys.stdout, "%s is sealed under the new pass phrase\n", path)
	return err
}

// keyError gives an error that concerns a key its exit code, unless it has one.
func keyError(err error) error {
	if errors.As(err, new(*exit.Error)) {
		return err
	}
	return exit.With(exit.Config, err)
}

// runResync is vpnd --resync.
func (o *options) runResync(sys system) error {
	c, err := o.config()
	if err != nil {
		return err
	}
	text, err := request(c.Control, resyncWord+o.resync+"\n")
	if err != nil {
		return noAnswer(exit.Unavailable, c, err)
	}
	var got reply
	switch err := json.Unmarshal(text, &got); {
	case err != nil || got == reply{}:
		return exit.Withf(exit.Unavailable, "answer from %s: not that of a vpnd which knows --resync", c.Control)
	case got.Error != "":
		return exit.Withf(exit.Usage, "%s", printable(got.Error))
	}
	_, err = fmt.Fprintln(sys.stdout, printable(got.Done))
	return err
}

// checkShared is vpnd -c with a key of vpnd -m.
func (o *options) checkShared(out io.Writer, path string) error {
	key, err := crypto.LoadKey(path)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	_, err = fmt.Fprintf(out, "%s is right: shared key, key id %v\n", path, key.ID())
	return err
}
