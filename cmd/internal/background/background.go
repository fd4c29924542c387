// Package background is what a program needs that stays for years: it detaches from who
// started it, logs to where nobody can hold it up, and keeps what it said when it crashed.
package background

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"vpnd/cmd/internal/exit"
	"vpnd/tunnel/netif"
)

// Program is one that stays.
type Program struct {
	Name     string // of the program
	Instance string // which one of several
	// CrashFile is where what it says when it crashes is kept: the standard error of one
	// that has detached leads nowhere. It is empty as long as there was no crash.
	CrashFile string
	Stderr    io.Writer
}

// Foreground runs a program that did not detach. It logs to standard error.
func (p *Program) Foreground(serve func(log *slog.Logger, ready func() error) error) error {
	out := newLogQueue(p.Stderr)
	defer out.close()
	return serve(slog.New(slog.NewTextHandler(out, nil)), func() error {
		_ = p.DropCrashes() // it is of no use here
		return nil
	})
}

// Background runs the second process of a program that detaches; Detach started it. It
// logs to syslog or the journal, and until it is up warnings go to standard error, too.
func (p *Program) Background(serve func(log *slog.Logger, ready func() error) error) error {
	log, syslog := newSyslog(p.Name, p.Instance, p.Stderr)
	err := serve(log, func() error {
		if err := p.keepCrashes(log); err != nil {
			log.Warn("the reason of a crash would be lost", "error", err)
		}
		if !syslog.available() {
			log.Warn(fmt.Sprintf("no system log here (%s): messages of the detached daemon are lost; -n logs to standard error", logSocket))
		}
		syslog.release()
		return Ready()
	})
	if err != nil {
		syslog.release() // the terminal gets the error from the caller
		log.Error("daemon ends", "error", err)
	}
	return err
}

// DropCrashes removes the crash file when there was no crash, also one that a killed
// process left. Only who holds the instance may do it.
func (p *Program) DropCrashes() error {
	info, err := os.Lstat(p.CrashFile)
	if err != nil || info.Size() > 0 {
		return nil
	}
	return os.Remove(p.CrashFile)
}

// Code returns the exit code for an error of a program that has an interface.
func Code(err error) int {
	code := exit.Code(err)
	switch {
	case code != exit.Internal:
	case errors.Is(err, netif.ErrPermission):
		code = exit.NoPerm
	case errors.Is(err, netif.ErrUnavailable), errors.Is(err, netif.ErrRunning):
		code = exit.Unavailable
	}
	return code
}
