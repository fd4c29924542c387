package tunnel

import (
	"errors"
	"testing"
	"time"

	"vpnd/compress"
)

// TestLineHistory loses packets before some that are compressed with what stood in
// them. These are dropped, and the peer is asked to start anew.
func TestLineHistory(t *testing.T) {
	for _, test := range []struct {
		name  string
		loses func(c *lineCast, lose func(frames int)) // the next frame has the next number
	}{
		{"a frame", func(c *lineCast, lose func(int)) { lose(1) }},
		{"the end of an epoch", func(c *lineCast, lose func(int)) {
			c.ratchet(1)
			lose(1)
		}},
		{"the end of a generation", func(c *lineCast, lose func(int)) {
			c.take(c.startRekey())
			c.change()
			lose(2)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newLineCast(&attack{t: t}, aes, false)
			packer, err := compress.NewEncoder("deflate", compress.All)
			if err != nil {
				t.Fatal(err)
			}
			batch := func() []byte { return packWith(packer, udp(200, 1)) }
			arrives := func(what string, want bool) {
				t.Helper()
				c.mark()
				if err := c.session.receive.fromLine(c.send(frameBatch, batch()...)); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				if got := c.bytes() > c.before; got != want {
					t.Errorf("%s arrives: %v", what, got)
				}
			}
			arrives("the first packet", true)
			batch()
			test.loses(c, func(frames int) {
				for range frames {
					c.send(framePing, stamped(1)...)
				}
			})
			arrives("a packet without its history", false)
			if c.asked(frameReset) == nil {
				t.Error("the peer is not asked to start anew")
			}
			packer.Reset()
			arrives("a packet with a new history", true)
			arrives("the next one", true)
		})
	}
}

// TestLineLostStamp loses frames, one of which may be a TIME, with maxdelay. Packets are too
// old until the next stamp, and the link goes on.
func TestLineLostStamp(t *testing.T) {
	c := newLineCast(&attack{t: t}, aes, false)
	r := &c.session.receive
	r.delay.limit = 30 * time.Second
	packet := func(what string, want bool) {
		t.Helper()
		c.mark()
		old := r.count.snapshot().DropsIn["too_old"]
		if err := r.fromLine(c.send(frameBatch, stored(udp(30, 1))...)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		old = r.count.snapshot().DropsIn["too_old"] - old
		if got := c.bytes() > c.before; got != want || old != map[bool]uint64{false: 1}[want] {
			t.Errorf("%s: arrives %v, %d are too old", what, got, old)
		}
	}
	c.take(c.send(framePing, stamped(1)...))
	c.send(frameTime, stamped(1)...)
	packet("a packet without the first stamp", false)
	for range 2 {
		c.take(c.send(frameTime, stamped(2)...))
		packet("a packet behind a stamp", true)
		packet("the next one", true)
		c.send(framePing, stamped(1)...)
		packet("a packet behind what is lost", false)
		packet("the next one", false)
	}
}

// TestLineRatchet announces keys on a line, where each frame says its own.
func TestLineRatchet(t *testing.T) {
	for _, to := range []byte{nextEpoch, nextGeneration} {
		c := newLineCast(&attack{t: t}, aes, false)
		c.fails("RATCHET", c.send(frameRatchet, to), "frame of unknown type 5")
	}
}

// TestLineAskReset asks again only when the answer should be there.
func TestLineAskReset(t *testing.T) {
	c := newLineCast(&attack{t: t}, aes, false)
	now := time.Hour
	c.session.t.config.Now = func() time.Duration { return now }
	c.session.rtt.Store(int64(time.Second))
	answer := time.Second + c.session.line.answerTime()
	for i, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {0, 1}, {answer - 1, 1}, {1, 2}, {answer, 3}} {
		now += step.after
		c.session.receive.askReset()
		if n := len(c.session.control); n != step.want {
			t.Errorf("step %d: asked %d times, want %d", i, n, step.want)
		}
	}
}

// TestLineStuckRekey has no room for the change of keys that a frame of the peer's
// next generation asks for.
func TestLineStuckRekey(t *testing.T) {
	c := newLineCast(&attack{t: t}, aes, false)
	c.take(c.startRekey())
	c.change()
	for c.session.post(message{kind: framePing}) {
	}
	if err := c.session.receive.fromLine(c.send(frameConfirm)); !errors.Is(err, errStuck) {
		t.Error(err)
	}
}
