package tunnel

import (
	"bytes"
	"compress/flate"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"

	"vpnd/compress"
	"vpnd/crypto"
)

// inflated is a BATCH that deflate makes n zeros from.
func inflated(t *testing.T, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{second(w.Write(make([]byte, n))), w.Flush()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return append([]byte{0x2c}, bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))...)
}

func second[A, B any](_ A, b B) B { return b }

// TestBombs sends a hundred BATCH frames of each sort that make more than they are,
// or claim to, or make nothing of much. What fits into a block costs no memory that
// the session does not have, and no packet comes of it; the rest ends the session.
func TestBombs(t *testing.T) {
	const largest = compress.MaxBlock
	run := []byte{1<<1 | largest<<3&0xff, largest >> 5 & 0xff, largest >> 13, 0} // a block of zstd
	for _, bomb := range []struct {
		name string
		body []byte
		ends bool
	}{
		{"stored, the most there is", make([]byte, 1+largest), false},
		{"s2, 12 bytes to 64 KiB", []byte("\x10\xfd\xff\x03\x00\x00\x01\x01\x19\x00\xf4\xfe"), false},
		{"s2 of 4 GiB", []byte("\x10\xff\xff\xff\xff\x0f\x00\x00"), true},
		{"s2 of one byte more", []byte("\x10\xfe\xff\x03\x00\x00\x01\x01\x19\x00\xf5\xfe"), true},
		{"deflate, 80 bytes to 64 KiB", inflated(t, largest), false},
		{"deflate of one byte more", inflated(t, largest+1), true},
		{"deflate of 16 MiB", inflated(t, 16<<20), true},
		{"deflate of 13000 empty blocks", append([]byte{0x2c}, append(bytes.Repeat([]byte("\x00\x00\x00\xff\xff"), largest/5), 0)...), false},
		{"zstd, 9 bytes to 64 KiB", slices.Concat([]byte{0x30, 0xa0, largest & 0xff, largest >> 8, 0, 0}, []byte{run[0] | 1}, run[1:]), false},
		{"zstd of 4 GiB", []byte{0x30, 0xa0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0}, true},
		{"zstd of runs", slices.Concat([]byte{0x30, 0xa0, 0xff, 0xff, 0xff, 0}, bytes.Repeat(run, 1000)), true},
		{"zstd of empty blocks", slices.Concat([]byte{0x30, 0x20, 0}, make([]byte, 60000), []byte{1, 0, 0}), true},
		{"zstd and a frame with a window of terabytes", []byte("\x30\x20\x00\x01\x00\x00\x28\xb5\x2f\xfd\x00\xff\x01\x00\x00"), true},
	} {
		sim(t, bomb.name, func(t *testing.T) {
			c := testConfig(t)
			c.Ciphers = []crypto.Cipher{aes} // no part of this, and the fastest
			e, p := silences["server"](t, c)
			p.drain()
			for _, policy := range []string{"s2", "deflate", "zstd"} { // takes the memory
				p.send(frameBatch, packed(policy)[3:]...)
			}
			p.send(frameBatch, make([]byte, 1+largest)...)
			for range 3 * 20 {
				e.device.take(t)
			}
			synctest.Wait()
			before := living()
			for range 100 {
				p.send(frameBatch, bomb.body...)
			}
			synctest.Wait()
			grown := living() - before
			t.Logf("%d bytes, a hundred times: the memory grows by %d KiB", len(bomb.body), grown>>10)
			if grown > 1<<20 {
				t.Errorf("the memory grows by %d bytes", grown)
			}
			if n := len(e.device.out); n != 0 {
				t.Errorf("%d packets were written", n)
			}
			if s := e.Stats(); (s.State == "down") != bomb.ends {
				t.Errorf("state is %q, %s", s.State, s.Reason)
			}
			if !bomb.ends {
				p.send(frameBatch, stored(udp(40, 1))...)
				e.device.take(t)
			}
			conserved(t, e)
		})
	}
}

// living is how many bytes are in use.
func living() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
