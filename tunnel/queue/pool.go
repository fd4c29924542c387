package queue

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Buffer holds one packet, or the segments of one stream that the host has not
// cut yet, behind their header.
type Buffer struct {
	// Bytes is the memory. Its length is the most that fits in.
	Bytes []byte
	// N is how many of them are in use.
	N int
	// Whole says that it holds segments.
	Whole bool

	next *Buffer       // in its flow
	came time.Duration // when it was pushed
}

// Packet returns what the buffer holds.
func (b *Buffer) Packet() []byte { return b.Bytes[:b.N] }

// Pool hands out buffers of a few sizes and takes them back. The zero Pool is not
// usable; see NewPool.
type Pool struct {
	sizes []int
	mu    sync.Mutex
	free  [][]*Buffer // by size
}

// NewPool returns a pool of buffers with these sizes.
func NewPool(sizes ...int) *Pool {
	slices.Sort(sizes)
	sizes = slices.Compact(sizes)
	return &Pool{sizes: sizes, free: make([][]*Buffer, len(sizes))}
}

// Get returns an empty buffer of the smallest size that has room for n bytes.
func (p *Pool) Get(n int) *Buffer {
	i, _ := slices.BinarySearch(p.sizes, n)
	if i == len(p.sizes) {
		panic(fmt.Sprintf("buffer of %d bytes wanted, the largest has %d", n, p.sizes[i-1]))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.free[i]) - 1
	if last < 0 {
		return &Buffer{Bytes: make([]byte, p.sizes[i])}
	}
	b := p.free[i][last]
	p.free[i] = p.free[i][:last]
	b.N, b.Whole = 0, false
	return b
}

// Put takes buffers back that Get returned.
func (p *Pool) Put(bs ...*Buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range bs {
		i, _ := slices.BinarySearch(p.sizes, len(b.Bytes))
		p.free[i] = append(p.free[i], b)
	}
}
