package tunnel

import (
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// directBench is a link whose client may send at once what it reads.
type directBench struct {
	server, client *end
	s              *session // of the client
}

// newDirectBench brings a link up and changes what its client's sender sees.
func newDirectBench(t *testing.T, change func(s *session)) *directBench {
	t.Helper()
	c := testConfig(t)
	c.Tuning.Compress = "off"
	b := &directBench{}
	b.server, b.client, _ = simPair(t, c, c)
	synctest.Wait()
	b.s = b.client.point.link.Load()
	b.s.send.mu.Lock()
	defer b.s.send.mu.Unlock()
	b.s.send.quiet = func() bool { return true }
	change(b.s)
	return b
}

// queue lets packets of n bytes wait, as they come from the host.
func (b *directBench) queue(packets, n int) {
	for range packets {
		b.client.count.insideIn.Add(1)
		b.s.queue.Push(b.client.copied(udp(n, 1)))
	}
}

// arrive sees the packets come out at the other end, each of them counted.
func (b *directBench) arrive(t *testing.T, packets, n int) {
	t.Helper()
	for range packets {
		arrives(t, b.server, udp(n, 1))
	}
	conserved(t, b.client)
	conserved(t, b.server)
}

// halfOf has room for a half of what is written.
func halfOf(s *session) {
	s.send.atOnce = func(b []byte) (int, error) { return s.conn.Write(b[:len(b)/2]) }
}

// TestDirect has a lone packet sent by the goroutine that has read it, and others
// wait for the sender.
func TestDirect(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(s *session)
		direct bool
	}{
		{"quiet", func(s *session) {}, true},
		{"something is under way", func(s *session) { s.send.quiet = func() bool { return false } }, false},
		{"nobody knows", func(s *session) { s.send.quiet = nil }, false},
		{"a probe, which lets all arrive", func(s *session) { s.send.allow.rate, s.send.allow.probe.drains = 4000, true }, false},
		{"a limit, which is waited for", func(s *session) { s.owner.rates.set(1 << 20) }, false},
	} {
		sim(t, test.name, func(t *testing.T) {
			b := newDirectBench(t, test.change)
			b.queue(1, 100)
			if got := b.s.send.direct(); got != test.direct || got != (b.s.queue.Len() == 0) {
				t.Errorf("sent at once: %v, %d packets wait", got, b.s.queue.Len())
			}
			b.s.queue.Wake()
			b.arrive(t, 1, 100)
			passes(t, b.client, b.server)
			conserved(t, b.client)
		})
	}
	sim(t, "the sender is at work", func(t *testing.T) {
		b := newDirectBench(t, func(*session) {})
		b.s.send.mu.Lock()
		defer b.s.send.mu.Unlock()
		if b.s.send.direct() {
			t.Error("two send at once")
		}
	})
	sim(t, "the link has ended", func(t *testing.T) {
		b := newDirectBench(t, func(*session) {})
		b.s.end(errShutdown)
		if b.s.send.direct() {
			t.Error("a packet goes out on a link that has ended")
		}
	})
}

// TestDirectRoom has the connection take a part of what is sent at once.
func TestDirectRoom(t *testing.T) {
	sim(t, "no room for all", func(t *testing.T) {
		for _, room := range []int{0, 1, 50, 150, 1000} { // of one packet, or of two
			var calls int
			b := newDirectBench(t, func(s *session) {
				s.send.atOnce = func(b []byte) (int, error) {
					calls++
					return s.conn.Write(b[:min(room, len(b))])
				}
			})
			b.queue(2, 100)
			if got := b.s.send.direct(); got != (room == 1000) || calls != 1 {
				t.Errorf("room for %d bytes: sent at once: %v, with %d writes", room, got, calls)
			} else if !got {
				b.s.queue.Wake()
			}
			b.arrive(t, 2, 100)
			if calls != 1 || b.s.send.packets != 0 || len(b.s.send.out) != 0 {
				t.Errorf("room for %d bytes: %d writes in haste, %d packets and %d bytes are left", room, calls, b.s.send.packets, len(b.s.send.out))
			}
		}
	})
	sim(t, "room for some batches", func(t *testing.T) {
		b := newDirectBench(t, func(s *session) {
			s.send.atOnce = func(b []byte) (int, error) {
				end := s.conn.(*pipeEnd)
				defer end.fill(true) // run is awake, since batches are left: it is not to send the rest yet
				return end.Write(b[:len(b)/2])
			}
			s.send.allow.open.Store(true)
		})
		const many = 40 // of which some dozen make a batch
		b.queue(many, 1400)
		if b.s.send.direct() {
			t.Error("nobody is woken to send the rest")
		}
		b.s.queue.Wake()
		synctest.Wait()
		if sent := b.client.Stats().Wire.PacketsOut; sent == 0 || sent >= many {
			t.Errorf("%d of %d packets are counted as sent, with a half of them", sent, many)
		}
		b.s.conn.(*pipeEnd).fill(false)
		b.arrive(t, many, 1400)
		if sent := b.client.Stats().Wire.PacketsOut; sent != many {
			t.Errorf("%d of %d packets are counted as sent", sent, many)
		}
	})
	sim(t, "the link ends with a part of a frame", func(t *testing.T) {
		b := newDirectBench(t, halfOf)
		b.queue(1, 100)
		b.s.send.direct()
		b.s.end(errShutdown) // says good-bye behind the rest of the frame
		if cause := await(t, b.server.down, "end"); !strings.Contains(cause.Error(), "peer closed the link: shutdown") {
			t.Errorf("cause is %v", cause)
		}
		b.arrive(t, 1, 100)
	})
	sim(t, "the write fails", func(t *testing.T) {
		b := newDirectBench(t, func(s *session) { s.send.atOnce = func([]byte) (int, error) { return 0, errTest } })
		b.queue(1, 100)
		if b.s.send.direct() {
			t.Error("nobody is woken to see it")
		}
		b.s.queue.Wake()
		if cause := await(t, b.client.down, "end"); !errors.Is(cause, errTest) {
			t.Errorf("cause is %v", cause)
		}
		conserved(t, b.client)
	})
	sim(t, "the connection breaks", func(t *testing.T) {
		b := newDirectBench(t, func(s *session) {
			s.send.quiet = func() bool { s.conn.(*pipeEnd).reset(); return true }
		})
		b.client.device.in <- udp(100, 1)
		if cause := await(t, b.client.down, "end"); !errors.Is(cause, errLine) {
			t.Errorf("cause is %v", cause)
		}
		conserved(t, b.client)
	})
}

// tcpPair returns both ends of a real connection.
func tcpPair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	f, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return n.(*net.TCPConn), f.(*net.TCPConn)
}

// TestQuiet looks at a real connection.
func TestQuiet(t *testing.T) {
	near, far := tcpPair(t)
	quiet := outletOf(near).quiet
	if !quiet() {
		t.Error("a new connection is not quiet")
	}
	near.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	var err error
	for b := make([]byte, 1<<20); err == nil; { // until it is full
		_, err = near.Write(b)
	}
	if quiet() {
		t.Error("a full connection is quiet")
	}
	go func() {
		for b := make([]byte, 1<<20); ; {
			if _, err := far.Read(b); err != nil {
				return
			}
		}
	}()
	for end := time.Now().Add(time.Minute); !quiet(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a connection that was read is not quiet")
		}
	}
	near.Close()
	if quiet() {
		t.Error("a closed connection is quiet")
	}
}
