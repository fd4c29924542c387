package tunnel

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"vpnd/crypto"
)

const (
	flowWindow = 512 // packets under way
)

// flow is a stream of packets from one device to another, without an allocation
// of its own. Like TCP, it has a bounded number of packets under way, so that
// no queue overflows. Those that are dropped because they waited too long, on a host that
// stood still, are made up for by others.
type flow struct {
	packets  [64][]byte // none of which helps to compress another
	mu       sync.Mutex
	change   sync.Cond
	wanted   int // packets that the source has to send in all
	sent     int
	received int
	lost     int
	closed   bool
}

// newFlow returns a flow of packets of the size in bytes.
func newFlow(size int) *flow {
	f := &flow{}
	random := rand.NewChaCha8([32]byte{})
	for i := range f.packets {
		f.packets[i] = udp(size, 0)
		random.Read(f.packets[i][ipv4Header:])
		f.packets[i][1] = 1 // takes a mark (RFC 3168): nothing is sent again
	}
	f.change.L = &f.mu
	return f
}

// carry sends packets and waits until n have come.
func (f *flow) carry(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted += n
	f.change.Broadcast()
	for f.received < f.wanted {
		f.change.Wait()
	}
}

// lose says how many packets were dropped in all.
func (f *flow) lose(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > f.lost {
		f.lost = n
		f.change.Broadcast()
	}
}

func (f *flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.change.Broadcast()
}

// source is the device at the flow's beginning.
type source struct{ *flow }

func (s source) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, os.ErrClosed
		case s.sent < s.lost+min(s.wanted, s.received+flowWindow):
			clear(b[:HeaderSize])
			n := copy(b[HeaderSize:], s.packets[s.sent%len(s.packets)])
			s.sent++
			return HeaderSize + n, nil
		}
		s.change.Wait()
	}
}

func (s source) Write(bufs [][]byte, offset int) (int, error) { return len(bufs), nil }
func (s source) WriteWhole([]byte) error                      { return nil }
func (s source) BatchSize() int                               { return 128 }
func (s source) Close() error                                 { s.close(); return nil }

// sinkDevice is the device at the flow's end.
type sinkDevice struct {
	*flow
	done chan struct{}
}

func (s sinkDevice) WriteWhole([]byte) error {
	_, err := s.Write(make([][]byte, 1), 0)
	return err
}

func (s sinkDevice) Read([]byte) (int, error) {
	<-s.done
	return 0, os.ErrClosed
}

func (s sinkDevice) Write(bufs [][]byte, offset int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received += len(bufs)
	s.change.Broadcast()
	return len(bufs), nil
}

func (s sinkDevice) BatchSize() int { return 128 }
func (s sinkDevice) Close() error   { close(s.done); return nil }

// start starts a link over loopback TCP that carries the flow from the client to
// the server.
func (f *flow) start(t testing.TB, c Config) (client *Tunnel) {
	t.Helper()
	noLeak(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up := make(chan struct{}, 2)
	c.Up = func(Link) { up <- struct{}{} }
	c.Log = slog.New(slog.DiscardHandler)
	cs, cc := c, c
	cs.Device, cc.Device = sinkDevice{f, make(chan struct{})}, source{f}
	if c.Line == nil {
		cs.Listener, cc.Servers = l, []Dial{dialer(l)}
	} else {
		cs.Line, cc.Line = portPair(t, l, *c.Line)
	}
	run(t, cs)
	client, _ = run(t, cc)
	<-up
	<-up
	look, stop, stopped := time.NewTicker(100*time.Millisecond), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-look.C:
				f.lose(int(client.count.out[outWaited].Load()))
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		look.Stop()
		close(stop)
		<-stopped
	})
	return client
}

// tcpPort is a connection that looks like a serial line.
type tcpPort struct{ net.Conn }

func (tcpPort) Waiting() (int, error) { return 0, nil }

