package chat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// firstTimeout holds until the script says TIMEOUT.
	firstTimeout = 45 * time.Second
	// typing is the pause after each byte that is sent: a modem in command mode may
	// be slower than its line.
	typing = 10 * time.Millisecond
	// hungUpPause is the pause between reads of a line that may be hung up.
	hungUpPause = 100 * time.Millisecond
	// maxLine is what is shown of a line at once. What \q hides is found only in one
	// piece.
	maxLine = 1000
	// reportWait is how long a report waits for the next byte after the end of the
	// script.
	reportWait = time.Second
)

// Run talks until the script ends, something goes wrong, or ctx ends. What comes
// after the last expected byte, or after the line of a report, is left in the line.
// Its error is an Error, with ErrAbort, ErrTimeout, or what the line said.
func (s *Script) Run(ctx context.Context, line Line, watch Watcher) error {
	c := conversation{ctx: ctx, line: line, watch: watch, timeout: firstTimeout}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		line.SetDeadline(time.Unix(1, 0))
		close(ended)
	})
	defer func() {
		if !stop() {
			<-ended
		}
		line.SetDeadline(time.Time{})
	}()
	defer c.lastReport()
	for _, step := range s.steps {
		text, err := c.step(step)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err != nil {
			return &Error{File: s.file, Line: step.line, Text: text, Err: err}
		}
	}
	return nil
}

// conversation is a running script.
type conversation struct {
	ctx     context.Context
	line    Line
	watch   Watcher
	timeout time.Duration
	aborts  []string
	reports []string
	secrets []string // what \q hid, in case the line echoes it
	echo    bool
	mayHang bool

	seen   []byte // the last bytes read, at most maxText
	shown  []byte // of the present line, not shown yet
	report []byte // being gathered, nil if not
}

// step returns the text that an error is about.
func (c *conversation) step(s step) (string, error) {
	switch s.do {
	case abort:
		c.aborts = append(c.aborts, s.text)
	case clearAbort:
		c.aborts = without(c.aborts, s.text)
	case report:
		c.reports = append(c.reports, s.text)
	case clearReport:
		c.reports = without(c.reports, s.text)
	case timeout:
		c.timeout = s.wait
	case say:
		c.watch.Say(s.text)
	case echo:
		c.echo = s.on
	case hangup:
		c.mayHang = !s.on
	case expect:
		return c.exchange(s)
	}
	return "", nil
}

func without(all []string, text string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return s == text })
}

// exchange waits for what is expected, with its other tries, and sends the reply.
func (c *conversation) exchange(s step) (string, error) {
	for _, t := range s.tries {
		text, err := c.await(t.want)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrTimeout) || t.otherwise == nil {
			return text, err
		}
		if err := c.send(t.otherwise); err != nil {
			return "", err
		}
	}
	if s.reply == nil {
		return "", nil
	}
	return "", c.send(s.reply)
}

// await reads until want has come. Like chat(8) it looks only at what is read from
// now on.
func (c *conversation) await(want string) (string, error) {
	if want == "" {
		return "", nil
	}
	defer c.show()
	c.seen = c.seen[:0]
	end := time.Now().Add(c.timeout)
	c.line.SetDeadline(end)
	for c.ctx.Err() == nil {
		switch err := c.read(); {
		case c.ctx.Err() != nil:
			return "", c.ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded), err != nil && c.mayHang && time.Now().After(end):
			return want, fmt.Errorf("%w: %v", ErrTimeout, c.timeout)
		case err != nil && c.mayHang:
			c.pause(hungUpPause)
		case err != nil:
			return "", err
		}
		if c.ends(want) {
			return "", nil
		}
		if i := slices.IndexFunc(c.aborts, c.ends); i >= 0 {
			return c.aborts[i], ErrAbort
		}
	}
	return "", c.ctx.Err()
}

// ends reports whether text is what was read last.
func (c *conversation) ends(text string) bool { return bytes.HasSuffix(c.seen, []byte(text)) }

// read takes one byte, so that none is taken that belongs to what comes after
// the script.
func (c *conversation) read() error {
	var b [1]byte
	if n, err := c.line.Read(b[:]); n == 0 {
		return err
	}
	b[0] &= 0x7f // the eighth bit may be a parity that nobody asked for
	if len(c.seen) == 2*maxText {
		c.seen = append(c.seen[:0], c.seen[maxText:]...)
	}
	c.seen = append(c.seen, b[0])
	c.gather(b[0])
	if b[0] == '\n' || len(c.shown) == maxLine {
		c.show()
	}
	if b[0] != '\r' && b[0] != '\n' {
		c.shown = append(c.shown, b[0])
	}
	return nil
}

// gather collects what REPORT asks for: the text, and what follows it up to the
// next control character.
func (c *conversation) gather(b byte) {
	if c.report != nil {
		if b >= ' ' && len(c.report) < maxText {
			c.report = append(c.report, b)
			return
		}
		c.reported()
	}
	if i := slices.IndexFunc(c.reports, c.ends); i >= 0 {
		c.report = []byte(c.reports[i])
		c.reports = slices.Delete(c.reports, i, i+1)
	}
}

func (c *conversation) reported() {
	if c.report != nil {
		c.watch.Report(c.masked(c.report))
		c.report = nil
	}
}

// lastReport reads the rest of a report's line at the end of the script: it is
// CONNECT as a rule, and the speed stands behind it.
func (c *conversation) lastReport() {
	for c.report != nil && c.ctx.Err() == nil {
		c.line.SetDeadline(time.Now().Add(reportWait))
		if c.read() != nil {
			break
		}
	}
	c.reported()
	c.show()
}

// show tells the watcher of the line that is being read.
func (c *conversation) show() {
	if len(c.shown) == 0 {
		return
	}
	text := c.masked(c.shown)
	c.shown = c.shown[:0]
	c.watch.Received(text)
	if c.echo {
		c.watch.Say(text)
	}
}

// masked is what of a text may be shown.
func (c *conversation) masked(b []byte) string {
	text := string(b)
	for _, secret := range c.secrets {
		text = strings.ReplaceAll(text, secret, mask)
	}
	return text
}

// send sends a message.
func (c *conversation) send(m *message) error {
	if secret := strings.TrimSpace(m.plain()); m.hidden && secret != "" {
		c.secrets = append(c.secrets, secret)
	}
	c.watch.Sent(m.text())
	for _, p := range m.parts {
		c.pause(p.wait)
		if p.breakIt {
			if err := c.line.SendBreak(); err != nil {
				return fmt.Errorf("send break: %w", err)
			}
		}
		err := c.write(p.text)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("send: the line takes nothing for %v, flow control? (%w)", c.timeout, err)
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return c.ctx.Err()
}

func (c *conversation) write(text string) error {
	c.line.SetDeadline(time.Now().Add(c.timeout))
	for i := range len(text) {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if _, err := c.line.Write([]byte{text[i]}); err != nil {
			return err
		}
		c.pause(typing)
	}
	return nil
}

// pause waits for d or the end of the context.
func (c *conversation) pause(d time.Duration) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.ctx.Done():
	case <-timer.C:
	}
}
