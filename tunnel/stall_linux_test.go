package tunnel

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallest is a connection whose buffers are as small as one end alone can make those
// of both.
func smallest(_, _ string, raw syscall.RawConn) (err error) {
	cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 88)
		if err == nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
		}
	})
	if cerr != nil {
		return cerr
	}
	return err
}

// TestStall has a client of a hub that takes no more than it has to, so that the next
// write to it does not end, and then nothing more. The other clients get their packets
// all the same, and what it was sent comes in order when it reads on.
func TestStall(t *testing.T) {
	for _, size := range []int{60000, 1400} {
		noLeak(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c := testConfig(t)
		c.Tuning.Compress = "off"
		c.Listener, c.Local = l, hubAddrs(100)
		b := &hubBench{t: t, road: newRoad()}
		c.Hub = &Hub{Guest: guestOf}
		b.hub = start(t, c)
		honest := b.config(2)
		honest.Servers = []Dial{dialer(l)}
		client := start(t, honest)
		await(t, client.up, "link")
		await(t, b.hub.up, "link of the hub")

		d := net.Dialer{Control: smallest}
		conn, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		p := puppetCaller(t, conn, b.config(1)).confirmed(b.hub)
		p.expect(framePing)
		ready(t, b.hub.hub.owner(hubAddrs(1)[0]).link.Load())
		random := make([]byte, size)
		rand.Read(random)
		fill := func() {
			if size <= 1400 {
				packet := append(between(address("10.200.0.1"), hubAddrs(1)[0])[:28], random...)
				b.hub.device.in <- lengthened(packet)
				return
			}
			o, packet := segments(t, 4, size, 1400)
			copy(packet[12:], address("10.200.0.1").AsSlice())
			copy(packet[16:], hubAddrs(1)[0].AsSlice())
			n, _ := o.headers(packet)
			copy(packet[n:], random)
			b.hub.device.raw <- raw(o, packet)
		}
		for round := range 20 {
			fill()
			there := between(address("10.200.0.1"), hubAddrs(2)[0])
			b.hub.device.in <- there
			select {
			case <-client.device.out:
			case <-time.After(10 * time.Second):
				t.Fatalf("packets of %d bytes, round %d: the other client gets nothing", size, round)
			}
		}
		// It reads on, as one that was only slow: every frame opens.
		last := between(address("10.200.0.1"), hubAddrs(1)[0])
		b.hub.device.in <- last
		seen := make(chan error, 1)
		go func() {
			for {
				if got, err := p.next(); err != nil || bytes.HasSuffix(got.payload, last[28:]) {
					seen <- err
					return
				}
			}
		}()
		if err := await(t, seen, "what waited"); err != nil {
			t.Errorf("packets of %d bytes: %v", size, err)
		}
		go io.Copy(io.Discard, conn)
		conn.Close()
		client.stop(t)
		b.hub.stop(t)
	}
}

// ready waits until all has arrived at the other end, and lets the line be one that has
// shown that it is fast: the next packet is sent by who has read it.
func ready(t *testing.T, s *session) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s.send.mu.Lock()
		s.send.allow.open.Store(true)
		quiet := s.send.quiet != nil && s.send.quiet()
		s.send.mu.Unlock()
		if quiet {
			return
		}
		if time.Now().After(end) {
			t.Fatal("what was sent does not arrive")
		}
	}
}
