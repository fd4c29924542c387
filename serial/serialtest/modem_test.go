package serialtest

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// talk has a computer on a cable to its modem.
type talk struct {
	t     *testing.T
	line  *Line
	heard string
}

func attach(t *testing.T, x *Exchange, number string) (*talk, *Modem) {
	t.Helper()
	l := New(Wire{}, 1)
	m := x.Attach(number, l.B)
	t.Cleanup(func() {
		m.Close()
		l.Close()
	})
	return &talk{t: t, line: l}, m
}

// says sends text, and waits for the words, which must come in this order.
func (c *talk) says(text string, words ...string) {
	c.t.Helper()
	c.line.A.Write([]byte(text))
	for _, word := range words {
		c.hears(word)
	}
}

func (c *talk) hears(word string) {
	c.t.Helper()
	buf := make([]byte, 100)
	c.line.A.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		if _, after, ok := strings.Cut(c.heard, word); ok {
			c.heard = after
			return
		}
		n, err := c.line.A.Read(buf)
		if err != nil {
			c.t.Fatalf("no %q but %q", word, c.heard)
		}
		c.heard += string(buf[:n])
	}
}

func phones(t *testing.T, f func(t *testing.T, x *Exchange, a, b *talk, ma, mb *Modem)) {
	synctest.Test(t, func(t *testing.T) {
		x := &Exchange{Wire: Wire{Rate: 33600}}
		a, ma := attach(t, x, "1")
		b, mb := attach(t, x, "2")
		f(t, x, a, b, ma, mb)
	})
}

func TestCall(t *testing.T) {
	phones(t, func(t *testing.T, x *Exchange, a, b *talk, ma, mb *Modem) {
		a.says("ATZ\r", "ATZ", "OK")
		a.says("ATE0&C1&D2\r", "OK")
		a.says("FOO\r", "ERROR")
		a.says("ATDT 2\r")
		b.says("", "RING", "RING")
		b.says("ATA\r", "CONNECT 33600")
		a.says("", "CONNECT 33600")
		a.says("hello\r")
		b.hears("hello\r")
		b.says("+++ is text", "")
		a.hears("+++ is text")

		time.Sleep(guard)
		a.says("+++", "OK")
		a.says("ATO\r", "CONNECT")
		a.says("again")
		b.hears("again")
		time.Sleep(guard)
		a.says("+++", "OK")
		a.says("ATH\r", "NO CARRIER", "OK")
		b.hears("NO CARRIER")
		if ma.Online() || mb.Online() {
			t.Error("online")
		}
	})
}

func TestAnswersAlone(t *testing.T) {
	phones(t, func(t *testing.T, x *Exchange, a, b *talk, ma, mb *Modem) {
		b.says("ATS0=2\r", "OK")
		a.says("ATD2\r")
		b.hears("RING")
		b.hears("RING")
		b.hears("CONNECT")
		a.hears("CONNECT")
		a.says("ping")
		b.hears("ping")
		mb.Drop()
		a.hears("NO CARRIER")
		b.hears("NO CARRIER")
		a.says("ATD2\r", "CONNECT")
		a.line.A.Close()
		a.line.B.Close() // the computer drops DTR
		b.hears("NO CARRIER")
	})
}

func TestNoCall(t *testing.T) {
	phones(t, func(t *testing.T, x *Exchange, a, b *talk, ma, mb *Modem) {
		a.says("ATD99\r", "NO CARRIER")
		a.says("ATD2\r", "NO ANSWER")
		a.says("ATA\r", "NO CARRIER")
		c, _ := attach(t, x, "3")
		b.says("ATS0=1\r", "OK")
		c.says("ATD2\r", "CONNECT")
		a.says("ATD2\r", "BUSY")
		calls := 0
		x.Fault = func(string) string {
			calls++
			return []string{"NO DIALTONE", Silent}[calls-1]
		}
		a.says("ATD2\r", "NO DIALTONE")
		a.says("ATD2\r")
		time.Sleep(time.Hour)
		a.line.A.SetReadDeadline(time.Now().Add(time.Minute))
		buf := make([]byte, 100)
		if n, _ := a.line.A.Read(buf); strings.Trim(string(buf[:n]), "ATD2\r") != "" {
			t.Errorf("%q from a silent modem", buf[:n])
		}
	})
}

// TestGivesUp types something into a modem that dials.
func TestGivesUp(t *testing.T) {
	phones(t, func(t *testing.T, x *Exchange, a, b *talk, ma, mb *Modem) {
		for range 2 { // while it rings
			a.says("ATD2\r")
			b.hears("RING")
			a.says("+", "NO CARRIER")
		}
		a.says("ATD2\r") // while the modems sing
		b.says("ATA\r")
		time.Sleep(x.training() / 2)
		a.says("+", "NO CARRIER")
		b.hears("NO CARRIER")
		time.Sleep(time.Hour)
		if ma.Online() || mb.Online() {
			t.Error("online")
		}
		a.says("++ATH\r", "OK")
		b.says("ATS0=1\r", "OK")
		a.says("ATD2\r", "CONNECT")
	})
}

// TestDeaf has a modem that does not know +++.
func TestDeaf(t *testing.T) {
	phones(t, func(t *testing.T, x *Exchange, a, b *talk, ma, mb *Modem) {
		b.says("ATS0=1\r", "OK")
		a.says("ATS2=255\r", "OK")
		a.says("ATD2\r", "CONNECT")
		time.Sleep(guard)
		a.says("+++")
		time.Sleep(time.Minute)
		if !ma.Online() {
			t.Error("not online")
		}
		ma.DropDTR()
		b.hears("NO CARRIER")
	})
}

// TestFast has a line on which nothing takes its time.
func TestFast(t *testing.T) {
	phones(t, func(t *testing.T, x *Exchange, a, b *talk, ma, mb *Modem) {
		x.Ring, x.Training = time.Millisecond, time.Millisecond
		b.says("ATS0=3\r", "OK")
		begin := time.Now()
		a.says("ATD2\r", "CONNECT")
		if took := time.Since(begin); took != 3*time.Millisecond {
			t.Errorf("connected after %v", took)
		}
	})
}
