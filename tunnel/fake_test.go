package tunnel

import (
	"encoding/binary"
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
	raw    chan []byte // the same, behind what the host says of it
	out    chan []byte // what the tunnel wrote
	broken chan error  // errors for Read to return
	closed chan struct{}
	wrote  atomic.Int64 // bytes that the tunnel gave to Write, in all
	once   sync.Once
}

func newFakeDevice() *fakeDevice {
	return &fakeDevice{
		in:     make(chan []byte, 1024),
		raw:    make(chan []byte, 1024),
		out:    make(chan []byte, 4096),
		broken: make(chan error, 1024),
		closed: make(chan struct{}),
	}
}

func (d *fakeDevice) Read(b []byte) (int, error) {
	select {
	case p := <-d.in:
		clear(b[:HeaderSize])
		return HeaderSize + copy(b[HeaderSize:], p), nil
	case raw := <-d.raw:
		return copy(b, raw), nil
	case err := <-d.broken:
		return 0, err
	case <-d.closed:
		return 0, os.ErrClosed
	}
}

// WriteWhole cuts what it is given, as the host does.
func (d *fakeDevice) WriteWhole(b []byte) error {
	o, p := parseOffload(b, binary.NativeEndian), b[HeaderSize:]
	n, ok := o.headers(p)
	if !ok {
		return errors.New("not what it says")
	}
	for from := n; from < len(p); from += o.size {
		s := make([]byte, n+o.size)
		if _, err := d.Write([][]byte{s[:o.segment(s, p, n, from)]}, 0); err != nil {
			return err
		}
	}
	return nil
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
