package crypto

import "sync"

// recentSize is how many first flights of a key are remembered.
const recentSize = 4096

// recent remembers the last recentSize points that were added.
type recent struct {
	mu   sync.Mutex
	ring [][pointSize]byte
	next int // the oldest, once the ring is full
	have map[[pointSize]byte]bool
}

func newRecent() *recent { return &recent{have: make(map[[pointSize]byte]bool)} }

// add reports whether e is new, and remembers it.
func (r *recent) add(e [pointSize]byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.have[e] {
		return false
	}
	r.have[e] = true
	if len(r.ring) < recentSize {
		r.ring = append(r.ring, e)
		return true
	}
	delete(r.have, r.ring[r.next])
	r.ring[r.next] = e
	r.next = (r.next + 1) % recentSize
	return true
}
