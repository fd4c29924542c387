package tunnel

import (
	"context"
	"sync"

	"vpnd/tunnel/queue"
)

// demand keeps the first packets of the host while a line is opened for them.
type demand struct {
	*Tunnel
	woken chan struct{} // receives a value when packets wait

	mu    sync.Mutex
	keeps bool
	queue *queue.Queue
}

// demandPackets is how many packets are kept: who wants to talk sends more when
// nobody answers.
const demandPackets = 16

func (d *demand) init(t *Tunnel) {
	d.Tunnel, d.woken = t, make(chan struct{}, 1)
	d.queue = d.newQueue()
}

func (d *demand) newQueue() *queue.Queue {
	return queue.New(d.pool, demandPackets*d.config.MTU, d.config.MTU, HeaderSize)
}

// await waits for a packet, or a call of Redial. From now on packets are kept.
func (d *demand) await(ctx context.Context) {
	d.mu.Lock()
	d.keeps = true
	d.mu.Unlock()
	select {
	case <-d.woken:
	case <-d.redial:
	case <-ctx.Done():
	}
}

// want takes a packet that finds no link, and reports whether it is kept. There
// may be a link by now.
func (d *demand) want(b *queue.Buffer) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.point.link.Load(); s != nil {
		dropped, ok := s.queue.Push(b)
		d.count.dropOut(outQueueFull, dropped)
		s.queue.Wake()
		return ok
	}
	if !d.keeps || d.queue.Len() == demandPackets { // the first ones say what is wanted
		return false
	}
	dropped, ok := d.queue.Push(b)
	d.count.dropOut(outNoLink, dropped)
	if !ok {
		return false
	}
	select {
	case d.woken <- struct{}{}:
	default:
	}
	return true
}

// hand gives the packets that are kept to a link.
func (d *demand) hand(to *queue.Queue) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count.dropOut(outNoLink, d.queue.MoveTo(to))
	d.keeps = false
}

// forget drops the packets that are kept, and keeps no more.
func (d *demand) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count.dropOut(outNoLink, d.queue.Close())
	d.queue, d.keeps = d.newQueue(), false
	select {
	case <-d.woken:
	default:
	}
}

// waiting returns how many packets are kept.
func (d *demand) waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queue.Len()
}
