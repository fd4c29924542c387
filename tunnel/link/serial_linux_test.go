package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vpnd/serial"
	"vpnd/serial/chat"
	"vpnd/serial/serialtest"
)

const (
	dials   = "ABORT BUSY ABORT 'NO CARRIER' TIMEOUT 30 '' ATZ OK ATDT2 CONNECT \\c"
	answers = "TIMEOUT 60 '' ATZ OK \\c RING ATA CONNECT \\c"
	// longest is for what takes some seconds, on a slow machine.
	longest = time.Minute
)

// TestSerial runs tests side by side, all at once: they do little but wait.
func TestSerial(t *testing.T) {
	t.Parallel()
	together(t, map[string]func(t *testing.T){
		"Call":            serialCall,
		"Busy":            serialBusy,
		"NoCall":          serialNoCall,
		"Deaf":            serialDeaf,
		"Unplugged":       serialUnplugged,
		"UnpluggedInChat": serialUnpluggedInChat,
		"Cancel":          serialCancel,
		"DTR":             serialDTR,
		"Carrier":         serialCarrier,
		"Mode":            serialMode,
		"CloseWakes":      serialCloseWakes,
		"Check":           serialCheck,
		"Log":             serialLog,
	})
}

func together(t *testing.T, tests map[string]func(t *testing.T)) {
	t.Helper()
	var all sync.WaitGroup
	for name, test := range tests {
		all.Go(func() { t.Run(name, test) })
	}
	all.Wait()
}

// phone is a computer with a modem.
type phone struct {
	*serialtest.Jack
	*Serial
	log *logText
}

// logText is a log that can be read while it is written.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func logInto(l *logText) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// newPhone plugs a modem in.
func newPhone(t *testing.T, x *serialtest.Exchange, number, script string) *phone {
	t.Helper()
	p := &phone{
		Jack: &serialtest.Jack{Path: filepath.Join(t.TempDir(), "modem"), Exchange: x, Number: number},
		log:  &logText{},
	}
	if err := p.Plug(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Unplug() })
	p.Serial = &Serial{Device: p.Path, LockDir: t.TempDir(), Mode: serial.Mode{Speed: 115200}, Log: logInto(p.log)}
	if script != "" {
		s, err := chat.Parse("test.chat", script)
		if err != nil {
			t.Fatal(err)
		}
		p.Chat = s
	}
	return p
}

func quickExchange() *serialtest.Exchange {
	return &serialtest.Exchange{Ring: 100 * time.Millisecond, Training: 100 * time.Millisecond, Guard: 100 * time.Millisecond}
}

func (p *phone) open(t *testing.T) *SerialPort {
	t.Helper()
	port, err := p.Open(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
	t.Cleanup(func() { port.Close() })
	return port
}

// call connects two phones.
func call(t *testing.T, from, to *phone) (caller, called *SerialPort) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answered := make(chan error)
	go func() {
		port, err := to.Open(ctx)
		called = port
		answered <- err
	}()
	caller, err := from.Open(ctx)
	if err != nil {
		cancel() // nobody calls
	}
	if err = errors.Join(err, <-answered); err != nil {
		t.Fatalf("%v\ncaller:\n%s\ncalled:\n%s", err, from.log, to.log)
	}
	t.Cleanup(func() {
		caller.Close()
		called.Close()
	})
	return caller, called
}

// passes sends bytes and reads until they have come.
func passes(t *testing.T, from, to *SerialPort, text string) {
	t.Helper()
	if _, err := from.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	hears(t, to, text)
}

func hears(t *testing.T, p *SerialPort, text string) {
	t.Helper()
	p.port.SetDeadline(time.Now().Add(time.Minute))
	defer p.port.SetDeadline(time.Time{})
	got, b := "", make([]byte, 100)
	for !strings.Contains(got, text) {
		n, err := p.Read(b)
		if err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		got += string(b[:n])
	}
}

// until waits for a condition.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not", what)
		}
	}
}

// closes closes a port and checks that it does so in time.
func closes(t *testing.T, p *SerialPort) time.Duration {
	t.Helper()
	begin := time.Now()
	if err := p.Close(); err != nil {
		t.Error("close:", err)
	}
	took := time.Since(begin)
	if took > longest {
		t.Errorf("close takes %v", took)
	}
	return took
}

