package router

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	maxPacket = 1 << 16
	// backlog is how many packets may have been read and not yet been looked at.
	backlog = 256
)

// Counters is what has become of the packets of one direction.
type Counters struct {
	In, InBytes   int64
	Out, OutBytes int64
	Dropped       int64 // the queue was full
	Lost          int64 // as Way.Loss has it
	Refused       int64 // not taken by the kernel behind the program
	Overrun       int64 // not read in time: the machine is too busy
	// Late is by how much a packet missed its time at worst.
	Late time.Duration
}

// pump carries the packets of one direction. One Read of from is one packet, and so
// is one Write to to.
type pump struct {
	from io.Reader
	to   io.Writer
	line *line

	mu       sync.Mutex
	counters Counters
}

type arrival struct {
	packet []byte
	at     time.Time
}

// run carries until from ends. What is on its way then is forgotten.
func (p *pump) run() {
	arrivals := make(chan arrival, backlog)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(arrivals)
		p.read(arrivals)
	})
	p.schedule(arrivals)
	reader.Wait()
}

func (p *pump) read(arrivals chan<- arrival) {
	buf := make([]byte, maxPacket)
	for {
		n, err := p.from.Read(buf)
		if err != nil {
			return
		}
		arrivals <- arrival{bytes.Clone(buf[:n]), time.Now()}
	}
}

// schedule gives the line what arrives, and passes on what is due.
func (p *pump) schedule(arrivals <-chan arrival) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case a, ok := <-arrivals:
			if !ok {
				return
			}
			p.accept(a)
		case <-timer.C:
		}
		p.deliver()
		if due, ok := p.line.next(); ok {
			timer.Reset(max(time.Until(due), 1))
		}
	}
}

func (p *pump) accept(a arrival) {
	err := p.line.accept(a.packet, a.at)
	p.count(func(c *Counters) {
		c.In++
		c.InBytes += int64(len(a.packet))
		switch {
		case errors.Is(err, errFull):
			c.Dropped++
		case errors.Is(err, errLost):
			c.Lost++
		}
	})
}

// deliver passes on what is due.
func (p *pump) deliver() {
	for {
		now := time.Now()
		parcel, ok := p.line.take(now)
		if !ok {
			return
		}
		_, err := p.to.Write(parcel.packet)
		p.count(func(c *Counters) {
			c.Late = max(c.Late, now.Sub(parcel.due))
			if err != nil { // that of a packet, such as one that comes when the way ends
				c.Refused++
				return
			}
			c.Out++
			c.OutBytes += int64(len(parcel.packet))
		})
	}
}

func (p *pump) count(f func(*Counters)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.counters)
}

func (p *pump) counted() Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counters
}
