// Package exit has what the programs say when they end: exit codes, errors that have
// one, and the version.
package exit

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
)

// Exit codes, those of sysexits.h where it has one.
const (
	OK          = 0
	Internal    = 1
	Usage       = 2
	Down        = 3 // --status: no link
	Unknown     = 4 // --status: no daemon, or it does not tell
	Unavailable = 69
	Temporary   = 75 // -t: the modem or the other end did not do its part
	NoPerm      = 77
	Config      = 78
)

// Version is that of all programs.
const Version = "2.0"

// Error is an error that ends a program with a code of its own.
type Error struct {
	Code int
	Err  error // nil: everything is said
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// With gives an error, unless it is nil, an exit code.
func With(code int, err error) error {
	if err == nil {
		return nil
	}
	return &Error{code, err}
}

// Withf makes an error with an exit code.
func Withf(code int, format string, args ...any) error {
	return &Error{code, fmt.Errorf(format, args...)}
}

// Code returns the exit code for an error.
func Code(err error) int {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, os.ErrPermission):
		return NoPerm
	}
	return Internal
}

// IsSaid reports whether an error needs no more words.
func IsSaid(err error) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && e.Err == nil
}

// About returns what a program says to --version.
func About(program string) string {
	text := fmt.Sprintf("%s %s, %s/%s, %s", program, Version, runtime.GOOS, runtime.GOARCH, runtime.Version())
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return text
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			text += ", revision " + s.Value
		}
	}
	return text
}
