package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"vpnd/crypto"
)

const (
	// credentialsEnv names the directory in which systemd puts what LoadCredential=
	// and SetCredentialEncrypted= give to a service; systemd.exec(5).
	credentialsEnv = "CREDENTIALS_DIRECTORY"
	credential     = "vpnd.passphrase"
	// maxPhrase bounds what is read; package crypto says how long a pass phrase may be.
	maxPhrase = 1024
)

// passphrases gets pass phrases: from the descriptor that the command line names, or
// else from the file that the configuration names, or else from systemd, or else from
// the terminal. They come neither from an argument nor
// from the environment, which others can read.
type passphrases struct {
	fd      *int
	path    string   // "" without
	silent  bool     // nobody is asked
	pending [][]byte // lines of the descriptor that were not used yet; nil: it was not read
	signals func() (<-chan os.Signal, func())
}

func newPassphrases(o *options, sys system) *passphrases {
	return &passphrases{fd: o.passphraseFD, signals: sys.signals}
}

// unlock returns the key in a file, sealed or not.
func (p *passphrases) unlock(path string, file *crypto.StrongFile) (*crypto.StrongKey, error) {
	if !file.Sealed() {
		return file.Open(nil)
	}
	passphrase, err := p.present("Pass phrase of " + path)
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	key, err := file.Open(passphrase)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return key, nil
}

// present returns the pass phrase of a file that is sealed.
func (p *passphrases) present(prompt string) ([]byte, error) {
	if phrase, err := p.handOn(prompt); phrase != nil || err != nil {
		return phrase, err
	}
	if p.path != "" {
		return readPhraseFile(p.path)
	}
	return readCredential()
}

// handOn returns the pass phrase if another process of this command could not get it
// by itself.
func (p *passphrases) handOn(prompt string) ([]byte, error) {
	switch {
	case p.fd != nil:
		return p.line()
	case p.path != "" || hasCredential():
		return nil, nil
	case p.silent:
		return nil, errNoTerminal
	}
	return p.ask(prompt)
}

// seal returns a pass phrase for new files.
func (p *passphrases) seal(prompt string) ([]byte, error) {
	if p.fd != nil {
		return good(p.line())
	}
	if phrase, err := readCredential(); phrase != nil || err != nil {
		return good(phrase, err)
	}
	return good(p.askTwice(prompt))
}

// good returns a new pass phrase if it is one.
func good(phrase []byte, err error) ([]byte, error) {
	if err == nil {
		err = crypto.CheckPassphrase(phrase)
	}
	if err != nil {
		clear(phrase)
		return nil, err
	}
	return phrase, nil
}

// change returns a new pass phrase for a file that exists, or nil if it shall stay as
// it is: there is no further line, nobody at the terminal, or nothing was typed.
func (p *passphrases) change(prompt string) ([]byte, error) {
	if p.fd != nil {
		if err := p.readLines(); err != nil || len(p.pending) == 0 {
			return nil, err
		}
		return good(p.line())
	}
	if !isTerminal(int(os.Stdin.Fd())) {
		return nil, nil
	}
	phrase, err := p.askTwice(prompt)
	if len(phrase) == 0 {
		return nil, err
	}
	return good(phrase, err)
}

// line returns the next line of the descriptor.
func (p *passphrases) line() ([]byte, error) {
	if err := p.readLines(); err != nil {
		return nil, err
	}
	if len(p.pending) == 0 {
		return nil, fmt.Errorf("descriptor %d gives no pass phrase", *p.fd)
	}
	line := p.pending[0]
	p.pending = p.pending[1:]
	return line, nil
}

// readLines reads the descriptor, once: at most two lines.
func (p *passphrases) readLines() error {
	if p.pending != nil {
		return nil
	}
	if isTerminal(*p.fd) {
		return fmt.Errorf("descriptor %d is a terminal, which would show the pass phrase: leave out --passphrase-fd", *p.fd)
	}
	text, err := readDescriptor(*p.fd)
	if err != nil {
		return fmt.Errorf("pass phrase: %w", err)
	}
	p.pending = [][]byte{}
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		p.pending, text = append(p.pending, line), rest
	}
	if len(p.pending) > 2 {
		return fmt.Errorf("descriptor %d gives more than two lines: the pass phrase, and with -c a new one", *p.fd)
	}
	return nil
}

// readDescriptor reads what somebody has opened for us, and closes it: no script that
// is run later shall have it. The standard ones stay, so that nothing else gets their
// numbers.
func readDescriptor(fd int) ([]byte, error) {
	name := fmt.Sprintf("descriptor %d", fd)
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f := os.NewFile(uintptr(copied), name)
	defer f.Close()
	text, err := readPhrases(f)
	if err == nil && fd > 2 {
		err = unix.Close(fd)
	}
	return text, err
}

// readPhrases reads a file that holds a pass phrase or two.
func readPhrases(f *os.File) ([]byte, error) {
	text := make([]byte, 0, 2*(maxPhrase+1)+1) // never moved: no copies are left
	for len(text) < cap(text) {
		n, err := f.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if err == io.EOF {
			return text, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s holds more than a pass phrase or two", f.Name())
}

// readCredential returns what systemd has for us, nil if it has nothing.
func readCredential() ([]byte, error) {
	if !hasCredential() {
		return nil, nil
	}
	f, err := os.OpenFile(credentialFile(), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("pass phrase: %w", err)
	}
	defer f.Close()
	text, err := readPhrases(f)
	if err != nil {
		return nil, fmt.Errorf("pass phrase: %w", err)
	}
	return onlyLine(f.Name(), text)
}

// hasCredential reports whether systemd has a pass phrase for us.
func hasCredential() bool {
	if os.Getenv(credentialsEnv) == "" {
		return false
	}
	_, err := os.Lstat(credentialFile())
	return !errors.Is(err, os.ErrNotExist)
}

func credentialFile() string { return filepath.Join(os.Getenv(credentialsEnv), credential) }

// readPhraseFile returns what stands in a file, of which crypto demands the same as of
// a key.
func readPhraseFile(path string) ([]byte, error) {
	text, err := crypto.ReadPrivate("file of the pass phrase", path)
	if err != nil {
		return nil, err
	}
	return onlyLine(path, text)
}

// onlyLine returns the one line that a file has.
func onlyLine(name string, text []byte) ([]byte, error) {
	text = bytes.TrimSuffix(text, []byte("\n"))
	if len(text) == 0 || bytes.ContainsRune(text, '\n') {
		return nil, fmt.Errorf("pass phrase: %s is not one line", name)
	}
	return text, nil
}
