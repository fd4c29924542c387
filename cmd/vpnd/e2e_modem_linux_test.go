package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vpnd/cmd/internal/lab"
	"vpnd/serial/serialtest"
)

// Scripts of a modem. They begin as those of examples/dialup: with a modem that may
// still be in a call.
const (
	dialScript = `ABORT BUSY ABORT 'NO CARRIER' ABORT 'NO ANSWER' TIMEOUT 2
'' AT OK-\d\d+++\d\d\c-OK ATH OK ATZ
REPORT CONNECT TIMEOUT 30
OK ATDT5551234
CONNECT \c`
	answerScript = `TIMEOUT 2
'' AT OK-\d\d+++\d\d\c-OK ATH OK ATZ OK \c
TIMEOUT 3600 RING ATA
TIMEOUT 30 CONNECT \c`
	answerNumber = "5551234"
)

// phones is a world whose sites have modems.
type phones struct {
	*world
	*serialtest.Exchange
	caller, called *serialtest.Jack
}

// newPhones gives both sites a modem and its script. dtr says whether the modems see
// that their computer is gone; fault is that of an Exchange.
func newPhones(t *testing.T, dtr bool, fault func(string) string) *phones {
	t.Helper()
	p := &phones{world: newWorld(t), Exchange: &serialtest.Exchange{
		Fault: fault,
		// As fast as can be: on a slow machine a wire with a rate may be slower than the
		// lines to the modems, and would have them buffer.
		Wire: serialtest.Wire{Latency: 20 * time.Millisecond},
		Ring: time.Second / 2, Training: time.Second / 2, Guard: 200 * time.Millisecond,
	}}
	plug := func(s *site, number, script string) *serialtest.Jack {
		j := &serialtest.Jack{Path: s.file("tty"), DTR: dtr, Exchange: p.Exchange, Number: number}
		must(t, j.Plug())
		t.Cleanup(func() { j.Unplug() })
		must(t, os.WriteFile(s.file("chat"), []byte(script), 0o644))
		return j
	}
	p.caller, p.called = plug(p.client, "1", dialScript), plug(p.server, answerNumber, answerScript)
	p.configureLine("speed 115200", "modemchat chat", "keepalive 2", "noanswer 2", "compress off")
	return p
}

// TestModem runs tests side by side, all at once: they do little but wait.
func TestModem(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for name, test := range map[string]func(t *testing.T){
		"Redial":           modemRedial,
		"Busy":             modemBusy,
		"Killed":           func(t *testing.T) { newPhones(t, true, nil).survivesKills() },
		"KilledWithoutDTR": func(t *testing.T) { newPhones(t, false, nil).survivesKills() }, // they are in the call still
		"Mute":             modemMute,
	} {
		all.Go(func() { t.Run(name, test) })
	}
	all.Wait()
}

// modemRedial loses the carrier while a file is on its way.
func modemRedial(t *testing.T) {
	p := newPhones(t, true, nil)
	p.up()
	p.client.comesBack(serverInner)
	p.client.says(`msg=chat .*report="CONNECT 0"`)

	const volume = 40_000
	start := time.Now()
	dropped, done := make(chan struct{}), make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		defer cancel()
		moved, err := lab.Ends{Client: p.client.ns, Server: p.server.ns, Dst: serverInner}.Transfer(ctx,
			lab.Load{Up: volume, Down: volume, Content: held(volume*3/4, dropped)})
		t.Logf("up %v, down %v", moved.Up.Elapsed, moved.Down.Elapsed)
		done <- err
	}()
	p.server.until("half way", func(r report) bool { return r.Inside.BytesOut > volume/2 })
	for _, s := range []*site{p.client, p.server} {
		if r := s.until("up", isUp); r.Damaged != 0 {
			t.Errorf("%s: %d damaged frames", s.name, r.Damaged)
		}
	}
	began := time.Now()
	t.Logf("half way after %v", began.Sub(start))
	p.caller.Modem().Drop()
	p.client.until("down", func(r report) bool { return !isUp(r) })
	t.Logf("carrier loss is noticed after %v", time.Since(began))
	close(dropped)
	p.client.until("up again", func(r report) bool { return isUp(r) && r.Links > 1 })
	t.Logf("up again %v after the carrier was lost", time.Since(began))
	must(t, <-done)
	p.client.stop()
	p.server.stop()
	if p.caller.Modem().Online() || p.called.Modem().Online() {
		t.Error("the modems were not hung up")
	}
}

// held is random content that stops after n bytes until a channel is closed: however long
// a test is held up itself, not all has been sent by then.
func held(n int64, until <-chan struct{}) lab.Content {
	return func(seed uint64) io.Reader {
		all := lab.Random(seed)
		return io.MultiReader(io.LimitReader(all, n), waiting(until), all)
	}
}

// waiting reads nothing, when it is closed.
type waiting <-chan struct{}

func (w waiting) Read([]byte) (int, error) {
	<-w
	return 0, io.EOF
}

// modemBusy finds the number busy twice.
func modemBusy(t *testing.T) {
	var calls atomic.Int32
	p := newPhones(t, false, func(string) string {
		if calls.Add(1) <= 2 {
			return "BUSY"
		}
		return ""
	})
	p.server.start()
	p.server.says("interface is up")
	p.client.start()
	began := time.Now()
	p.client.comesBack(serverInner)
	t.Logf("up after %v and %d calls", time.Since(began), calls.Load())
	if n := calls.Load(); n != 3 {
		t.Errorf("%d calls", n)
	}
	if want := fmt.Sprintf(`%s: %s:5: \"BUSY\": ABORT`, p.client.file("tty"), p.client.file("chat")); !strings.Contains(p.client.Stderr.String(), want) {
		t.Errorf("the log has no %s", want)
	}
	p.client.stop()
	p.server.stop()
	if p.caller.Modem().Online() || p.called.Modem().Online() {
		t.Error("the modems were not hung up")
	}
}

// modemMute has a modem that is silent when the daemon wants to dial, and one that
// is unplugged and comes back.
func modemMute(t *testing.T) {
	p := newPhones(t, false, nil)
	p.caller.Mute(true)
	p.server.start()
	p.client.start()
	p.client.says(`chat:2: \\"OK\\": not received in time: 2s`)
	must(t, p.caller.Unplug())
	p.client.says(`no such file or directory`)
	if _, err := os.Stat(p.client.file("tty")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	began := time.Now()
	must(t, p.caller.Plug())
	p.client.comesBack(serverInner)
	t.Logf("up %v after the modem is back", time.Since(began))
	p.client.stop()
	p.server.stop()
}