func serialCall(t *testing.T) {
	x := quickExchange()
	from, to := newPhone(t, x, "1", dials), newPhone(t, x, "2", answers)
	for round := range 2 {
		a, b := call(t, from, to)
		passes(t, a, b, "\x7ehello\x00\xff")
		passes(t, b, a, "\x7eand back")
		// One end hangs up, though its line has no DTR: in the first round the caller.
		if round == 1 {
			from, to, a, b = to, from, b, a
		}
		done := make(chan bool)
		go func() {
			defer close(done)
			hears(t, b, "NO CARRIER")
		}()
		t.Logf("hung up in %v", closes(t, a))
		if from.Modem().Online() || to.Modem().Online() {
			t.Error("still connected")
		}
		<-done
		closes(t, b)
	}
}

func serialBusy(t *testing.T) {
	calls := 0
	x := quickExchange()
	x.Fault = func(string) string { // one modem dials, one call after the other
		if calls++; calls <= 2 {
			return "BUSY"
		}
		return ""
	}
	from, to := newPhone(t, x, "1", "REPORT CONNECT "+dials), newPhone(t, x, "2", "")
	to.Mode.Local = true
	answering := to.open(t)
	if _, err := answering.Write([]byte("ATE0S0=1\r")); err != nil {
		t.Fatal(err)
	}
	hears(t, answering, "OK")
	for range 2 {
		port, err := from.Open(t.Context())
		if !errors.Is(err, chat.ErrAbort) || err.Error() != from.Path+`: test.chat:1: "BUSY": ABORT` {
			t.Errorf("%v, %v", port, err)
		}
	}
	passes(t, from.open(t), answering, "hello")
	if n := strings.Count(from.log.String(), `level=INFO msg=chat device=`+from.Path+` report="CONNECT 0"`); n != 1 {
		t.Errorf("%d reports:\n%s", n, from.log)
	}
}

func serialNoCall(t *testing.T) {
	tests := map[string]func(t *testing.T){}
	for _, test := range []struct {
		name, script, fault, text string
		err                       error
	}{
		{"wrong number", strings.ReplaceAll(dials, "ATDT2", "ATDT99"), "", `test.chat:1: "NO CARRIER": ABORT`, chat.ErrAbort},
		{"silent modem", strings.ReplaceAll(dials, "CONNECT", "TIMEOUT 1 CONNECT"), serialtest.Silent, `test.chat:1: "CONNECT": not received in time: 1s`, chat.ErrTimeout},
		{"nobody answers", strings.ReplaceAll(dials, "CONNECT", "TIMEOUT 1 CONNECT"), "", `test.chat:1: "CONNECT": not received in time: 1s`, chat.ErrTimeout},
	} {
		tests[test.name] = func(t *testing.T) {
			x := quickExchange()
			x.Ring = time.Minute
			x.Fault = func(string) string { return test.fault }
			from, to := newPhone(t, x, "1", test.script), newPhone(t, x, "2", "")
			begin := time.Now()
			port, err := from.Open(t.Context())
			if !errors.Is(err, test.err) || err.Error() != from.Path+": "+test.text {
				t.Errorf("%v, %v", port, err)
			}
			if took := time.Since(begin); took > longest {
				t.Errorf("took %v", took)
			}
			// The modem was told to stop.
			until(t, "free", func() bool { return !from.Modem().Busy() && !to.Modem().Busy() })
			if left, _ := os.ReadDir(from.LockDir); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		}
	}
	together(t, tests)
}

// serialDeaf has a modem that hears neither DTR nor +++.
func serialDeaf(t *testing.T) {
	x := quickExchange()
	from, to := newPhone(t, x, "1", strings.Replace(dials, "ATZ", "ATS2=255", 1)), newPhone(t, x, "2", answers)
	a, b := call(t, from, to)
	t.Logf("gives up after %v", closes(t, a))
	if !from.Modem().Online() {
		t.Error("hung up")
	}
	hears(t, b, "ATH\r")
}

// serialUnplugged takes the adapter away while the line is read, and brings it
// back.
func serialUnplugged(t *testing.T) {
	x := quickExchange()
	from, to := newPhone(t, x, "1", dials), newPhone(t, x, "2", answers)
	lines := &fakeLines{carrier: func() (bool, error) { return from.Modem().Online(), nil }}
	from.lines = lines
	a, b := call(t, from, to)
	reading := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, a)
		reading <- err
	}()
	if err := from.Unplug(); err != nil {
		t.Fatal(err)
	}
	if err := <-reading; !errors.Is(err, serial.ErrCarrierLost) {
		t.Error(err)
	}
	closes(t, a)
	if len(lines.dtr) != 0 {
		t.Errorf("DTR was set %v though the modem is gone", lines.dtr)
	}
	if port, err := from.Open(t.Context()); !errors.Is(err, fs.ErrNotExist) || err.Error() != "open "+from.Path+": no such file or directory" {
		t.Errorf("%v, %v", port, err)
	}
	hears(t, b, "NO CARRIER")
	closes(t, b)
	if err := from.Plug(); err != nil {
		t.Fatal(err)
	}
	a, b = call(t, from, to)
	passes(t, a, b, "again")
}

