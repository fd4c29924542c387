package compress

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// connection returns n bytes of Go sources as the packets of a TCP connection, joined to
// blocks of at most most bytes, or of one packet.
func connection(t testing.TB, n, mtu, most int) (blocks [][]byte) {
	t.Helper()
	var text []byte
	tree := os.DirFS(filepath.Join(runtime.GOROOT(), "src"))
	err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && len(text) < n {
			var b []byte
			b, err = fs.ReadFile(tree, path)
			text = append(text, b...)
		}
		return err
	})
	if err != nil || len(text) < n {
		t.Fatalf("%d bytes of Go sources, %v", len(text), err)
	}
	var sent, packets uint32
	for payload := range slices.Chunk(text[:n], mtu-ipv4Header-stampsSize) {
		p := testPacket(4, protocolTCP, sent, packets, payload)
		sent, packets = sent+uint32(len(payload)), packets+1
		if last := len(blocks) - 1; last >= 0 && len(blocks[last])+len(p) <= most {
			blocks[last] = append(blocks[last], p...)
		} else {
			blocks = append(blocks, p)
		}
	}
	return blocks
}

// alone is a model that has no history.
func alone(t testing.TB) *Encoder {
	e := newEncoder(t, "model")
	e.lossy.spare = 1 << 30
	return e
}

// TestSlowLine holds the methods to what docs/performance.md says of them.
func TestSlowLine(t *testing.T) {
	for _, c := range []struct {
		name      string
		e         *Encoder
		mtu, most int
		ratio     float64 // at least
	}{
		{"model, packets of a modem", newEncoder(t, "model"), 296, 300, 3.7},
		{"model", newEncoder(t, "model"), 1500, 1500, 4},
		{"model without a history", alone(t), 1500, 1500, 2.3},
		{"deflate", newEncoder(t, "deflate"), 1500, 1500, 3},
	} {
		plain, wire := 0, 0
		for _, block := range connection(t, 100<<10, c.mtu, c.most) {
			plain += len(block)
			wire += len(c.e.Append(nil, block))
		}
		if ratio := float64(plain) / float64(wire); ratio < c.ratio {
			t.Errorf("%s: %d bytes became %d, by %.2f, want %.2f", c.name, plain, wire, ratio, c.ratio)
		}
	}
}

// TestAcknowledgements is what a lone acknowledgement takes in a frame.
func TestAcknowledgements(t *testing.T) {
	for _, c := range []struct {
		policy string
		most   int // bytes of each, on an average
	}{{"model", 4}, {"deflate", 14}} {
		e := newEncoder(t, c.policy)
		wire := 0
		for i := range uint32(200) {
			p := testPacket(4, protocolTCP, 0, i, nil)
			binary.BigEndian.PutUint32(p[28:], i*2896) // what it acknowledges
			binary.BigEndian.PutUint16(p[36:], 0)
			h, _ := parsePacket(p)
			swap(p[36:], h.tcp, h.pseudo(protocolTCP, h.tcp))
			wire += len(e.Append(nil, p))
		}
		if wire > 200*c.most {
			t.Errorf("%s: %d bytes for 200, want %d each", c.policy, wire, c.most)
		}
	}
}

// BenchmarkLine is a TCP connection with text over a slow line: by how much it shrinks,
// and what is left of a frame.
func BenchmarkLine(b *testing.B) {
	const size = 600 << 10
	for _, c := range []struct{ mtu, most int }{{296, 300}, {1400, 1400}, {1400, 4200}} {
		blocks := connection(b, size, c.mtu, c.most)
		run := func(name string, shrink func() func([]byte) int) {
			b.Run(fmt.Sprintf("%s/%d", name, c.most), func(b *testing.B) {
				b.SetBytes(size)
				plain, wire := 0, 0
				for b.Loop() {
					f := shrink()
					for _, block := range blocks {
						plain += len(block)
						wire += f(block)
					}
				}
				b.ReportMetric(float64(plain)/float64(wire), "ratio")
				b.ReportMetric(float64(wire)/float64(b.N*len(blocks)), "B/frame")
			})
		}
		dst := make([]byte, 0, 1+MaxBlock)
		for _, policy := range []string{"s2", "zstd", "deflate", "model"} {
			run(policy, func() func([]byte) int {
				e := newEncoder(b, policy)
				return func(block []byte) int { return len(e.Append(dst, block)) }
			})
		}
		run("model-alone", func() func([]byte) int {
			e := alone(b)
			return func(block []byte) int { return len(e.Append(dst, block)) }
		})
		run("zlib6-stream", func() func([]byte) int { // what ssh -C and vtun do
			var out bytes.Buffer
			w, _ := zlib.NewWriterLevel(&out, 6)
			return func(block []byte) int {
				out.Reset()
				_, _ = w.Write(block)
				_ = w.Flush()
				return out.Len()
			}
		})
	}
}
