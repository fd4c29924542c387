package chat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeLine is a line whose other end a test plays.
type fakeLine struct {
	mu     sync.Mutex
	change *sync.Cond
	in     []byte
	out    bytes.Buffer // a BREAK is written as <BREAK>
	err    error        // of Read, when nothing is left
	passed bool
	timer  *time.Timer
	answer func(l *fakeLine, sent string) // called with what was sent since its last call, at each \r
	at     int
}

func newFakeLine(in string) *fakeLine {
	l := &fakeLine{in: []byte(in)}
	l.change = sync.NewCond(&l.mu)
	return l
}

func (l *fakeLine) Read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.passed:
			return 0, os.ErrDeadlineExceeded
		case len(l.in) > 0:
			n := copy(b, l.in)
			l.in = l.in[n:]
			return n, nil
		case l.err != nil:
			return 0, l.err
		}
		l.change.Wait()
	}
}

func (l *fakeLine) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.passed {
		return 0, os.ErrDeadlineExceeded
	}
	l.out.Write(b)
	if l.answer != nil && bytes.HasSuffix(b, []byte("\r")) {
		sent := l.out.String()[l.at:]
		l.at = l.out.Len()
		l.answer(l, sent)
	}
	return len(b), nil
}

func (l *fakeLine) SendBreak() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.out.WriteString("<BREAK>")
	return nil
}

func (l *fakeLine) SetDeadline(at time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
	l.passed = !at.IsZero() && !at.After(time.Now())
	l.change.Broadcast()
	if !at.IsZero() && !l.passed {
		l.timer = time.AfterFunc(time.Until(at), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.passed = true
			l.change.Broadcast()
		})
	}
	return nil
}

// comes lets bytes arrive, or an error when there are none.
func (l *fakeLine) comes(text string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in, l.err = append(l.in, text...), err
	l.change.Broadcast()
}

// diary is a watcher that writes down what it is told.
type diary struct{ strings.Builder }

func (d *diary) Sent(text string)     { fmt.Fprintf(d, "> %q\n", text) }
func (d *diary) Received(text string) { fmt.Fprintf(d, "< %q\n", text) }
func (d *diary) Say(text string)      { fmt.Fprintf(d, "say %q\n", text) }
func (d *diary) Report(text string)   { fmt.Fprintf(d, "report %q\n", text) }

// converse runs a script against what comes from the line.
func converse(t *testing.T, text string, l *fakeLine) (string, error) {
	t.Helper()
	s, err := Parse("test.chat", text)
	if err != nil {
		t.Fatal(err)
	}
	var d diary
	err = s.Run(t.Context(), l, &d)
	return d.String(), err
}

