package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"vpnd/serial"
	"vpnd/serial/chat"
)

// Serial opens the serial line to the peer: a cable, or a modem that dials or
// answers. Its fields are set before the first call.
//
// Errors of Open and Check that a caller can tell apart are fs.ErrNotExist,
// serial.ErrInUse and serial.ErrMode; of Open also serial.ErrCarrierLost,
// chat.ErrAbort, chat.ErrTimeout and ErrNoCarrier.
type Serial struct {
	Device  string // may be a link, which is followed at each Open
	LockDir string // of UUCP lock files, see serial.Open
	Mode    serial.Mode
	Chat    *chat.Script // makes the modem dial or answer; nil: there is none
	Watch   chat.Watcher // of the dialogue; nil: it goes to Log
	Log     *slog.Logger

	told  sync.Once
	lines modemLines // of a test; nil: those of the port
}

// modemLines is how a computer and its modem see each other. Pseudo terminals do
// not have them.
type modemLines interface {
	Carrier() (bool, error)
	SetDTR(on bool) error
}

// ErrNoCarrier says that the chat script came to its end, but the modem has no
// connection.
var ErrNoCarrier = errors.New("no carrier")

const (
	// carrierTime is how long a modem may take to show the carrier after the chat.
	carrierTime = 5 * time.Second
	carrierPoll = 200 * time.Millisecond
	// hangUpTime is how long DTR is off.
	hangUpTime = time.Second
	// promptAnswer is what a modem has that is not in a call.
	promptAnswer = 500 * time.Millisecond
	// guardTime is the silence before +++: modems want a second, and another one
	// behind it before they answer. answerTime is what they have for that and for ATH,
	// lastAnswer what they have for ATH at least.
	guardTime  = 1100 * time.Millisecond
	answerTime = 2900 * time.Millisecond
	lastAnswer = time.Second
	// drainTime is how long what was sent last may take.
	drainTime = 500 * time.Millisecond
)

// Check opens the line, sets it, and closes it again. The modem is not spoken to.
func (s *Serial) Check() error {
	p, err := s.open()
	if err != nil {
		return err
	}
	return p.port.Close()
}

// Open opens the line, has the modem dial or answer, and waits for the carrier if
// the line has one.
func (s *Serial) Open(ctx context.Context) (*SerialPort, error) {
	p, err := s.open()
	if err != nil {
		return nil, err
	}
	if err := s.connect(ctx, p); err != nil {
		p.Close()
		return nil, fmt.Errorf("%s: %w", s.Device, err)
	}
	return p, nil
}

// open opens the line with a carrier that does not matter yet.
func (s *Serial) open() (*SerialPort, error) {
	mode := s.Mode
	mode.AnyCarrier = true
	port, err := serial.Open(s.Device, s.LockDir, mode)
	if err != nil {
		return nil, err
	}
	s.tellSpeed(port.Speed())
	p := &SerialPort{port: port, lines: s.lines, mode: mode, dialogue: s.Chat != nil}
	if p.lines == nil {
		p.lines = port
	}
	return p, nil
}

// tellSpeed logs once if the driver has not set exactly the speed that it should.
func (s *Serial) tellSpeed(is int) {
	if is != s.Mode.Speed {
		s.told.Do(func() {
			s.Log.Info("the driver has set another speed", "device", s.Device, "wanted", s.Mode.Speed, "set", is)
		})
	}
}

// connect makes a link of an open line.
func (s *Serial) connect(ctx context.Context, p *SerialPort) error {
	if s.Chat != nil {
		watch := s.Watch
		if watch == nil {
			watch = diary{s.Log.With("device", s.Device)}
		}
		if err := s.Chat.Run(ctx, p.port, watch); err != nil {
			return err
		}
	}
	if s.Mode.Local {
		return nil
	}
	// What the carrier does from now on matters. What it did before this moment is
	// seen by looking at it afterwards.
	if err := p.port.Set(s.Mode); err != nil {
		return err
	}
	return s.awaitCarrier(ctx, p)
}

// awaitCarrier waits for the carrier, if the driver knows about it: not long after a
// chat, without one until the other end of the cable is there.
func (s *Serial) awaitCarrier(ctx context.Context, p *SerialPort) error {
	if s.Chat != nil {
		limit, cancel := context.WithTimeoutCause(ctx, carrierTime, fmt.Errorf("%w %v after the chat script", ErrNoCarrier, carrierTime))
		defer cancel()
		ctx = limit
	}
	poll := time.NewTicker(carrierPoll)
	defer poll.Stop()
	for told := false; ; told = true {
		on, err := p.lines.Carrier()
		if on || errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		if err != nil {
			return err
		}
		if !told && s.Chat == nil {
			s.Log.Info("waiting for the carrier; a cable without modem lines wants localline", "device", s.Device)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-poll.C:
		}
	}
}