// serialUnpluggedInChat takes the adapter away while the modem dials.
func serialUnpluggedInChat(t *testing.T) {
	x := quickExchange()
	x.Fault = func(string) string { return serialtest.Silent }
	p := newPhone(t, x, "1", dials)
	unplugged := make(chan error)
	p.Watch = watch{sent: func(text string) {
		if text == "ATDT2\r" {
			go func() { unplugged <- p.Unplug() }()
		}
	}}
	begin := time.Now()
	port, err := p.Open(t.Context())
	if !errors.Is(err, serial.ErrCarrierLost) || !strings.Contains(err.Error(), "test.chat:1: ") {
		t.Errorf("%v, %v", port, err)
	}
	if took := time.Since(begin); took > longest {
		t.Errorf("took %v", took)
	}
	if err := <-unplugged; err != nil {
		t.Error(err)
	}
}

// watch is a chat.Watcher that calls a function when something is sent.
type watch struct{ sent func(text string) }

func (w watch) Sent(text string) { w.sent(text) }
func (w watch) Received(string)  {}
func (w watch) Say(string)       {}
func (w watch) Report(string)    {}

func serialCancel(t *testing.T) {
	stop := errors.New("told to stop")
	tests := map[string]func(t *testing.T){}
	for _, test := range []struct{ name, script string }{
		{"while it waits for an answer", "'' ATD2 NEVER AT"},
		{"while it pauses", "'' ATD2\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d\\d"},
		{"while it sends", "'' ATD2" + strings.Repeat("X", 5000)},
		{"while it waits for the carrier after the chat", "'' ATD2\\c"},
		{"while it waits for the carrier", ""},
	} {
		tests[test.name] = func(t *testing.T) {
			p := newPhone(t, quickExchange(), "1", test.script)
			asked := make(chan bool, 1000)
			p.lines = &fakeLines{carrier: func() (bool, error) { asked <- true; return false, nil }}
			ctx, cancel := context.WithCancelCause(t.Context())
			if strings.HasSuffix(test.name, "it waits for the carrier after the chat") || test.script == "" {
				go func() { <-asked; cancel(stop) }()
			} else {
				p.Watch = watch{sent: func(string) { time.AfterFunc(100*time.Millisecond, func() { cancel(stop) }) }}
			}
			begin := time.Now()
			port, err := p.Open(ctx)
			if !errors.Is(err, stop) {
				t.Errorf("%v, %v", port, err)
			}
			if took := time.Since(begin); took > longest {
				t.Errorf("took %v", took)
			}
		}
	}
	together(t, tests)
}

// fakeLines stands in for the modem lines of real hardware.
type fakeLines struct {
	carrier func() (bool, error)
	dropped func() // DTR

	mu  sync.Mutex
	dtr []bool
}

func (f *fakeLines) Carrier() (bool, error) { return f.carrier() }

func (f *fakeLines) SetDTR(on bool) error {
	f.mu.Lock()
	f.dtr = append(f.dtr, on)
	f.mu.Unlock()
	if !on && f.dropped != nil {
		f.dropped()
	}
	return nil
}

// serialDTR hangs up with a modem that sees DTR, and with one that does not look.
func serialDTR(t *testing.T) {
	tests := map[string]func(t *testing.T){}
	for _, obeys := range []bool{true, false} {
		tests[fmt.Sprint("obeys ", obeys)] = func(t *testing.T) {
			x := quickExchange()
			from, to := newPhone(t, x, "1", dials), newPhone(t, x, "2", answers)
			lines := &fakeLines{carrier: func() (bool, error) { return from.Modem().Online(), nil }}
			if obeys {
				lines.dropped = func() { from.Modem().DropDTR() }
			}
			from.lines = lines
			a, b := call(t, from, to)
			passes(t, a, b, "hello")
			took := closes(t, a)
			hears(t, b, "NO CARRIER")
			if took < hangUpTime {
				t.Errorf("DTR was off for %v", took)
			}
			if got, want := fmt.Sprint(lines.dtr), map[bool]string{true: "[false]", false: "[false true]"}[obeys]; got != want {
				t.Errorf("DTR was set %s, want %s", got, want)
			}
		}
	}
	together(t, tests)
}