// portPair returns a line whose ends are those of a connection to l, which it
// closes.
func portPair(t testing.TB, l net.Listener, line Line) (server, client *Line) {
	t.Helper()
	open := func(conn net.Conn, err error, answers bool) *Line {
		if err != nil {
			t.Fatal(err)
		}
		own := line
		own.Answers, own.Open = answers, func(context.Context) (Port, error) { return tcpPort{conn}, nil }
		return &own
	}
	near, err := dialer(l)(t.Context())
	client = open(near, err, false)
	far, err := l.Accept()
	server = open(far, err, true)
	l.Close()
	return server, client
}

// TestNoAllocations counts what a live pair allocates while packets flow, five to
// a frame: nothing for a packet or a frame. A ratchet makes new keys, and a PING
// needs a stamp.
func TestNoAllocations(t *testing.T) {
	const packets = 10000
	for _, test := range []struct {
		cipher crypto.Cipher
		policy string
		line   *Line
	}{
		{crypto.AES256GCM, "off", nil},
		{crypto.ChaCha20Poly1305, "off", nil},
		{crypto.Blowfish, "off", nil},
		{crypto.AES256GCM, "s2", nil},
		{crypto.AES256GCM, "deflate", nil},
		{crypto.AES256GCM, "zstd", nil},
		{crypto.Blowfish, "off", &Line{Name: "line", Speed: 1e9}},
		{crypto.AES256GCM, "zstd", &Line{Name: "line", Speed: 1e9}},
	} {
		name := test.cipher.String() + " " + test.policy
		if test.line != nil {
			name += " over a line"
		}
		t.Run(name, func(t *testing.T) {
			c := testConfig(t)
			c.Line = test.line
			c.Ciphers = []crypto.Cipher{test.cipher}
			c.Tuning.Compress, c.Tuning.SendBuf, c.MTU = test.policy, 1024, 256
			f := newFlow(200)
			client := f.start(t, c)
			f.carry(8 * flowWindow) // buffers grow
			var before, after runtime.MemStats
			ratchets := client.Stats().Link.Ratchets
			runtime.ReadMemStats(&before)
			f.carry(packets)
			runtime.ReadMemStats(&after)
			ratchets = client.Stats().Link.Ratchets - ratchets
			// Both ends; pings, and under the race detector what a sync.Pool loses.
			const perRatchet, other = 80, packets / 6
			allocated := after.Mallocs - before.Mallocs
			t.Logf("%d allocations for %d packets, %d ratchets", allocated, packets, ratchets)
			if allocated > perRatchet*ratchets+other {
				t.Errorf("%d allocations for %d packets and %d ratchets", allocated, packets, ratchets)
			}
		})
	}
}

// BenchmarkPair measures a link over loopback TCP, one way, packets of 1400 bytes
// that do not compress.
func BenchmarkPair(b *testing.B) {
	for _, cipher := range []crypto.Cipher{crypto.Blowfish, crypto.AES256GCM, crypto.ChaCha20Poly1305} {
		for _, policy := range []string{"off", "auto"} {
			b.Run(cipher.String()+" "+policy, func(b *testing.B) {
				c := testConfig(b)
				c.Ciphers, c.Tuning.Compress = []crypto.Cipher{cipher}, policy
				f := newFlow(1400)
				f.start(b, c)
				f.carry(flowWindow)
				b.SetBytes(1400)
				b.ReportAllocs()
				b.ResetTimer()
				f.carry(b.N)
				b.StopTimer()
			})
		}
	}
}

// BenchmarkHandshake measures how long it takes from the start of a client to the
// first packet.
func BenchmarkHandshake(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	up := make(chan struct{}, 1)
	c := testConfig(b)
	c.Log = slog.New(slog.DiscardHandler)
	c.Up = func(Link) { up <- struct{}{} }
	c.Device, c.Listener = newFakeDevice(), l
	run(b, c)
	c.Listener, c.Servers, c.Up = nil, []Dial{dialer(l)}, nil
	for b.Loop() {
		c.Device = newFakeDevice()
		_, stop := run(b, c)
		<-up
		b.StopTimer()
		stop()
		b.StartTimer()
	}
}
