package tunnel

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"vpnd/crypto"
	"vpnd/serial/serialtest"
)

// TestLineHeardHail sees what a client without a link does when it hears a hail.
func TestLineHeardHail(t *testing.T) {
	d := newLineStage(t, true).driver(t, false)
	defer d.timer.Stop()
	now := time.Hour
	d.config.Now = func() time.Duration { return now }
	hail, err := d.config.Keys[0].Hail(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	<-d.speech
	d.begin()
	f1 := <-d.speech
	now += d.flightTime() - 1
	if d.heardHail(hail); len(d.speech) != 0 {
		t.Error("answers a hail that was sent before the call")
	}
	now++
	if d.heardHail(hail); len(d.speech) != 1 || !bytes.Equal(<-d.speech, f1) {
		t.Error("does not repeat its call")
	}
	if d.calling.wait != 2*d.flightTime() {
		t.Errorf("waits for %v, as if the first call had been heard", d.calling.wait)
	}
	d.calling.call = nil // the server had refused it
	now += d.flightTime()
	if d.heardHail(hail); len(d.speech) != 1 || bytes.Equal(<-d.speech, f1) {
		t.Error("does not call again")
	}
}

// doubtful returns a line with a link, and a hail of before.
func doubtful(t *testing.T) (l *tappedLine, hail []byte) {
	t.Helper()
	l = tapLine(t, serialtest.Wire{Rate: 9600}, nil)
	hail = only(l.toServer.heard(), lineHail)[0]
	settled(10 * time.Second)
	l.toClient.heard()
	return l, hail
}

// TestLineHailAfterQuestion plays an old hail right after the peer has answered
// another question: the link is not in doubt.
func TestLineHailAfterQuestion(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		l, hail := doubtful(t)
		l.toClient.end.Inject(modemText)
		settled(time.Second)
		l.toClient.play(hail)
		settled(10 * time.Second)
		if f := only(l.toClient.heard(), lineF1); len(f) != 0 {
			t.Errorf("%d first flights", len(f))
		}
	})
}

// TestLineManyHails plays old hails all the time when the server has gone. They do
// not keep the client from finding that out.
func TestLineManyHails(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		l, hail := doubtful(t)
		l.toServer.silence(true)
		for range 10 {
			l.toClient.play(hail)
			settled(1700 * time.Millisecond) // a little more than both flights take
		}
		if f := only(l.toClient.heard(), lineF1); len(f) == 0 {
			t.Error("no first flight")
		}
	})
}

// TestLineHailAfterDoubt restarts the server after an old hail was played: the client
// heeds the next one too.
func TestLineHailAfterDoubt(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		l, hail := doubtful(t)
		l.toClient.play(hail)
		settled(10 * time.Second)
		l.toServer.silence(true)
		l.server.stop(t)
		l.toServer.silence(false)
		began := time.Now()
		l.server = start(t, l.config[0])
		await(t, l.client.up, "link of the client")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("link after %v", took)
		}
	})
}

// TestLineSilentServer hears nothing after the second flight. The client has a link,
// and does not call beside it.
func TestLineSilentServer(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		l := newTappedLine(t, serialtest.Wire{Rate: 9600}, nil)
		l.server, l.client = start(t, l.config[0]), start(t, l.config[1])
		for len(only(l.toServer.heard(), lineF2)) == 0 {
			settled(time.Millisecond)
		}
		l.toServer.silence(true)
		await(t, l.client.up, "link of the client")
		l.toClient.heard()
		settled(4 * time.Second)
		if f := only(l.toClient.heard(), lineF1); len(f) != 0 {
			t.Errorf("%d first flights", len(f))
		}
	})
}

// TestLineCallsLess counts the calls of a client in an hour: after the first ones they
// come more and more slowly, but they come.
func TestLineCallsLess(t *testing.T) {
	for _, test := range []struct {
		name            string
		server          bool // with a cipher that the client does not have
		least, greatest int
	}{
		{"nobody there", false, 60, 130},
		{"refused", true, 110, 125},
	} {
		sim(t, test.name, func(t *testing.T) {
			l := newTappedLine(t, serialtest.Wire{Rate: 9600}, nil)
			l.config[0].Ciphers = []crypto.Cipher{crypto.AES256GCM}
			if test.server {
				l.server = start(t, l.config[0])
			}
			l.client = start(t, l.config[1])
			settled(time.Hour)
			if n := len(only(l.toClient.heard(), lineF1)); n < test.least || n > test.greatest {
				t.Errorf("%d first flights, want %d to %d", n, test.least, test.greatest)
			}
			if said := strings.Contains(l.client.log.String(), `msg="no link" cause=`); said != test.server {
				t.Errorf("log:\n%s", l.client.log)
			}
		})
	}
}
