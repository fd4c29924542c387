package tunnel

import (
	"errors"
	"net"
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
	quiet := quiet(near)
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