var runTests = []struct {
	name, script, in string
	sent, left       string
	took             time.Duration
	fails            string
	diary            string
}{
	{name: "dial", script: "ABORT BUSY '' ATZ OK ATDT123 CONNECT \\c", in: "ATZ\r\r\nOK\r\nATDT123\r\nCONNECT 33600\r\n~",
		sent: "ATZ\rATDT123\r", left: " 33600\r\n~", took: 12 * typing,
		diary: "> \"ATZ\\r\"\n< \"ATZ\"\n< \"OK\"\n> \"ATDT123\\r\"\n< \"ATDT123\"\n< \"CONNECT\"\n> \"\"\n"},
	{name: "abort", script: "ABORT BUSY ABORT 'NO CARRIER'\nCONNECT a", in: "\r\nNO CARRIER\r\n", left: "\r\n",
		fails: `test.chat:2: "NO CARRIER": ABORT`},
	{name: "abort no more", script: "ABORT BUSY CLR_ABORT BUSY CONNECT a\\c", in: "BUSY CONNECT", sent: "a", took: typing},
	{name: "timeout", script: "\n\nCONNECT a", in: "CONNEC", took: 45 * time.Second,
		fails: `test.chat:3: "CONNECT": not received in time: 45s`},
	{name: "another timeout", script: "TIMEOUT 3 CONNECT a", took: 3 * time.Second,
		fails: `test.chat:1: "CONNECT": not received in time: 3s`},
	{name: "another try", script: "TIMEOUT 2 ogin:-BREAK-ogin:--ogin: me\\c", sent: "<BREAK>\r", took: 6*time.Second + typing,
		fails: `test.chat:1: "ogin:": not received in time: 2s`},
	{name: "the last try only sends", script: "TIMEOUT 2 ogin:-BREAK me\\c", sent: "<BREAK>me", took: 2*time.Second + 2*typing},
	{name: "no try after an abort", script: "ABORT BUSY OK-AT-OK ''", in: "BUSY", fails: `test.chat:1: "BUSY": ABORT`},
	{name: "what came before is over", script: "OK '' OK ''", in: "OK", sent: "\r", took: 45*time.Second + typing,
		fails: `test.chat:1: "OK": not received in time: 45s`},
	{name: "half of a word twice", script: `aab \c`, in: "aaab"},
	{name: "parity", script: `OK \c`, in: "\xcf\x4b"},
	{name: "waits", script: `'' \d\p+\N\c`, sent: "+\x00", took: 1100*time.Millisecond + 2*typing},
	{name: "report", script: `REPORT CONNECT '' \c \n \c \n \c`, in: "CONNECT 9600\r\nCONNECT 1\r\n",
		diary: "> \"\"\nreport \"CONNECT 9600\"\n< \"CONNECT 9600\"\n> \"\"\n< \"CONNECT 1\"\n> \"\"\n"},
	{name: "report at the end", script: `REPORT CONNECT CONNECT \c`, in: "CONNECT 9600\r\n~}", left: "\n~}",
		diary: "< \"CONNECT\"\n> \"\"\nreport \"CONNECT 9600\"\n< \" 9600\"\n"},
	{name: "report at the end, without one", script: `REPORT CONNECT CONNECT \c`, in: "CONNECT 9600", took: reportWait,
		diary: "< \"CONNECT\"\n> \"\"\nreport \"CONNECT 9600\"\n< \" 9600\"\n"},
	{name: "report and abort", script: `REPORT BUSY ABORT BUSY OK \c`, in: "BUSY NOW\r\n", left: "\n", fails: `test.chat:1: "BUSY": ABORT`,
		diary: "< \"BUSY\"\nreport \"BUSY NOW\"\n< \" NOW\"\n"},
	{name: "report with a secret", script: `REPORT pass '' \qpass1234 \n \c`, in: "pass1234\r\n", sent: "pass1234\r", took: 9 * typing,
		diary: "> \"??????\"\nreport \"??????\"\n< \"??????\"\n> \"\"\n"},
	{name: "another sort of timeout", script: "TIMEOUT 2 OK-\\q-BAD x", sent: "\r", took: 4*time.Second + typing, fails: `test.chat:1: "BAD": not received in time: 2s`},
	{name: "a long secret", script: `'' \q` + strings.Repeat("s", 200) + ` OK \c`, in: strings.Repeat("s", 200) + "OK", sent: strings.Repeat("s", 200) + "\r", took: 201 * typing,
		diary: "> \"??????\"\n< \"??????OK\"\n> \"\"\n"},
	{name: "abort that began before", script: `ABORT BUSY BU \c OK \c`, in: "BUSYOK"},
	{name: "what is expected comes before an abort", script: `ABORT OK OK \c`, in: "OK"},
	{name: "report no more", script: `REPORT CONNECT CLR_REPORT CONNECT \n \c`, in: "CONNECT 9600\r\n",
		diary: "< \"CONNECT 9600\"\n> \"\"\n"},
	{name: "say and echo", script: `SAY "Calling\n" ECHO ON OK \c ECHO OFF OK \c`, in: "hello\r\nOKOK",
		diary: "say \"Calling\\n\"\n< \"hello\"\nsay \"hello\"\n< \"OK\"\nsay \"OK\"\n> \"\"\n< \"OK\"\n> \"\"\n"},
	{name: "hidden, also in the echo", script: `'' \qAT+CPIN=1234 OK AT`, in: "AT+CPIN=1234\r\nOK", sent: "AT+CPIN=1234\rAT\r", took: 16 * typing,
		diary: "> \"??????\"\n< \"??????\"\n< \"OK\"\n> \"AT\\r\"\n"},
	{name: "long lines", script: `OK \c`, in: strings.Repeat("x", 3000) + "OK",
		diary: strings.Repeat(fmt.Sprintf("< %q\n", strings.Repeat("x", 1000)), 3) + "< \"OK\"\n> \"\"\n"},
}

