package serialtest

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"
)

// call is two modems, connected or about to be.
type call struct {
	from, to *Modem
	line     *Line
	answered chan bool
	ended    chan struct{}
	once     sync.Once
}

var errCarrier = errors.New("no carrier")

// dialed says that a dial came to its end.
func (m *Modem) dialed(give chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dialing == give {
		m.dialing = nil
	}
}

// dial calls a number and says what came of it, unless give tells it to give up.
func (m *Modem) dial(number string, give chan struct{}) {
	word := ""
	x := m.exchange
	if x.Fault != nil {
		word = x.Fault(number)
	}
	if word == Silent {
		return
	}
	if word == "" {
		x.mu.Lock()
		to := x.modems[number]
		x.mu.Unlock()
		c := &call{from: m, to: to, answered: make(chan bool), ended: make(chan struct{})}
		switch {
		case to == nil:
			word = "NO CARRIER"
		case !to.ring(c):
			word = "BUSY"
		default:
			m.ringUp(c, give)
			return
		}
	}
	if pause(x.training(), give) {
		m.say(word)
	} else {
		m.say("NO CARRIER")
	}
}

// ringUp rings at the other end until somebody answers.
func (m *Modem) ringUp(c *call, give chan struct{}) {
	to := c.to
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
			if !pause(m.exchange.training(), give) || !c.connect(give) {
				to.say("NO CARRIER")
				m.say("NO CARRIER")
			}
			return
		case <-give:
			to.forget(c)
			m.say("NO CARRIER")
			return
		case <-time.After(cmp.Or(m.exchange.Ring, ringEvery)):
		}
	}
	to.forget(c)
	m.say("NO ANSWER")
}

func (x *Exchange) training() time.Duration { return cmp.Or(x.Training, training) }

// pause reports whether nobody gave up meanwhile.
func pause(d time.Duration, give chan struct{}) bool {
	select {
	case <-time.After(d):
		return true
	case <-give:
		return false
	}
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

// connect joins the modems, and reports whether the caller has not given up.
func (c *call) connect(give chan struct{}) bool {
	c.line = New(c.from.exchange.Wire, 1)
	for _, m := range []*Modem{c.from, c.to} {
		m.mu.Lock()
		if m == c.from && m.dialing != give {
			m.mu.Unlock()
			c.line.Close()
			return false
		}
		m.dialing = nil
		m.call, m.online, m.last, m.pluses = c, true, time.Now(), 0
		m.mu.Unlock()
		m.say(fmt.Sprint("CONNECT ", c.line.wire.Rate))
	}
	c.from.done.Go(func() { c.deliver(c.from, c.line.A) })
	c.from.done.Go(func() { c.deliver(c.to, c.line.B) }) // the other one may be closing
	return true
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
		if !m.Online() {
			continue
		}
		select {
		case m.words <- string(buf[:n]):
		case <-c.ended:
		case <-m.closed:
		}
	}
}

// end ends the call if there is a reason, which both modems say.
func (c *call) end(reason string) {
	if reason == "" {
		return
	}
	c.once.Do(func() {
		close(c.ended)
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
