package tunnel

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// middle is a man in the middle of a road. He sees where frames begin and end,
// keeps what passes, and can send other frames in their place.
type middle struct {
	road *road
	mu   sync.Mutex
	// edit returns what becomes of a frame: itself, nothing, something else. nil:
	// itself. up says that it goes to the server.
	edit     func(up bool, f []byte) []byte
	up, down []byte // what went on, of the last connection
}

// dial leads a client to the server, through the hands of the man.
func (m *middle) dial(ctx context.Context) (net.Conn, error) {
	far, err := m.road.dial(ctx)
	if err != nil {
		return nil, err
	}
	p := newPipe(far.LocalAddr(), far.RemoteAddr())
	m.mu.Lock()
	m.up, m.down = nil, nil
	m.mu.Unlock()
	var ways sync.WaitGroup
	ways.Go(func() { m.carry(p.server, far.(*pipeEnd), true) })
	ways.Go(func() { m.carry(far.(*pipeEnd), p.server, false) })
	go func() {
		ways.Wait()
		p.server.Close()
		far.Close()
	}()
	return p.client, nil
}

// carry takes one direction from a connection to the other one.
func (m *middle) carry(from, to *pipeEnd, up bool) {
	defer to.CloseWrite()
	tape, first := &m.down, crypto.F2Size
	if up {
		tape, first = &m.up, crypto.F1Size
	}
	flight := make([]byte, first)
	if _, err := io.ReadFull(from, flight); err != nil {
		return
	}
	m.keep(tape, flight)
	to.Write(flight)
	frames := frame.NewReader(from, frame.MaxText)
	for {
		header, body, err := frames.Next()
		if err != nil {
			return
		}
		f := m.edited(up, append(bytes.Clone(header), body...))
		m.keep(tape, f)
		to.Write(f)
	}
}

// change sets edit.
func (m *middle) change(edit func(up bool, f []byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.edit = edit
}

func (m *middle) keep(tape *[]byte, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*tape = append(*tape, b...)
}

func (m *middle) edited(up bool, f []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.edit == nil {
		return f
	}
	return m.edit(up, f)
}
