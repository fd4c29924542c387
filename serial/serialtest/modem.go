package serialtest

import (
	"cmp"
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
	// Ring and Training are how long a ring and the song of the modems last, Guard the
	// silence before and after +++; 0 is as with real ones. Modems on a busy machine
	// are late, which a short silence forgives.
	Ring, Training, Guard time.Duration
	// Fault, if not nil, is asked at each call: what the modem says instead of
	// calling, "" for nothing, Silent for no word at all.
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
// dials, rings, and carries bytes once it is connected. What the computer says while
// it dials makes it give up.
type Modem struct {
	exchange *Exchange
	number   string
	computer io.ReadWriteCloser
	words    chan string   // for the computer
	closed   chan struct{} // when the computer is gone
	done     sync.WaitGroup

	mu      sync.Mutex
	line    []byte // of a command
	echo    bool
	deaf    bool // to +++
	rings   int  // that it answers by itself; 0: it does not
	ringing *call
	dialing chan struct{} // closed to give up; nil when it does not dial
	call    *call
	online  bool // bytes go to the call, not to the commands
	last    time.Time
	pluses  int
	escape  *time.Timer
}

// Attach adds a modem with a number. It works until the stream to its computer
// ends, which hangs up.
func (x *Exchange) Attach(number string, computer io.ReadWriteCloser) *Modem {
	m := &Modem{exchange: x, number: number, computer: computer, echo: true, words: make(chan string, 1024), closed: make(chan struct{})}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.modems == nil {
		x.modems = make(map[string]*Modem)
	}
	x.modems[number] = m
	m.done.Go(m.run)
	m.done.Go(m.speak)
	return m
}

// Close cuts the modem off from its computer and waits for it to end.
func (m *Modem) Close() {
	m.computer.Close()
	m.done.Wait()
}

// Drop ends a call, as when its carrier is lost.
func (m *Modem) Drop() {
	m.mu.Lock()
	c := m.call
	m.mu.Unlock()
	if c != nil {
		c.end("NO CARRIER")
	}
}

// DropDTR hangs up, as when the computer drops that line.
func (m *Modem) DropDTR() {
	m.giveUp()
	m.Drop()
}

// giveUp reports whether the modem was dialing. It does not any more.
func (m *Modem) giveUp() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.dialing != nil
	if was {
		close(m.dialing)
		m.dialing = nil
	}
	return was
}

// Online reports whether the modem carries a call's bytes.
func (m *Modem) Online() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.online
}

func (x *Exchange) guard() time.Duration { return cmp.Or(x.Guard, guard) }

// Busy reports whether the modem dials, rings or is connected.
func (m *Modem) Busy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dialing != nil || m.ringing != nil || m.call != nil
}

// run takes what the computer says.
func (m *Modem) run() {
	defer close(m.closed)
	defer m.DropDTR()
	buf := make([]byte, 1024)
	for {
		n, err := m.computer.Read(buf)
		if err != nil {
			return
		}
		m.hear(buf[:n])
	}
}

// speak gives the computer what the modem has for it.
func (m *Modem) speak() {
	for {
		select {
		case text := <-m.words:
			io.WriteString(m.computer, text)
		case <-m.closed:
			return
		}
	}
}

func (m *Modem) hear(b []byte) {
	m.mu.Lock()
	online, c := m.online, m.call
	if online && !m.deaf {
		m.watchEscape(b)
	}
	m.mu.Unlock()
	if online {
		c.end(c.carry(m, b))
		return
	}
	if m.giveUp() {
		return
	}
	for _, ch := range b {
		m.key(ch)
	}
}

// watchEscape looks for three pluses with silence around them.
func (m *Modem) watchEscape(b []byte) {
	now := time.Now()
	silent := now.Sub(m.last) >= m.exchange.guard()
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
		m.escape = time.AfterFunc(m.exchange.guard(), func() {
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
	_, rest, ok := strings.Cut(line, "AT") // what comes before is of no interest
	for ok && rest != "" {
		switch rest[0] {
		case 'D':
			m.startDial(strings.Trim(rest[1:], "TP;"))
			return
		case 'A':
			m.answer()
			return
		case 'O':
			m.back()
			return
		case 'S':
			rest, ok = m.register(rest[1:])
			continue
		case '+':
			rest = "" // to the end, as a rule
			continue
		case '&', '%', '\\':
			if rest[1:] == "F" || strings.HasPrefix(rest[1:], "F0") {
				m.set(func() { m.echo, m.rings, m.deaf = true, 0, false })
			}
			rest = rest[1:]
		case 'Z':
			m.set(func() { m.echo, m.rings, m.deaf = true, 0, false })
		case 'H':
			m.Drop()
		case 'E':
			m.set(func() { m.echo = !strings.HasPrefix(rest, "E0") })
		case 'V', 'Q', 'X', 'M', 'L', 'W', 'I':
		default:
			ok = false
		}
		if rest != "" {
			rest = strings.TrimLeft(rest[1:], "0123456789")
		}
	}
	if ok {
		m.say("OK")
	} else {
		m.say("ERROR")
	}
}

// startDial calls a number beside the commands, which make the modem give up.
func (m *Modem) startDial(number string) {
	give := make(chan struct{})
	m.set(func() { m.dialing = give })
	m.done.Go(func() {
		m.dial(number, give)
		m.dialed(give)
	})
}

// register takes N=VALUE and returns what follows.
func (m *Modem) register(text string) (rest string, ok bool) {
	name, value, ok := strings.Cut(text, "=")
	digits := len(value) - len(strings.TrimLeft(value, "0123456789"))
	n, err := strconv.Atoi(value[:digits])
	m.set(func() {
		switch name {
		case "0":
			m.rings = n
		case "2":
			m.deaf = n > 127
		}
	})
	return value[digits:], ok && err == nil
}

// set changes something.
func (m *Modem) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// say gives the computer a result.
func (m *Modem) say(text string) { m.write("\r\n" + text + "\r\n") }

// write drops what the computer does not read: the modem waits for nobody.
func (m *Modem) write(text string) {
	select {
	case m.words <- text:
	default:
	}
}
