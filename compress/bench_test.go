package compress

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// benchmark calls f for each method on text and noise, in blocks of one packet
// and of a full batch.
func benchmark(b *testing.B, f func(b *testing.B, e *Encoder, blocks [][]byte)) {
	text := sourceText(b)
	noise := randomBytes(rand.New(rand.NewPCG(2, 2)), len(text))
	for _, policy := range []string{"off", "s2", "deflate", "zstd", "model"} {
		for name, data := range map[string][]byte{"text": text, "noise": noise} {
			for _, n := range []int{1400, 16384} {
				b.Run(fmt.Sprintf("%s/%s/%d", policy, name, n), func(b *testing.B) {
					var blocks [][]byte
					for rest := data; len(rest) >= n; rest = rest[n:] {
						blocks = append(blocks, rest[:n])
					}
					b.SetBytes(int64(n))
					b.ReportAllocs()
					f(b, newEncoder(b, policy), blocks)
				})
			}
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	benchmark(b, func(b *testing.B, e *Encoder, blocks [][]byte) {
		dst := make([]byte, 0, 1+MaxBlock)
		var plain, wire int
		for i := 0; b.Loop(); i++ {
			block := blocks[i%len(blocks)]
			dst = e.Append(dst[:0], block)
			plain += len(block)
			wire += len(dst)
		}
		b.ReportMetric(100*float64(wire)/float64(plain), "%size")
	})
}

func BenchmarkDecode(b *testing.B) {
	benchmark(b, func(b *testing.B, e *Encoder, blocks [][]byte) {
		var wire [][]byte
		for _, block := range blocks {
			wire = append(wire, e.Append(nil, block))
		}
		d := NewDecoder(All)
		for i := 0; b.Loop(); i++ {
			if _, err := d.Decode(wire[i%len(wire)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRelease is what the first block after an idle time costs.
func BenchmarkRelease(b *testing.B) {
	block := bytes.Repeat([]byte("a block "), 200)
	for _, policy := range []string{"s2", "deflate", "zstd", "model"} {
		b.Run(policy, func(b *testing.B) {
			e := newEncoder(b, policy)
			dst := make([]byte, 0, 1+MaxBlock)
			for b.Loop() {
				dst = e.Append(dst[:0], block)
				e.Release()
			}
		})
	}
}
