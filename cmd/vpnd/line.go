package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
	"vpnd/conf"
	"vpnd/serial"
	"vpnd/serial/chat"
	"vpnd/tunnel"
	"vpnd/tunnel/frame"
	"vpnd/tunnel/link"
)

// line is the serial line of a daemon, and what --status tells of it.
type line struct {
	link *link.Serial
	open atomic.Pointer[link.SerialPort] // the last one
}

func newLine(c *conf.Config, script *chat.Script, log *slog.Logger) *line {
	mode := serial.Mode{Speed: c.Speed, Local: c.LocalLine, RTSCTS: !c.NoRTSCTS}
	if c.RS485 != nil {
		mode.RS485 = &serial.RS485{Before: c.RS485.Before, After: c.RS485.After}
	}
	return &line{link: &link.Serial{Device: c.Device, LockDir: lockDir(log), Mode: mode, Chat: script, Log: log}}
}

// lockDir is where programs that use serial lines leave their lock files, "" when
// there is no such directory, or not for this user: Debian's is for everybody,
// others' for root. The line itself is locked in any case.
func lockDir(log *slog.Logger) string {
	for _, dir := range []string{"/run/lock", "/var/lock"} {
		err := unix.Access(dir, unix.W_OK)
		if err == nil {
			return dir
		}
		if !errors.Is(err, os.ErrNotExist) {
			log.Warn("no lock file for the line: programs that look for nothing else do not see that it is in use", "directory", dir, "error", err)
			return ""
		}
	}
	return ""
}

// check opens and closes the line, so that what is wrong with it is the command's
// error.
func (l *line) check(c *conf.Config) error {
	err := l.link.Check()
	where := c.Where("client")
	if c.Server[0].Device == c.Device {
		where = c.Where("server")
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrPermission):
		return exit.Withf(exit.NoPerm, "%s: %w: the user has to be in the group of the device, dialout as a rule", where, err)
	}
	return exit.Withf(exit.Unavailable, "%s: %w", where, err)
}

// tunnelLine is the line as a tunnel uses it.
func (l *line) tunnelLine(c *conf.Config) *tunnel.Line {
	return &tunnel.Line{
		Open: func(ctx context.Context) (tunnel.Port, error) {
			port, err := l.link.Open(ctx)
			if err != nil {
				return nil, err
			}
			l.open.Store(port)
			return port, nil
		},
		Name:       c.Device,
		Speed:      c.Speed,
		Filter:     frame.Filter{XON: c.XFilter, Telnet: c.Telnet},
		Answers:    c.Mode == conf.Server,
		Modem:      c.ModemChat != "",
		HalfDuplex: c.HalfDuplex,
		Demand:     c.Demand,
		Idle:       c.Idle,
	}
}

// lineReport is what --status tells of a serial line.
type lineReport struct {
	Device string `json:"device"`
	Speed  int    `json:"speed"` // bit/s
	// UART is what went wrong since the host started, where the driver counts it.
	UART map[string]uint64 `json:"uart,omitempty"`
}

// report returns nil when there is no serial line.
func (l *line) report() *lineReport {
	if l == nil {
		return nil
	}
	r := &lineReport{Device: l.link.Device, Speed: l.link.Mode.Speed}
	port := l.open.Load()
	if port == nil {
		return r
	}
	r.Speed = port.Speed()
	if c, known := port.Counters(); known {
		r.UART = map[string]uint64{
			"overrun": uint64(c.Overrun), "framing": uint64(c.Framing), "parity": uint64(c.Parity),
			"break": uint64(c.Break), "overflow": uint64(c.Overflow),
		}
	}
	return r
}

// runChat is vpnd -t.
func (o *options) runChat(sys system) error {
	c, err := o.config()
	if err != nil {
		return err
	}
	if c.Device == "" {
		return exit.Withf(exit.Config, "%s: there is no serial line, so no modem to talk to", c.Path)
	}
	if c.ModemChat == "" {
		return exit.Withf(exit.Config, `%s: there is no chat script to test; name one with "modemchat PATH"`, c.Path)
	}
	s, err := prepare(c)
	if err != nil {
		return err
	}
	s.close()
	l := newLine(c, s.chat, slog.New(slog.NewTextHandler(sys.stderr, nil)))
	if err := l.check(c); err != nil {
		return err
	}
	ctx, stop := untilSignal(sys)
	defer stop(nil)
	return exit.With(exit.Temporary, l.converse(ctx, sys.stdout))
}

// untilSignal returns a context that ends with the first signal. The second one ends
// the process.
func untilSignal(sys system) (context.Context, context.CancelCauseFunc) {
	signals, release := sys.signals()
	ctx, stop := context.WithCancelCause(context.Background())
	go func() {
		select {
		case sig := <-signals:
			release()
			stop(fmt.Errorf("stopped by signal: %v", sig))
		case <-ctx.Done():
		}
	}()
	return ctx, stop
}

// converse runs the script and prints what is said.
func (l *line) converse(ctx context.Context, out io.Writer) error {
	l.link.Watch = transcript{out, time.Now()}
	port, err := l.link.Open(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "the script came to its end; hanging up")
	return errors.Join(err, port.Close())
}

// transcript prints a dialogue with a modem, each line with the seconds since the
// begin.
type transcript struct {
	out   io.Writer
	began time.Time
}

func (t transcript) print(what, text string) {
	fmt.Fprintf(t.out, "%6.1f %-8s %s\n", time.Since(t.began).Seconds(), what, printable(text))
}

// Sent leaves out the carriage return, and what has nothing else.
func (t transcript) Sent(text string) {
	if text = strings.TrimSuffix(text, "\r"); text != "" {
		t.print("send", text)
	}
}

func (t transcript) Received(text string) { t.print("receive", text) }
func (t transcript) Say(text string)      { t.print("say", text) }
func (t transcript) Report(text string)   { t.print("report", text) }
