package tunnel

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeDevice is a TUN device without a host: a test puts packets in and takes
// out what the tunnel wrote.
type fakeDevice struct {
	in     chan []byte // towards the tunnel
	out    chan []byte // what the tunnel wrote
	broken chan error  // errors for Read to return
	closed chan struct{}
	wrote  atomic.Int64 // bytes that the tunnel gave to Write, in all
	once   sync.Once
}

func newFakeDevice() *fakeDevice {
	return &fakeDevice{
		in:     make(chan []byte, 1024),
		out:    make(chan []byte, 4096),
		broken: make(chan error, 1024),
		closed: make(chan struct{}),
	}
}

// errLong makes Read panic.
var errLong = errors.New("packets are longer than a buffer")

func (d *fakeDevice) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case p := <-d.in:
		sizes[0] = copy(bufs[0][offset:], p)
	case err := <-d.broken:
		if err == errLong {
			copy(bufs[0][:cap(bufs[0])+1], "as the library cuts packets")
		}
		return 0, err
	case <-d.closed:
		return 0, os.ErrClosed
	}
	for n := 1; n < len(bufs); n++ {
		select {
		case p := <-d.in:
			sizes[n] = copy(bufs[n][offset:], p)
		default:
			return n, nil
		}
	}
	return len(bufs), nil
}

func (d *fakeDevice) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		d.wrote.Add(int64(len(b) - offset))
		select {
		case d.out <- append([]byte(nil), b[offset:]...):
		case <-d.closed:
			return 0, os.ErrClosed
		}
	}
	return len(bufs), nil
}

func (d *fakeDevice) BatchSize() int { return 128 }

func (d *fakeDevice) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// take returns the next packet that the tunnel wrote.
func (d *fakeDevice) take(t *testing.T) []byte {
	t.Helper()
	return await(t, d.out, "packet")
}

// await returns the next value of a channel. Nothing that a test waits for
// takes longer than two minutes, simulated or not.
func await[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(2 * time.Minute):
		t.Fatalf("no %s within two minutes", what)
		panic("not reached")
	}
}
