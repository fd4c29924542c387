package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"vpnd/tunnel"
)

// packetSize is that of a full packet of Ethernet.
const packetSize = 1500

// silent is the device of an end that sends nothing. It counts what comes.
type silent struct {
	bytes  *atomic.Int64
	closed chan struct{}
	once   sync.Once
}

func newSilent() *silent {
	return &silent{bytes: new(atomic.Int64), closed: make(chan struct{})}
}

// Read waits for the end.
func (d *silent) Read([]byte) (int, error) {
	<-d.closed
	return 0, os.ErrClosed
}

// Write counts packets and forgets them.
func (d *silent) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		d.bytes.Add(int64(len(b) - offset))
	}
	return len(bufs), nil
}

// WriteWhole counts a packet and forgets it.
func (d *silent) WriteWhole(b []byte) error {
	d.bytes.Add(int64(len(b) - tunnel.HeaderSize))
	return nil
}

// BatchSize is small: each client of this process has memory for as many.
func (d *silent) BatchSize() int { return 1 }

// Close ends Read.
func (d *silent) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// busy is the device of a client that sends what its queue takes. No more packets
// are under way than fit in it.
type busy struct {
	*silent
	packet []byte
	tokens chan struct{}
}

// window is how many packets of a client may be under way.
const window = 256

func newBusy(from, to netip.Addr) *busy {
	b := &busy{silent: newSilent(), packet: make([]byte, packetSize), tokens: make(chan struct{}, window)}
	random := rand.NewChaCha8([32]byte{})
	random.Read(b.packet[20:])
	b.packet[0], b.packet[8], b.packet[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b.packet[2:], packetSize)
	copy(b.packet[12:], from.AsSlice())
	copy(b.packet[16:], to.AsSlice())
	return b
}

// Read returns the next packet when one may be sent.
func (d *busy) Read(b []byte) (int, error) {
	select {
	case <-d.closed:
		return 0, os.ErrClosed
	case <-d.tokens:
	}
	clear(b[:tunnel.HeaderSize])
	return tunnel.HeaderSize + copy(b[tunnel.HeaderSize:], d.packet), nil
}

// came says that packets have arrived, or that there is a link now, so that others may
// be sent.
func (d *busy) came(n int) {
	for range n {
		select {
		case d.tokens <- struct{}{}:
		default:
		}
	}
}
