package tunnel

import (
	"encoding/binary"
	"sync"
)

const (
	// headroom is what the TUN device wants in front of a packet.
	headroom = 16
	// slotSize lets the device join segments of one stream in front of the first.
	slotSize = headroom + 65536
)

// deliverer gives the packets of a peer's batches to the TUN device. Those of all
// peers share a tray: who has it writes one batch and hands it on, so that no peer
// keeps the others from it.
type deliverer struct {
	device Device
	count  *counters
	gate   *gate // nil: the peer may send what it likes
	*tray
}

// tray is the memory for one write to the device.
type tray struct {
	mu    sync.Mutex
	slots [][]byte
	bufs  [][]byte // the packets in it
}

func newDeliverer(device Device, count *counters) *deliverer {
	n := device.BatchSize()
	t := &tray{slots: make([][]byte, n), bufs: make([][]byte, 0, n)}
	for i := range t.slots {
		t.slots[i] = make([]byte, slotSize)
	}
	return &deliverer{device: device, count: count, tray: t}
}

// behind returns a deliverer to the same device for the peer that stands behind a
// gate.
func (d *deliverer) behind(g *gate) *deliverer {
	return &deliverer{device: d.device, count: g.from.count, gate: g, tray: d.tray}
}

// deliver writes the packets that stand one behind the other in block. They are
// checked first; at one that is no packet the rest of the block is lost, since
// nothing tells where the next one would begin.
func (d *deliverer) deliver(block []byte, clamp int) {
	if d.gate != nil {
		block = d.gate.sift(block)
	}
	for len(block) > 0 {
		block = d.deliverSome(block, clamp)
	}
}

// deliverSome writes as many packets as the tray holds and returns the others.
func (d *deliverer) deliverSome(block []byte, clamp int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(block) > 0 && len(d.bufs) < len(d.slots) {
		n, ok := packetLen(block)
		d.count.wireIn.Add(1)
		if !ok {
			d.count.dropIn(inMalformed, 1)
			block = nil
			break
		}
		p := block[:n]
		block = block[n:]
		if isLocal(p) {
			d.count.dropIn(inLocal, 1)
			continue
		}
		buf := append(d.slots[len(d.bufs)][:headroom], p...)
		if clamp > 0 {
			clampMSS(buf[headroom:], clamp)
		}
		d.bufs = append(d.bufs, buf)
	}
	d.flush()
	return block
}

// deliverWhole writes the packet in block, which stands behind an offload, uncut:
// the host knows best what to do with it.
func (d *deliverer) deliverWhole(block []byte) {
	if len(block) < HeaderSize {
		d.dropWhole(inMalformed)
		return
	}
	o, p := parseOffload(block, binary.LittleEndian), block[HeaderSize:]
	n, ok := o.headers(p)
	switch {
	case !ok || o.many(p, n):
		d.dropWhole(inMalformed)
		return
	case isLocal(p):
		d.dropWhole(inLocal)
		return
	case d.gate != nil && !d.gate.passesWhole(o, p, n):
		return
	}
	o.put(block, n, binary.NativeEndian)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.device.WriteWhole(block); err != nil {
		d.dropWhole(inWrite)
		return
	}
	d.count.wireIn.Add(1)
	d.count.insideOut.Add(1)
	d.count.insideBytesOut.Add(uint64(len(p)))
}

// dropWhole counts a packet of segments that does not arrive.
func (d *deliverer) dropWhole(why dropIn) {
	d.count.wireIn.Add(1)
	d.count.dropIn(why, 1)
}

func (d *deliverer) flush() {
	if len(d.bufs) == 0 {
		return
	}
	n, size := len(d.bufs), 0
	for _, b := range d.bufs {
		size += len(b) - headroom
	}
	written, err := d.device.Write(d.bufs, headroom)
	lost := refusedPackets(err, written, n)
	d.count.dropIn(inWrite, lost)
	d.count.insideOut.Add(uint64(n - lost))
	if lost == 0 { // which ones were lost is not known
		d.count.insideBytesOut.Add(uint64(size))
	}
	d.bufs = d.bufs[:0]
}

// refusedPackets returns how many of n packets the device did not take: one for
// each error that it joined to those before, all when it wrote nothing.
func refusedPackets(err error, written, n int) int {
	_, joined := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return 0
	case written == 0 || !joined:
		return n
	}
	return min(n, countErrors(err))
}

// countErrors returns how many errors are joined in err.
func countErrors(err error) (n int) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return 1
	}
	for _, e := range joined.Unwrap() {
		n += countErrors(e)
	}
	return n
}

// discard counts the packets of a block that came too late.
func (d *deliverer) discard(block []byte) {
	for len(block) > 0 {
		n, ok := packetLen(block)
		d.count.wireIn.Add(1)
		if !ok {
			d.count.dropIn(inMalformed, 1)
			return
		}
		d.count.dropIn(inTooOld, 1)
		block = block[n:]
	}
}
