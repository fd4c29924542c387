package tunnel

import (
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestDirect has a lone packet sent by the goroutine that has read it, and others
// wait for the sender.
func TestDirect(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(s *session)
		direct  bool
	}{
		{"quiet", func(s *session) {}, true},
		{"something is under way", func(s *session) { s.send.quiet = func() bool { return false } }, false},
		{"nobody knows", func(s *session) { s.send.quiet = nil }, false},
		{"a probe, which lets all arrive", func(s *session) { s.send.allow.rate, s.send.allow.probe.drains = 4000, true }, false},
		{"a limit, which is waited for", func(s *session) { s.owner.rates.set(1 << 20) }, false},
	} {
		sim(t, test.name, func(t *testing.T) {
			c := testConfig(t)
			server, client, _ := simPair(t, c, c)
			synctest.Wait()
			s := client.point.link.Load()
			s.send.mu.Lock()
			s.send.quiet = func() bool { return true }
			test.prepare(s)
			s.send.mu.Unlock()
			client.count.insideIn.Add(1)
			s.queue.Push(client.copied(udp(100, 1)))
			if got := s.send.direct(); got != test.direct || got != (s.queue.Len() == 0) {
				t.Errorf("sent at once: %v, %d packets wait", got, s.queue.Len())
			}
			s.queue.Wake()
			server.device.take(t)
			passes(t, client, server)
			conserved(t, client)
		})
	}
	sim(t, "no room for all", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress = "off"
		server, client, _ := simPair(t, c, c)
		synctest.Wait()
		s := client.point.link.Load()
		for _, room := range []int{0, 1, 50, 150, 1000} { // of one packet, or of two
			var calls int
			s.send.mu.Lock()
			s.send.quiet = func() bool { return true }
			s.send.atOnce = func(b []byte) (int, error) {
				calls++
				n := min(room, len(b))
				return s.conn.Write(b[:n])
			}
			s.send.mu.Unlock()
			for range 2 {
				client.count.insideIn.Add(1)
				s.queue.Push(client.copied(udp(100, 1)))
			}
			if got := s.send.direct(); got != (room == 1000) || calls != 1 {
				t.Errorf("room for %d bytes: sent at once: %v, with %d writes", room, got, calls)
			} else if !got {
				s.queue.Wake()
			}
			for range 2 {
				arrives(t, server, udp(100, 1))
			}
			synctest.Wait()
			if calls != 1 || s.send.packets != 0 || len(s.send.out) != 0 {
				t.Errorf("room for %d bytes: %d writes in haste, %d packets and %d bytes are left", room, calls, s.send.packets, len(s.send.out))
			}
		}
		conserved(t, client)
		conserved(t, server)
	})
	sim(t, "room for some batches", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress = "off"
		server, client, _ := simPair(t, c, c)
		synctest.Wait()
		s := client.point.link.Load()
		s.send.mu.Lock()
		s.send.allow.open.Store(true)
		s.send.quiet = func() bool { return true }
		s.send.atOnce = func(b []byte) (int, error) { return s.conn.Write(b[:len(b)/2]) }
		s.send.mu.Unlock()
		const many = 40 // of which some dozen make a batch
		for range many {
			client.count.insideIn.Add(1)
			s.queue.Push(client.copied(udp(1400, 1)))
		}
		if s.send.direct() {
			t.Error("nobody is woken to send the rest")
		}
		if sent := client.Stats().Wire.PacketsOut; sent == 0 || sent >= many {
			t.Errorf("%d of %d packets are counted as sent, with a half of them", sent, many)
		}
		s.queue.Wake()
		for range many {
			arrives(t, server, udp(1400, 1))
		}
		synctest.Wait()
		if sent := client.Stats().Wire.PacketsOut; sent != many {
			t.Errorf("%d of %d packets are counted as sent", sent, many)
		}
		conserved(t, client)
		conserved(t, server)
	})
	sim(t, "the link ends with a part of a frame", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress = "off"
		server, client, _ := simPair(t, c, c)
		synctest.Wait()
		s := client.point.link.Load()
		s.send.mu.Lock()
		s.send.quiet = func() bool { return true }
		s.send.atOnce = func(b []byte) (int, error) { return s.conn.Write(b[:len(b)/2]) }
		s.send.mu.Unlock()
		client.count.insideIn.Add(1)
		s.queue.Push(client.copied(udp(100, 1)))
		s.send.direct()
		s.end(errShutdown) // says good-bye behind the rest of the frame
		if cause := await(t, server.down, "end"); !strings.Contains(cause.Error(), "peer closed the link: shutdown") {
			t.Errorf("cause is %v", cause)
		}
		arrives(t, server, udp(100, 1))
		conserved(t, client)
	})
	sim(t, "the write fails", func(t *testing.T) {
		c := testConfig(t)
		_, client, _ := simPair(t, c, c)
		synctest.Wait()
		s := client.point.link.Load()
		s.send.mu.Lock()
		s.send.quiet = func() bool { return true }
		s.send.atOnce = func([]byte) (int, error) { return 0, errTest }
		s.send.mu.Unlock()
		client.count.insideIn.Add(1)
		s.queue.Push(client.copied(udp(100, 1)))
		if s.send.direct() {
			t.Error("nobody is woken to see it")
		}
		s.queue.Wake()
		if cause := await(t, client.down, "end"); !errors.Is(cause, errTest) {
			t.Errorf("cause is %v", cause)
		}
		conserved(t, client)
	})
	sim(t, "the sender is at work", func(t *testing.T) {
		c := testConfig(t)
		_, client, _ := simPair(t, c, c)
		s := client.point.link.Load()
		s.send.mu.Lock()
		s.send.quiet = func() bool { return true }
		if s.send.direct() {
			t.Error("two send at once")
		}
		s.send.mu.Unlock()
	})
	sim(t, "the connection breaks", func(t *testing.T) {
		c := testConfig(t)
		_, client, r := simPair(t, c, c)
		synctest.Wait()
		s := client.point.link.Load()
		s.send.mu.Lock()
		s.send.quiet = func() bool { r.pipe(0).reset(); return true }
		s.send.mu.Unlock()
		client.device.in <- udp(100, 1)
		if cause := await(t, client.down, "end"); !errors.Is(cause, errLine) {
			t.Errorf("cause is %v", cause)
		}
		conserved(t, client)
	})
	sim(t, "the link has ended", func(t *testing.T) {
		c := testConfig(t)
		_, client, _ := simPair(t, c, c)
		s := client.point.link.Load()
		s.send.mu.Lock()
		s.send.quiet = func() bool { return true }
		s.send.mu.Unlock()
		s.end(errShutdown)
		if s.send.direct() {
			t.Error("a packet goes out on a link that has ended")
		}
	})
}

// TestQuiet looks at a real connection.
func TestQuiet(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	quiet := outletOf(near).quiet
	if !quiet() {
		t.Error("a new connection is not quiet")
	}
	near.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
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
