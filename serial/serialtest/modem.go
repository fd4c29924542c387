package serialtest

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Exchange is a telephone exchange with modems.
type Exchange struct {
	// Wire is what a call is like.
	Wire Wire
	// Fault, if not nil, is asked at each call: what the modem says instead of
	// calling, "" for nothing, silent for no word at all.
	Fault func(number string) string

	mu     sync.Mutex
	modems map[string]*Modem
}

// Silent is a Fault that has the modem say nothing.
const Silent = "silent"

// Times of modems.
const (
	ringEvery = 3 * time.Second
	ringMost  = 10
	training  = 4 * time.Second
	guard     = time.Second // of silence before and after +++
)

// Modem is a Hayes modem: it answers AT commands on the stream to its computer,
// dials, rings, and carries bytes once it is connected.
type Modem struct {
	exchange *Exchange
	number   string
	computer io.ReadWriteCloser
	speak    sync.Mutex // of what the modem says to the computer
	done     sync.WaitGroup

	mu      sync.Mutex
	line    []byte // of a command
	echo    bool
	rings   int // that it answers by itself; 0: it does not
	ringing *call
	call    *call
	online  bool // bytes go to the call, not to the commands
	last    time.Time
	pluses  int
	escape  *time.Timer
}

// call is two modems, connected or about to be.
type call struct {
	from, to *Modem
	line     *Line
	answered chan bool
	once     sync.Once
}

var errCarrier = errors.New("no carrier")

// Attach adds a modem with a number. It works until the stream to its computer
// ends, which hangs up.
func (x *Exchange) Attach(number string, computer io.ReadWriteCloser) *Modem {
	m := &Modem{exchange: x, number: number, computer: computer, echo: true}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.modems == nil {
		x.modems = make(map[string]*Modem)
	}
	x.modems[number] = m
	m.done.Go(m.run)
	return m
}

// Close cuts the modem off from its computer and waits for it to end.
func (m *Modem) Close() {
	m.computer.Close()
	m.Drop()
	m.done.Wait()
}

// Drop loses the carrier of a call.
func (m *Modem) Drop() {
	m.mu.Lock()
	c := m.call
	m.mu.Unlock()
	if c != nil {
		c.end("NO CARRIER")
	}
}

// Online reports whether the modem carries a call's bytes.
func (m *Modem) Online() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.online
}

// run takes what the computer says.
func (m *Modem) run() {
	buf := make([]byte, 1024)
	for {
		n, err := m.computer.Read(buf)
		if err != nil {
			m.Drop() // the computer has dropped DTR
			return
		}
		m.hear(buf[:n])
	}
}

func (m *Modem) hear(b []byte) {
	m.mu.Lock()
	online, c := m.online, m.call
	if online {
		m.watchEscape(b)
	}
	m.mu.Unlock()
	if online {
		c.end(c.carry(m, b))
		return
	}
	for _, ch := range b {
		m.key(ch)
	}
}

// watchEscape looks for three pluses with silence around them.
func (m *Modem) watchEscape(b []byte) {
	now := time.Now()
	silent := now.Sub(m.last) >= guard
	m.last = now
	if m.escape != nil {
		m.escape.Stop()
		m.escape = nil
	}
	if strings.Trim(string(b), "+") != "" || !silent && m.pluses == 0 {
		m.pluses = 0
		return
	}
	if m.pluses += len(b); m.pluses == 3 {
		m.pluses = 0
		m.escape = time.AfterFunc(guard, func() {
			m.mu.Lock()
			m.online = false
			m.mu.Unlock()
			m.say("OK")
		})
	}
}

// key is a byte of a command.
func (m *Modem) key(ch byte) {
	m.mu.Lock()
	echo := m.echo
	switch {
	case ch == '\r':
	case ch >= ' ' && len(m.line) < 256:
		m.line = append(m.line, ch)
	}
	line := string(m.line)
	if ch == '\r' {
		m.line = m.line[:0]
	}
	m.mu.Unlock()
	if echo {
		m.write(string([]byte{ch}))
	}
	if ch == '\r' {
		m.command(strings.ToUpper(strings.ReplaceAll(line, " ", "")))
	}
}