// diary is a chat.Watcher that writes a log.
type diary struct{ *slog.Logger }

func (d diary) Sent(text string)     { d.Debug("chat", "sent", text) }
func (d diary) Received(text string) { d.Debug("chat", "received", text) }
func (d diary) Say(text string)      { d.Info("chat", "says", strings.TrimSpace(text)) }
func (d diary) Report(text string)   { d.Info("chat", "report", text) }

// SerialPort is an open line; closing it hangs up. Its methods may be called by
// several goroutines.
type SerialPort struct {
	port     *serial.Port
	lines    modemLines
	mode     serial.Mode
	dialogue bool // the modem was spoken to

	mu      sync.Mutex
	closing bool
	users   sync.WaitGroup // of port, but for Close
	close   sync.Once
	closed  error
}

// enter reports whether the port may be used; leave ends that.
func (p *SerialPort) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closing {
		p.users.Add(1)
	}
	return !p.closing
}

func (p *SerialPort) leave(err error) error {
	defer p.users.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing && errors.Is(err, os.ErrDeadlineExceeded) {
		return os.ErrClosed
	}
	return err
}

// Read returns at least one byte. Its errors are those of a serial.Port.
func (p *SerialPort) Read(b []byte) (int, error) {
	if !p.enter() {
		return 0, os.ErrClosed
	}
	n, err := p.port.Read(b)
	return n, p.leave(err)
}

// Write waits until the driver has taken all bytes. Its errors are those of a
// serial.Port.
func (p *SerialPort) Write(b []byte) (int, error) {
	if !p.enter() {
		return 0, os.ErrClosed
	}
	n, err := p.port.Write(b)
	return n, p.leave(err)
}

// SetWriteDeadline bounds Write.
func (p *SerialPort) SetWriteDeadline(t time.Time) error {
	p.mu.Lock() // after Close has begun the deadlines are its own
	defer p.mu.Unlock()
	if p.closing {
		return os.ErrClosed
	}
	return p.port.SetWriteDeadline(t)
}

// Waiting returns how many written bytes the driver has not sent.
func (p *SerialPort) Waiting() (int, error) { return p.port.Waiting() }

// Speed returns the bit rate that the driver really set.
func (p *SerialPort) Speed() int { return p.port.Speed() }

// Counters returns what the UART has seen go wrong; false when the driver does not
// count.
func (p *SerialPort) Counters() (serial.Counters, bool) { return p.port.Counters() }

// Close hangs up and closes the line. Read and Write of others return at once, with
// os.ErrClosed; the modem has some seconds.
func (p *SerialPort) Close() error {
	p.close.Do(func() {
		p.refuse()
		p.hangUp()
		p.closed = p.port.Close()
	})
	return p.closed
}

// refuse ends what others do with the line, and has it for Close alone.
func (p *SerialPort) refuse() {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.port.SetDeadline(time.Unix(1, 0))
	p.users.Wait()
}

// hangUp ends the call, if there may be one: a line that is gone has none.
func (p *SerialPort) hangUp() {
	mode := p.mode
	mode.RTSCTS = false // a modem that cannot get rid of its data may say no forever
	if !p.port.Drain(drainTime) {
		p.port.Flush()
	}
	if p.port.Set(mode) != nil {
		return
	}
	if !mode.Local && p.lines.SetDTR(false) == nil {
		time.Sleep(hangUpTime)
	}
	if !p.dialogue || !p.connected() {
		return
	}
	if !mode.Local {
		p.lines.SetDTR(true) // without it a modem may not listen
	}
	if !p.tell("ATH\r", time.Now().Add(promptAnswer)) { // it may be waiting for commands already
		p.escape()
	}
}

// escape has the modem leave a call for its commands, and hang up.
func (p *SerialPort) escape() {
	time.Sleep(guardTime)
	end := time.Now().Add(answerTime)
	p.tell("+++", end.Add(-lastAnswer))
	p.tell("ATH\r", end)
}

// tell says something, and reports whether the modem agrees before the end.
func (p *SerialPort) tell(text string, end time.Time) bool {
	p.port.SetDeadline(end)
	if _, err := p.port.Write([]byte(text)); err != nil {
		return false
	}
	var said []byte
	b := make([]byte, 64)
	for !bytes.Contains(said, []byte("OK\r")) {
		n, err := p.port.Read(b)
		if err != nil {
			return false
		}
		said = append(said, b[:n]...)
	}
	return true
}

// connected reports whether there may be a call.
func (p *SerialPort) connected() bool {
	if p.mode.Local {
		return true
	}
	on, err := p.lines.Carrier()
	return on || errors.Is(err, errors.ErrUnsupported)
}
