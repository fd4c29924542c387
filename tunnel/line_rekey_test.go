package tunnel

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"
)

// fails gives the end a frame that must end the session.
func (c *lineCast) fails(what string, f []byte, want string) {
	c.t.Helper()
	if err := c.session.receive.fromLine(f); err == nil || !strings.Contains(err.Error(), "protocol error: "+want) {
		c.t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// goesOn gives the end a frame at which the session must go on.
func (c *lineCast) goesOn(what string, f []byte) {
	c.t.Helper()
	if err := c.session.receive.fromLine(f); err != nil {
		c.t.Errorf("%s: %v", what, err)
	}
}

// TestLineAskRekey asks again only when the answer should be there, and there is room.
func TestLineAskRekey(t *testing.T) {
	c := newLineCast(&attack{t: t}, aes, true)
	k := &c.session.keys
	answer := c.session.line.answerTime()
	var m1 []byte
	now := k.since
	for _, step := range []struct {
		name  string
		after time.Duration
		full  bool // no message can be sent
		asks  bool
	}{
		{"before it is time", k.keyTTL - 1, false, false},
		{"it is time, and no room", 1, true, false},
		{"there is room", 1, false, true},
		{"the answer may be under way", answer - 1, false, false},
		{"it is late, and no room", 1, true, false},
		{"there is room again", 1, false, true},
		{"the next answer may be under way", answer - 1, false, false},
		{"it is late, too", 1, false, true},
	} {
		now += step.after
		for step.full && c.session.post(message{kind: framePing}) {
		}
		if err := k.check(now); err != nil {
			t.Fatal(err)
		}
		m := c.asked(frameRekey1)
		if (m != nil) != step.asks {
			t.Errorf("%s: it asks %v", step.name, m != nil)
		}
		if m != nil && m1 != nil && !bytes.Equal(m, m1) {
			t.Errorf("%s: it asks something else", step.name)
		}
		if m != nil {
			m1 = m
		}
	}
}

// TestLineRekeyAgain has a server that gets the message of a rekey again: it may be for
// want of an answer, or not.
func TestLineRekeyAgain(t *testing.T) {
	c := newLineCast(&attack{t: t}, aes, false)
	var m1, m2 []byte
	var err error
	if c.rekey, m1, err = c.peer.Rekey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		c.goesOn("the rekey", c.send(frameRekey1, m1...))
		again := c.asked(frameRekey2)
		if again == nil || n > 0 && !bytes.Equal(again, m2) {
			t.Fatalf("answer %d is %x, was %x", n, again, m2)
		}
		m2 = again
	}
	_, other, err := c.peer.Rekey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.fails("another rekey", c.send(frameRekey1, other...), "rekey out of turn")
	next, err := c.rekey.Finish(m2)
	if err != nil {
		t.Fatal(err)
	}
	c.renew(next)
	c.sealer = c.next
	c.changes++
	c.goesOn("the new keys", c.send(framePing, stamped(1)...))
	c.fails("the rekey that is over", c.send(frameRekey1, m1...), "rekey: not authentic")
}

// TestLineAnswerAgain has a client that gets an answer again, before it asks for the next
// rekey and afterwards.
func TestLineAnswerAgain(t *testing.T) {
	c := newLineCast(&attack{t: t}, aes, true)
	k := &c.session.keys
	ask := func() (m1 []byte) {
		t.Helper()
		if err := k.check(k.since + k.keyTTL); err != nil {
			t.Fatal(err)
		}
		if m1 = c.asked(frameRekey1); m1 == nil {
			t.Fatal("the client does not ask")
		}
		return m1
	}
	var old []byte
	for n := range uint64(2) {
		m1 := ask()
		if old != nil {
			c.goesOn("the answer of the rekey before", c.send(frameRekey2, old...))
		}
		if got := c.session.rekeys.Load(); got != n || k.pending == nil {
			t.Errorf("%d rekeys, want %d", got, n)
		}
		m2, next, err := c.peer.AnswerRekey(rand.Reader, m1)
		if err != nil {
			t.Fatal(err)
		}
		c.goesOn("the answer", c.send(frameRekey2, m2...))
		c.goesOn("the answer again", c.send(frameRekey2, m2...))
		if got := c.session.rekeys.Load(); got != n+1 {
			t.Errorf("%d rekeys, want %d", got, n+1)
		}
		c.renew(next)
		c.change()
		c.goesOn("the new keys", c.send(framePing, stamped(1)...))
		c.goesOn("the answer later", c.send(frameRekey2, m2...))
		old = m2
	}
}