// command obeys a line of commands.
func (m *Modem) command(line string) {
	if line == "" {
		return
	}
	rest, ok := strings.CutPrefix(line, "AT")
	for ok && rest != "" {
		switch {
		case strings.HasPrefix(rest, "D"):
			m.done.Go(func() { m.dial(strings.Trim(rest[1:], "TP;")) })
			return
		case strings.HasPrefix(rest, "A"):
			m.answer()
			return
		case strings.HasPrefix(rest, "O"):
			m.back()
			return
		case strings.HasPrefix(rest, "H"):
			m.hangup()
		case strings.HasPrefix(rest, "Z"), strings.HasPrefix(rest, "&F"):
			m.set(true, 0)
		case strings.HasPrefix(rest, "E"):
			m.set(!strings.HasPrefix(rest, "E0"), -1)
		case strings.HasPrefix(rest, "S0="):
			n, err := strconv.Atoi(rest[3:])
			ok = err == nil
			m.set(m.echo, n)
			rest = ""
			continue
		case strings.ContainsAny(rest[:1], "VQXMLWS&+\\%"):
		default:
			ok = false
		}
		rest = strings.TrimLeft(rest[1:], "0123456789=,?&FCDKQSVXW+MLIGPN\"")
	}
	if ok {
		m.say("OK")
	} else {
		m.say("ERROR")
	}
}

// set changes the echo, and the rings unless they are negative.
func (m *Modem) set(echo bool, rings int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.echo = echo
	if rings >= 0 {
		m.rings = rings
	}
}

// dial calls a number and says what came of it.
func (m *Modem) dial(number string) {
	if x := m.exchange; x.Fault != nil {
		switch fault := x.Fault(number); fault {
		case "":
		case Silent:
			return
		default:
			time.Sleep(training)
			m.say(fault)
			return
		}
	}
	m.exchange.mu.Lock()
	to := m.exchange.modems[number]
	m.exchange.mu.Unlock()
	c := &call{from: m, to: to, answered: make(chan bool)}
	if to == nil || !to.ring(c) {
		time.Sleep(training)
		m.say(map[bool]string{true: "NO CARRIER", false: "BUSY"}[to == nil])
		return
	}
	for n := 1; n <= ringMost; n++ {
		to.say("RING")
		to.mu.Lock()
		alone := to.rings > 0 && n >= to.rings
		to.mu.Unlock()
		if alone {
			go to.answer()
		}
		select {
		case <-c.answered:
			c.connect()
			return
		case <-time.After(ringEvery):
		}
	}
	to.forget(c)
	m.say("NO ANSWER")
}

// ring reports whether the modem is free, and remembers who calls.
func (m *Modem) ring(c *call) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.call != nil || m.ringing != nil {
		return false
	}
	m.ringing = c
	return true
}

func (m *Modem) forget(c *call) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ringing == c {
		m.ringing = nil
	}
}

func (m *Modem) answer() {
	m.mu.Lock()
	c := m.ringing
	m.ringing = nil
	m.mu.Unlock()
	if c == nil {
		m.say("NO CARRIER")
		return
	}
	close(c.answered)
}

// back goes online again after +++.
func (m *Modem) back() {
	m.mu.Lock()
	m.online = m.call != nil
	online := m.online
	m.mu.Unlock()
	m.say(map[bool]string{true: "CONNECT", false: "NO CARRIER"}[online])
}

// hangup ends a call from this side, without a word here.
func (m *Modem) hangup() {
	m.mu.Lock()
	c := m.call
	m.mu.Unlock()
	if c != nil {
		c.end("NO CARRIER")
	}
}

// connect joins the modems.
func (c *call) connect() {
	time.Sleep(training)
	c.line = New(c.from.exchange.Wire, 1)
	for _, m := range []*Modem{c.to, c.from} {
		m.say(fmt.Sprint("CONNECT ", c.line.wire.Rate))
		m.mu.Lock()
		m.call, m.online, m.last, m.pluses = c, true, time.Now(), 0
		m.mu.Unlock()
	}
	c.from.done.Go(func() { c.deliver(c.from, c.line.A) })
	c.to.done.Go(func() { c.deliver(c.to, c.line.B) })
}

// carry sends a modem's bytes.
func (c *call) carry(m *Modem, b []byte) (fault string) {
	e := c.line.A
	if m == c.to {
		e = c.line.B
	}
	if _, err := e.Write(b); err != nil {
		return "NO CARRIER"
	}
	return ""
}

// deliver gives a computer what the other one sends.
func (c *call) deliver(m *Modem, e *End) {
	buf := make([]byte, 1024)
	for {
		n, err := e.Read(buf)
		if err != nil {
			return
		}
		if m.Online() {
			m.write(string(buf[:n]))
		}
	}
}

// end ends the call if there is a reason, which both modems say.
func (c *call) end(reason string) {
	if reason == "" {
		return
	}
	c.once.Do(func() {
		c.line.Hangup(errCarrier)
		go c.line.Close()
		for _, m := range []*Modem{c.from, c.to} {
			m.mu.Lock()
			m.call, m.online, m.line = nil, false, m.line[:0]
			m.mu.Unlock()
			m.say(reason)
		}
	})
}

// say gives the computer a result.
func (m *Modem) say(text string) { m.write("\r\n" + text + "\r\n") }

func (m *Modem) write(text string) {
	m.speak.Lock()
	defer m.speak.Unlock()
	io.WriteString(m.computer, text)
}
