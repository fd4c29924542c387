// Package chat runs expect/send scripts over a line, in the language of pppd's
// chat(8): what a modem is told before a link, and what it answers.
//
// A script is a sequence of words, expected and sent by turns. A line that
// begins with # is a comment. A word in quotes of either kind may hold blanks;
// quotes inside a word are part of it.
//
//	ABORT BUSY ABORT 'NO CARRIER'    # in truth, comments have their own lines
//	TIMEOUT 60
//	''      ATZ
//	OK-+++-OK ATDT5551234
//	CONNECT \d\c
//
// An expected word may hold what to send when it does not come in time, and
// what to expect then: OK-+++-OK. Instead of an expected word there may be a
// keyword, which takes the next word as its argument:
//
//	ABORT, CLR_ABORT    end the script with an error when this is read; no longer
//	REPORT, CLR_REPORT  report this and the rest of its line, once; no longer
//	TIMEOUT             seconds to wait for an expected word, 45 at first
//	SAY                 text for people
//	ECHO ON, OFF        show people what is read
//	HANGUP OFF, ON      the line may be hung up in the middle; it may not
//
// What is sent ends with a carriage return, unless it is EOT (^D) or BREAK.
//
//	\b backspace  \n newline  \r return  \s space  \t tab  \\ backslash
//	\ddd octal    ^C control  \X any other character as it is
//
// and only in what is sent (in what is expected they are left out)
//
//	\c  no carriage return (at the end)   \K  BREAK         \N  a zero byte
//	\d  wait a second                     \p  wait 1/10 s   \q  keep it out of the log
package chat

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Line is what a script talks over.
type Line interface {
	io.ReadWriter
	// SetDeadline bounds Read and Write, as that of a net.Conn.
	SetDeadline(t time.Time) error
	// SendBreak holds the line in the BREAK state for about a quarter of a second.
	SendBreak() error
}

// Watcher is told what happens. What \q hides is written as six question marks.
type Watcher interface {
	Sent(text string)
	Received(text string) // a line, or what there is of it
	Say(text string)
	Report(text string)
}

// Script is a parsed script. It may run many times, also at once.
type Script struct {
	file  string
	steps []step
}

// Causes of an Error.
var (
	// ErrAbort says that the line said something that the script gives up on.
	ErrAbort = errors.New("ABORT")
	// ErrTimeout says that what the script expects did not come in time.
	ErrTimeout = errors.New("not received in time")
)

// Error is where and why a script ended before its time.
type Error struct {
	File string
	Line int
	Text string // what was expected, or what the script gives up on
	Err  error
}

func (e *Error) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
	}
	return fmt.Sprintf("%s:%d: %q: %v", e.File, e.Line, e.Text, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// step is a pair of words: a keyword and its argument, or something expected and
// something to send.
type step struct {
	line  int
	do    action
	text  string        // the argument of a keyword
	on    bool          // of ECHO and HANGUP
	wait  time.Duration // of TIMEOUT
	tries []try         // of expect
	reply *message      // of expect; nil when the script ends before
}

// action is what a step does.
type action uint8

const (
	expect action = iota
	abort
	clearAbort
	report
	clearReport
	timeout
	say
	echo
	hangup
)

var keywords = map[string]action{
	"ABORT": abort, "CLR_ABORT": clearAbort, "REPORT": report, "CLR_REPORT": clearReport,
	"TIMEOUT": timeout, "SAY": say, "ECHO": echo, "HANGUP": hangup,
}

// try is something expected, and what to send when it does not come; nil when
// there is nothing to try then.
type try struct {
	want      string
	otherwise *message
}

// message is what is sent at once.
type message struct {
	parts  []part
	hidden bool
}

// part is bytes, or a wait, or a BREAK.
type part struct {
	text    string
	wait    time.Duration
	breakIt bool
}

// text is what of a message may be shown.
func (m *message) text() string {
	if m.hidden {
		return mask
	}
	return m.plain()
}

func (m *message) plain() (text string) {
	for _, p := range m.parts {
		text += p.text
	}
	return text
}

// mask stands in the place of what \q hides.
const mask = "??????"
