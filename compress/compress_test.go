package compress

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"go/build"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// sourceText returns 100 KiB of Go source.
func sourceText(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(build.Default.GOROOT, "src/net/http/server.go"))
	if err != nil {
		t.Fatal(err)
	}
	return text[:100<<10]
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// packets returns blocks such as a TUN device gives: IPv4 and TCP headers with
// growing numbers, and payloads of text, of noise and of zeros, or none.
func packets(t testing.TB, seed uint64, blocks int) [][]byte {
	text := sourceText(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	var seq uint32
	packet := func(b []byte) []byte {
		n := [...]int{0, 1, 12, 200, 536, 1400}[rng.IntN(6)]
		header := []byte("\x45\x00....\x40\x00\x40\x06cc\x0a\x00\x00\x01\x0a\x00\x00\x02\xc3\x50\x00\x50ssss\x00\x00\x00\x01\x50\x10\x01\xf6cc\x00\x00")
		binary.BigEndian.PutUint16(header[2:], uint16(40+n))
		binary.BigEndian.PutUint32(header[24:], seq)
		seq += uint32(n)
		b = append(b, header...)
		switch rng.IntN(3) {
		case 0:
			return append(b, randomBytes(rng, n)...)
		case 1:
			return append(b, make([]byte, n)...)
		}
		at := rng.IntN(len(text) - n)
		return append(b, text[at:at+n]...)
	}
	list := make([][]byte, blocks)
	for i := range list {
		for range 1 + rng.IntN(1+rng.IntN(40)) {
			list[i] = packet(list[i])
		}
		if len(list[i]) > MaxBlock {
			list[i] = list[i][:MaxBlock]
		}
	}
	return list
}

func newEncoder(t testing.TB, policy string) *Encoder {
	t.Helper()
	if policy == "model" { // what auto does on a slow line
		e := newEncoder(t, "auto")
		e.Carried(1, time.Minute)
		return e
	}
	e, err := NewEncoder(policy, All)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// heap returns the bytes that are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // pools keep what they hold over one collection
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// allocated returns the bytes that f allocates, given back or not.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		policy  string
		sends   Method
		accepts Set
	}{
		{"auto", S2, All},
		{"off", Stored, 1 << Stored},
		{"asym", Stored, All},
		{"s2", S2, All},
		{"deflate", Deflate, All},
		{"zstd", Zstd, All},
	} {
		t.Run(c.policy, func(t *testing.T) {
			set, err := Accepts(c.policy)
			if err != nil || set != c.accepts {
				t.Errorf("Accepts = %04b, %v, want %04b", set, err, c.accepts)
			}
			if e := newEncoder(t, c.policy); e.method != c.sends {
				t.Errorf("sends %v, want %v", e.method, c.sends)
			}
			e, err := NewEncoder(c.policy, All&^(1<<c.sends))
			if err != nil || e.method != Stored {
				t.Errorf("without %v in common sends %v, %v, want stored", c.sends, e.method, err)
			}
		})
	}
	for _, policy := range []string{"", "gzip", "S2", "stored"} {
		if _, err := NewEncoder(policy, All); err == nil {
			t.Errorf("NewEncoder(%q): no error", policy)
		}
		if _, err := Accepts(policy); err == nil {
			t.Errorf("Accepts(%q): no error", policy)
		}
	}
}

func TestSet(t *testing.T) {
	for m := Method(0); m < 16; m++ {
		if got, want := All.Has(m), m <= Model; got != want {
			t.Errorf("All.Has(%v) = %v", m, got)
		}
		if got, want := Set(0).Has(m), m == Stored; got != want {
			t.Errorf("Set(0).Has(%v) = %v", m, got)
		}
		if got, want := Set(1<<Zstd).Has(m), m == Stored || m == Zstd; got != want {
			t.Errorf("Set(1<<Zstd).Has(%v) = %v", m, got)
		}
		if Set(0xe0).Has(m) && m != Stored {
			t.Errorf("a set of unknown methods has %v", m)
		}
	}
}

func TestMethodString(t *testing.T) {
	var names []string
	for m := range Model + 2 {
		names = append(names, m.String())
	}
	if got, want := strings.Join(names, ", "), "stored, s2, deflate, zstd, model, method 5"; got != want {
		t.Errorf("names are %s, want %s", got, want)
	}
}

// TestVectors decodes frozen blocks, one direction from its first block on. An
// Encoder may come to write other bytes for the same blocks; these stay valid.
func TestVectors(t *testing.T) {
	f, err := os.Open("testdata/blocks.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := NewDecoder(All)
	lines := bufio.NewScanner(f)
	n := 0
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		wire, plain, _ := strings.Cut(lines.Text(), " ")
		src, err := hex.DecodeString(wire)
		if err != nil {
			t.Fatal(err)
		}
		want, err := hex.DecodeString(plain)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Decode(src)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v, want %s", wire, got, err, plain)
		}
		n++
	}
	if lines.Err() != nil || n < 10 {
		t.Errorf("%d vectors, %v", n, lines.Err())
	}
}
