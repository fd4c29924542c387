package tunnel

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"vpnd/tunnel/queue"
)

// Device is the TUN device.
type Device interface {
	// Read reads one packet of the host, behind HeaderSize bytes that say what is
	// left to do with it, see offload. It returns the length of both.
	Read(b []byte) (int, error)
	// Write gives packets to the host, as golang.zx2c4.com/wireguard/tun does: each
	// begins at offset, and there are no more than BatchSize.
	Write(bufs [][]byte, offset int) (int, error)
	// WriteWhole gives the host one packet behind its HeaderSize bytes.
	WriteWhole(b []byte) error
	BatchSize() int
	// Close makes the other methods return os.ErrClosed.
	Close() error
}

const (
	// readSize has room for the longest packet of the device.
	readSize = HeaderSize + 65535
	// wholeSize has room for a few segments: a long buffer for each few of them
	// would be a waste.
	wholeSize = 8 << 10
)

// ErrDevice says that the TUN device is gone or broken.
var ErrDevice = errors.New("tun device failed")

// maxReadErrors is how many reads in a row the kernel may refuse before the device
// counts as broken.
const maxReadErrors = 100

// readDevice gives the host's packets to the links, for the life of the tunnel.
func (t *Tunnel) readDevice() error {
	b := t.pool.Get(readSize)
	for failed := 0; ; {
		n, err := t.config.Device.Read(b.Bytes)
		if err == nil {
			failed = 0
			b.N = n
			b = t.read(b)
			continue
		}
		if failed++; errors.Is(err, os.ErrClosed) || failed == maxReadErrors {
			return fmt.Errorf("%w: %w", ErrDevice, err)
		}
		t.bad.Warn(t.config.Log, "bad packet from the interface", "error", err)
		t.count.insideIn.Add(1)
		t.count.dropOut(outRead, 1)
	}
}

// read takes what the device gave, and returns a buffer for the next read.
func (t *Tunnel) read(b *queue.Buffer) (next *queue.Buffer) {
	o, p := parseOffload(b.Bytes, binary.NativeEndian), b.Bytes[HeaderSize:max(b.N, HeaderSize)]
	to, others := t.peerTo(p)
	to.count.insideBytesIn.Add(uint64(len(p)))
	s := to.link.Load()
	n, segments := o.headers(p)
	switch {
	case segments && s != nil && o.fits(s, p, n):
		o.put(b.Bytes, n, binary.LittleEndian)
		if b.N > wholeSize {
			b.Whole = true
			t.forward(to, s, b)
			return t.pool.Get(readSize)
		}
		whole := t.copied(b.Packet())
		whole.Whole = true
		t.forward(to, s, whole)
	case segments:
		t.cut(to, s, o, p, n)
	case o.kind == kindNone && o.finish(p):
		t.forward(to, s, t.copied(p))
		for _, other := range others {
			if other.isDirect() {
				other.count.insideBytesIn.Add(uint64(len(p)))
				t.forward(other, other.link.Load(), t.copied(p))
			}
		}
	default:
		to.count.insideIn.Add(1)
		to.count.dropOut(outMalformed, 1)
	}
	return b
}

// peerTo returns who is to get a packet of the host, which may be anything. What calls
// through third peers goes to others, too.
func (t *Tunnel) peerTo(p []byte) (to *peer, others []*peer) {
	if t.hub != nil {
		if via, others, ok := t.hub.carriedBy(p); ok {
			return cmp.Or(via, t.point), others
		}
		if to := t.hub.owner(destinationOf(p)); to != nil {
			return to, nil
		}
	}
	return t.point, nil
}

// copied returns a buffer of its own for bytes that were read.
func (t *Tunnel) copied(p []byte) *queue.Buffer {
	b := t.pool.Get(len(p))
	b.N = copy(b.Bytes, p)
	return b
}

// cut makes packets of segments whose headers are n bytes long.
func (t *Tunnel) cut(to *peer, s *session, o offload, p []byte, n int) {
	for from := n; from < len(p); from += o.size {
		b := t.pool.Get(min(n+o.size, len(p)))
		b.N = o.segment(b.Bytes, p, n, from)
		t.forward(to, s, b)
	}
}

// forward puts a packet on the queue of a peer's link s, nil for none, or drops it.
func (t *Tunnel) forward(to *peer, s *session, b *queue.Buffer) {
	to.count.insideIn.Add(1)
	if why, ok := t.enqueue(to, s, b); !ok {
		to.count.dropOut(why, 1)
		t.pool.Put(b)
	}
}

func (t *Tunnel) enqueue(to *peer, s *session, b *queue.Buffer) (why dropOut, ok bool) {
	p := b.Packet()
	if b.Whole {
		p = p[HeaderSize:]
	}
	switch n, ok := packetLen(p); {
	case !ok || n != len(p):
		return outMalformed, false
	case t.config.unwanted(p):
		return outUnwanted, false
	case !b.Whole && (n > t.config.MTU || s != nil && n > s.maxPacket):
		return outTooLong, false
	case t.hub != nil && to == t.point:
		return outNoPeer, false
	case s == nil && t.hub != nil:
		return outNoLink, false
	case s == nil:
		return outNoLink, t.demand.want(b)
	}
	if s.clamp > 0 && !b.Whole {
		clampMSS(p, s.clamp)
	}
	dropped, ok := s.queue.Push(b)
	if !ok {
		return outLinkLost, false
	}
	to.count.dropOut(outQueueFull, dropped)
	if !s.send.direct() {
		s.queue.Wake()
	}
	return 0, true
}
