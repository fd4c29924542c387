package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
	"vpnd/crypto"
)

// isTerminal reports whether a descriptor is a terminal.
func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, getTermios)
	return err == nil
}

var (
	errNoTerminal = errors.New("there is no terminal to ask for the pass phrase: use --passphrase-fd, or give the service a credential " + credential)
	errMismatch   = errors.New("the two pass phrases differ: nothing was changed")
)

// askTwice asks for a new pass phrase, and again, since nobody sees what he types.
// What is none is not asked for again.
func (p *passphrases) askTwice(prompt string) ([]byte, error) {
	first, err := p.ask(prompt)
	if err != nil || crypto.CheckPassphrase(first) != nil {
		return first, err
	}
	second, err := p.ask("The same again")
	if err == nil && !bytes.Equal(first, second) {
		err = errMismatch
	}
	clear(second)
	if err != nil {
		clear(first)
		return nil, err
	}
	return first, nil
}

// ask asks on the terminal of the process, wherever its input and output lead. What is
// typed is not shown. The terminal is left as it was, whatever happens.
func (p *passphrases) ask(prompt string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, errNoTerminal
	}
	defer tty.Close()
	// Not by Fd, which would make reads wait where Close cannot wake them.
	raw, err := tty.SyscallConn()
	if err != nil {
		return nil, err
	}
	restore, err := quiet(raw.Control)
	if err != nil {
		return nil, fmt.Errorf("turn off the echo of the terminal: %w", err)
	}
	defer restore()
	signals, release := p.signals()
	defer release()
	if _, err := fmt.Fprintf(tty, "%s: ", prompt); err != nil {
		return nil, err
	}
	defer io.WriteString(tty, "\n") // the one that was typed is not shown either
	type result struct {
		line []byte
		err  error
	}
	typed := make(chan result, 1)
	go func() {
		line, err := readTyped(tty)
		typed <- result{line, err}
	}()
	select {
	case r := <-typed:
		return r.line, r.err
	case s := <-signals:
		return nil, exit.Withf(exit.Temporary, "asking for the pass phrase: %v", s)
	}
}

// readTyped reads a line. A terminal gives one whole.
func readTyped(tty io.Reader) ([]byte, error) {
	text := make([]byte, maxPhrase+1)
	n, err := tty.Read(text)
	line, ok := bytes.CutSuffix(text[:n], []byte("\n"))
	switch {
	case err == io.EOF || err == nil && n == 0:
		return nil, errors.New("no pass phrase was typed")
	case err != nil:
		return nil, err
	case !ok && n == len(text):
		clear(text)
		return nil, fmt.Errorf("the pass phrase has more than %d bytes", maxPhrase)
	case !ok:
		return nil, errors.New("the pass phrase was not ended with Enter")
	}
	return line, nil
}

// quiet turns off the echo, and the keys that stop or abort a process: they would
// leave the terminal so. Interrupt remains, and ends the asking. It does not throw away what
// was written: that may be what is said about it.
func quiet(control func(func(fd uintptr)) error) (restore func(), err error) {
	var before *unix.Termios
	set := func(t *unix.Termios) (err error) {
		if e := control(func(fd uintptr) { err = unix.IoctlSetTermios(int(fd), setTermiosFlush, t) }); e != nil {
			return e
		}
		return err
	}
	if e := control(func(fd uintptr) { before, err = unix.IoctlGetTermios(int(fd), getTermios) }); e != nil {
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	t := *before
	t.Lflag &^= unix.ECHO
	t.Lflag |= unix.ICANON | unix.ISIG | unix.NOFLSH
	t.Cc[unix.VSUSP], t.Cc[unix.VQUIT] = noKey, noKey
	return func() { set(before) }, set(&t)
}
