package queue

import (
	"fmt"
	"testing"
)

// BenchmarkQueue is the way of a packet through the queue, alone and with others.
func BenchmarkQueue(b *testing.B) {
	for _, n := range []int{1, 10, 40} {
		b.Run(fmt.Sprintf("%d waiting", n), func(b *testing.B) {
			pool := NewPool(1500)
			q := New(pool, 1<<20, 1500, 0)
			packet, block := ipv4(17, 1400, 1, 2), make([]byte, 0, 64<<10)
			b.ReportAllocs()
			for i := 0; i < b.N; i += n {
				for range n {
					p := pool.Get(len(packet))
					p.N = copy(p.Bytes, packet[:32])
					p.N = len(packet)
					q.Push(p)
				}
				for q.Len() > 0 {
					block, _ = q.Pop(block[:0], 64<<10)
				}
			}
		})
	}
}
