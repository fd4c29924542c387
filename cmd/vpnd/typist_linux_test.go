package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// typist is a vpnd that runs on a terminal, and somebody who types.
type typist struct {
	t    *testing.T
	cmd  *exec.Cmd
	pty  *os.File
	out  chan []byte
	seen []byte // all that was on the screen
	read int    // what was waited for
}

// newTypist starts vpnd on a terminal of its own. before changes the command.
func newTypist(t *testing.T, before func(*exec.Cmd), args ...string) *typist {
	t.Helper()
	cmd := exec.Command(binary, args...)
	if before != nil {
		before(cmd)
	}
	return atTerminal(t, cmd, func(start func() error) error { return start() })
}

// atTerminal is newTypist of a command that is started in a place of its own.
func atTerminal(t *testing.T, cmd *exec.Cmd, in func(start func() error) error) *typist {
	t.Helper()
	k := &typist{t: t, cmd: cmd, out: make(chan []byte)}
	must(t, in(func() (err error) {
		k.pty, err = pty.Start(k.cmd)
		return err
	}))
	t.Cleanup(func() {
		k.cmd.Process.Kill() // if it runs still
		k.pty.Close()
		for range k.out {
		}
	})
	go func() {
		defer close(k.out)
		for {
			b := make([]byte, 256)
			n, err := k.pty.Read(b)
			if n > 0 {
				k.out <- b[:n]
			}
			if err != nil { // nobody uses the terminal any more
				return
			}
		}
	}()
	return k
}

// until waits until the terminal shows what matches.
func (k *typist) until(pattern string) {
	k.t.Helper()
	is := regexp.MustCompile(pattern)
	for deadline := time.After(patience); ; {
		if at := is.FindIndex(k.seen[k.read:]); at != nil {
			k.read += at[1]
			return
		}
		select {
		case b, ok := <-k.out:
			if !ok {
				k.t.Fatalf("it ended without %q:\n%s", pattern, k.seen)
			}
			k.seen = append(k.seen, b...)
		case <-deadline:
			k.t.Fatalf("it does not say %q:\n%s", pattern, k.seen)
		}
	}
}

// types types text at a prompt, when nothing of it would be shown.
func (k *typist) types(prompt, text string) {
	k.t.Helper()
	k.until(prompt + `: $`)
	switch flags := k.flags(); {
	case flags&unix.ECHO != 0:
		k.t.Errorf("at %q the terminal shows what is typed", prompt)
	case flags&unix.NOFLSH == 0:
		k.t.Errorf("at %q an interrupt throws away what was written", prompt)
	}
	_, err := k.pty.WriteString(text)
	must(k.t, err)
}

// flags returns the local modes of the terminal.
func (k *typist) flags() uint32 {
	k.t.Helper()
	t, err := unix.IoctlGetTermios(int(k.pty.Fd()), unix.TCGETS)
	must(k.t, err)
	return t.Lflag
}

// ends waits for the end, and checks that the terminal is as it was.
func (k *typist) ends(code int) string {
	k.t.Helper()
	deadline := time.After(patience)
	for over := false; !over; {
		select {
		case b, ok := <-k.out:
			k.seen, over = append(k.seen, b...), !ok
		case <-deadline:
			k.t.Fatalf("it does not end:\n%s", k.seen)
		}
	}
	k.cmd.Wait()
	if got := k.cmd.ProcessState.ExitCode(); got != code {
		k.t.Errorf("exit code %d, want %d:\n%s", got, code, k.seen)
	}
	if k.flags()&unix.ECHO == 0 {
		k.t.Error("the terminal does not show any more what is typed")
	}
	return string(bytes.ReplaceAll(k.seen, []byte("\r\n"), []byte("\n")))
}

// alone runs vpnd without a terminal.
func alone(t *testing.T, before func(*exec.Cmd), args ...string) ended {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if before != nil {
		before(cmd)
	}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return ended{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}
