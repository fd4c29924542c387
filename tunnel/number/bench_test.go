package number

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkAccept lets so many clients call at once, on the disk of the host.
func BenchmarkAccept(b *testing.B) {
	for _, callers := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			j, err := OpenJournal(filepath.Join(b.TempDir(), "numbers"), time.Now)
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			var next atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			for n := range callers {
				all.Go(func() {
					id := ID(binary.BigEndian.AppendUint64(nil, uint64(n)))
					for number := uint64(1); next.Add(1) <= int64(b.N); number++ {
						if _, err := j.Accept(id, Call{number, number - 1}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}