func TestRun(t *testing.T) {
	for _, test := range runTests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, begin := newFakeLine(test.in), time.Now()
				diary, err := converse(t, test.script, l)
				if test.fails == "" && err != nil || test.fails != "" && (err == nil || err.Error() != test.fails) {
					t.Errorf("error is %v, want %s", err, test.fails)
				}
				if took := time.Since(begin); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				if got := l.out.String(); got != test.sent {
					t.Errorf("sent %q, want %q", got, test.sent)
				}
				if string(l.in) != test.left {
					t.Errorf("left %q, want %q", l.in, test.left)
				}
				if test.diary != "" && diary != test.diary {
					t.Errorf("diary is\n%swant\n%s", diary, test.diary)
				}
				if l.passed {
					t.Error("a deadline is left behind")
				}
			})
		})
	}
}

// TestDialogue has a modem that answers, later each time.
func TestDialogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLine("")
		calls := 0
		l.answer = func(l *fakeLine, sent string) {
			reply := "\r\nOK\r\n"
			if strings.HasPrefix(sent, "ATD") {
				if calls++; calls == 3 {
					reply = "\r\nCONNECT 33600\r\n"
				} else {
					reply = "\r\nBUSY\r\n"
				}
			}
			time.AfterFunc(20*time.Second, func() { l.comes(sent+reply, nil) })
		}
		script := "ABORT BUSY '' ATZ OK ATD1 CONNECT \\c"
		for want := range 3 {
			_, err := converse(t, script, l)
			if busy := want < 2; busy != errors.Is(err, ErrAbort) || !busy && err != nil {
				t.Errorf("call %d: %v", want+1, err)
			}
			l.comes("", nil)
		}
	})
}

// TestHangup breaks the line in the middle.
func TestHangup(t *testing.T) {
	carrier := errors.New("carrier lost")
	for _, test := range []struct {
		script, fails string
		back          bool
	}{
		{"OK AT", "test.chat:1: carrier lost", true},
		{"HANGUP OFF HANGUP ON OK AT", "test.chat:1: carrier lost", true},
		{"HANGUP OFF OK AT", "", true},
		{"HANGUP OFF OK AT", `test.chat:1: "OK": not received in time: 45s`, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newFakeLine("")
			time.AfterFunc(time.Second, func() { l.comes("", carrier) })
			if test.back {
				time.AfterFunc(10*time.Second, func() { l.comes("RING\r\nOK", nil) })
			}
			_, err := converse(t, test.script, l)
			if got := fmt.Sprint(err); got != test.fails && (test.fails != "" || err != nil) {
				t.Errorf("%s: error is %v, want %s", test.script, err, test.fails)
			}
			synctest.Wait()
		})
	}
	l := newFakeLine("OK")
	l.err = carrier
	if _, err := converse(t, "OK BREAK", l); !errors.Is(err, carrier) || !strings.Contains(err.Error(), "send break") {
		t.Error(err)
	}
}

// TestCancel ends the context in each sort of wait.
func TestCancel(t *testing.T) {
	stop := errors.New("told to stop")
	for _, script := range []string{"OK AT", "'' \\d\\d\\d\\d", "'' " + strings.Repeat("x", 500), "TIMEOUT 1 OK-AT-OK-AT-OK-AT-OK AT"} {
		synctest.Test(t, func(t *testing.T) {
			s, err := Parse("test.chat", script)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(2500*time.Millisecond, func() { cancel(stop) })
			l, d, begin := newFakeLine(""), &diary{}, time.Now()
			err = s.Run(ctx, l, d)
			synctest.Wait()
			if l.passed {
				t.Errorf("%s: a deadline is left behind", script)
			}
			if n := strings.Count(d.String(), "> \"AT"); n > 2 {
				t.Errorf("%s: told of %d things that were not sent:\n%s", script, n-2, d)
			}
			if took := time.Since(begin); !errors.Is(err, stop) || took != 2500*time.Millisecond {
				t.Errorf("%s: %v after %v", script, err, took)
			}
		})
	}
}

// TestWriteBlocks has a line that takes nothing, as one that waits for CTS.
func TestWriteBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := blocked{newFakeLine("OK")}
		s, err := Parse("test.chat", "TIMEOUT 7 OK AT")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := s.Run(t.Context(), l, &diary{}); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 7*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

type blocked struct{ *fakeLine }

func (b blocked) Write([]byte) (int, error) {
	_, err := io.ReadAll(b.fakeLine) // until the deadline
	return 0, err
}
