package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

// bitWriter writes numbers as deflate and zstd have them, the least bit first.
type bitWriter struct {
	out []byte
	n   int // bits
}

func (w *bitWriter) put(value uint64, bits int) {
	for i := range bits {
		if w.n%8 == 0 {
			w.out = append(w.out, 0)
		}
		w.out[w.n/8] |= byte(value>>i&1) << (w.n % 8)
		w.n++
	}
}

// bits returns the bytes that a function puts together.
func bits(f func(w *bitWriter)) []byte {
	var w bitWriter
	f(&w)
	return w.out
}

// filled repeats a part between a front and a back as often as a body has room.
func filled(front, part, back []byte) []byte {
	n := (MaxBlock - len(front) - len(back)) / len(part)
	return slices.Concat(front, bytes.Repeat(part, n), back)
}

// deflateBlocks repeats a block of deflate as often as a body has room.
func deflateBlocks(block func(w *bitWriter)) []byte {
	return bits(func(w *bitWriter) {
		for size := 0; w.n+size < 8*MaxBlock-8; {
			before := w.n
			block(w)
			size = w.n - before
		}
		w.put(0, 3) // the stored block that the sync flush ends with
	})
}

func emptyFixed(w *bitWriter) {
	w.put(1<<1, 3)
	w.put(0, 7) // end of block
}

// dynamic begins a block with trees: lengths is for literals and then distances.
// It describes them with the codes 0 to 15 and 18, all of 5 bits, but for 0 and 18.
func dynamic(w *bitWriter, literals int, lengths []int) {
	w.put(2<<1, 3)
	w.put(uint64(literals-257), 5)
	w.put(uint64(len(lengths)-literals-1), 5)
	w.put(19-4, 4)
	for _, symbol := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15} {
		switch {
		case symbol == 18:
			w.put(1, 3)
		case symbol == 16 || symbol == 17:
			w.put(0, 3)
		default:
			w.put(5, 3)
		}
	}
	// The code of 18 is 0; the others follow in order, from 10000 on.
	for len(lengths) > 0 {
		zeros := 0
		for zeros < min(len(lengths), 138) && lengths[zeros] == 0 {
			zeros++
		}
		if zeros >= 11 {
			w.put(0, 1)
			w.put(uint64(zeros-11), 7)
			lengths = lengths[zeros:]
			continue
		}
		code := 16 + lengths[0]
		for i := 4; i >= 0; i-- {
			w.put(uint64(code>>i), 1)
		}
		lengths = lengths[1:]
	}
}

// shallow has trees of one code each.
func shallow(w *bitWriter) {
	lengths := make([]int, 258)
	lengths[256], lengths[257] = 1, 1
	dynamic(w, 257, lengths)
	w.put(0, 1)
}

// deep has a tree with codes of 1 to 15 bits.
func deep(w *bitWriter) {
	lengths := make([]int, 258)
	for i := range 14 {
		lengths[241+i] = i + 2
	}
	lengths[255], lengths[256], lengths[257] = 15, 1, 1
	dynamic(w, 257, lengths)
	w.put(0, 1)
}

// zstdBlock is a block: 0 stored, 1 a run, 2 compressed.
func zstdBlock(kind, size int, content ...byte) []byte {
	header := binary.LittleEndian.AppendUint32(nil, uint32(size<<3|kind<<1))
	return append(header[:3], content...)
}

var zstdLast = []byte{1, 0, 0}

// zstdHeader begins a frame of n bytes.
func zstdHeader(n int) []byte {
	return binary.LittleEndian.AppendUint32([]byte{zstdForm | 2<<6}, uint32(n))
}

// fseTable describes a table of 1<<log states for two symbols.
func fseTable(w *bitWriter, log, first int) {
	w.put(uint64(log-5), 4)
	left := 1 << log
	for _, p := range []int{first, left - first} {
		width := 1
		for 1<<width <= left+1 {
			width++
		}
		switch few := 1<<width - 1 - (left + 1); {
		case p+1 < few:
			w.put(uint64(p+1), width-1)
		case p+1 < 1<<(width-1):
			w.put(uint64(p+1), width)
		default:
			w.put(uint64(p+1+few), width)
		}
		left -= p
	}
	w.n = 8 * len(w.out)
}

// largestTables is a block of 4 bytes with all tables as large as there may be.
func largestTables() []byte {
	content := binary.LittleEndian.AppendUint32(nil, 2|1<<4|8<<14)[:3]                       // 1 literal from 8 bytes
	content = append(content, 127+11, 0x11, 0x23, 0x45, 0x67, 0x89, 0xa0, 3)                 // a tree of 11 bits
	content = append(content, 1, 2<<6|2<<4|2<<2)                                             // 1 sequence with three tables
	content = append(content, bits(func(w *bitWriter) { fseTable(w, 9, 1) })...)             // literals
	content = append(content, bits(func(w *bitWriter) { fseTable(w, 8, 255) })...)           // offsets
	content = append(content, bits(func(w *bitWriter) { fseTable(w, 9, 511) })...)           // lengths
	content = append(content, bits(func(w *bitWriter) { w.put(5|5<<9|5<<17|1<<26, 27) })...) // states
	return zstdBlock(2, len(content), content...)
}

// bomb is a body that costs a decoder as much as its author could make it.
type bomb struct {
	name   string
	header byte
	body   []byte
	makes  int // bytes
	err    error
}

func bombs(t *testing.T) []bomb {
	const s2Head, flateHead, zstdHead = byte(S2) << 4, byte(Deflate)<<4 | stateful | reset, byte(Zstd) << 4
	frame := slices.Concat(zstdHeader(5), zstdBlock(0, 5, []byte("hello")...), zstdLast)
	runs := func(n int) []byte {
		return slices.Concat(zstdHeader(n*4000), bytes.Repeat(zstdBlock(1, 4000, 'E'), n-1), zstdBlock(1, 4000, 'E'))
	}
	last := func(frame []byte) []byte { // makes the run at its end the last block
		frame[len(frame)-4] |= 1
		return frame
	}
	claims := func(n uint64, body ...byte) []byte { return append(binary.AppendUvarint(nil, n), body...) }
	empty := slices.Concat([]byte(zstdMagic), []byte{zstdForm, 0}, zstdLast)
	return []bomb{
		{"s2 claims 4 GB", s2Head, claims(1<<32-1, make([]byte, MaxBlock-5)...), 0, ErrTooLarge},
		{"s2 claims a block and has nothing", s2Head, claims(MaxBlock), 0, ErrCorrupt},
		{"s2 of the shortest copies, each of what it makes", s2Head, claims(MaxBlock, append([]byte{0, 'E'}, bytes.Repeat([]byte{1, 1}, 16383)...)...), MaxBlock, nil},
		{"s2 of literals of one byte", s2Head, claims(32764, bytes.Repeat([]byte{0, 'E'}, 32764)...), 32764, nil},
		{"s2 one repeat of a block", s2Head, claims(MaxBlock, 0, 'E', 1, 1, 6<<2|1, 0, 0xf4, 0xfe), MaxBlock, nil},
		{"s2 one repeat of 16 MB", s2Head, claims(MaxBlock, 0, 'E', 1, 1, 7<<2|1, 0, 0xff, 0xff, 0xff), 0, ErrCorrupt},
		{"s2 repeats before there is what to repeat", s2Head, claims(MaxBlock, 0, 'E', 7<<2|1, 0, 0, 0, 0), 0, ErrCorrupt},
		{"s2 of empty literals", s2Head, claims(4, filled(nil, []byte{60 << 2}, nil)[:MaxBlock-1]...), 0, ErrCorrupt},

		{"deflate 1000 to 1", flateHead, deflated(t, 4<<20), 0, ErrTooLarge},
		{"deflate of empty stored blocks", flateHead, filled(nil, []byte{0, 0, 0, 0xff, 0xff}, []byte{0}), 0, nil},
		{"deflate of empty blocks", flateHead, deflateBlocks(emptyFixed), 0, nil},
		{"deflate of trees of one code", flateHead, deflateBlocks(shallow), 0, nil},
		{"deflate of trees of 15 bits", flateHead, deflateBlocks(deep), 0, nil},

		{"model, the largest block from a few bytes", byte(Model)<<4 | stateful | reset, claimed(maxModel), maxModel, nil},
		{"model, the same without a history", byte(Model) << 4, claimed(maxModel), maxModel, nil},
		{"model, an empty block", byte(Model) << 4, claimed(0), 0, nil},
		{"model, raw and longer than any block", byte(Model)<<4 | stateful | reset | raw, make([]byte, maxModel+1), 0, ErrTooLarge},

		{"zstd, 16 runs", zstdHead, last(runs(16)), 64000, nil},
		{"zstd, 17 runs", zstdHead, last(runs(17)), 0, ErrCorrupt},
		{"zstd of empty blocks", zstdHead, filled(zstdHeader(0), zstdBlock(0, 0), zstdLast), 0, ErrCorrupt},
		{"zstd of empty runs", zstdHead, filled(zstdHeader(0), zstdBlock(1, 0, 'E'), zstdLast), 0, ErrCorrupt},
		{"zstd of the largest tables", zstdHead, filled(zstdHeader(4*15), largestTables(), zstdLast), 0, ErrCorrupt},
		{"zstd, 15 times the largest tables", zstdHead, slices.Concat(zstdHeader(4*15), bytes.Repeat(largestTables(), 15), zstdLast), 60, nil},
		{"zstd and skippable frames", zstdHead, filled(frame, []byte("\x50\x2a\x4d\x18\x00\x00\x00\x00"), nil), 0, ErrCorrupt},
		{"zstd and a skippable frame of 4 GB", zstdHead, slices.Concat(frame, []byte("\x5f\x2a\x4d\x18\xff\xff\xff\xff")), 0, ErrCorrupt},
		{"zstd and empty frames", zstdHead, filled(frame, empty, nil), 0, ErrCorrupt},
		{"zstd and a frame with a window of 3.75 TB", zstdHead, slices.Concat(frame, []byte(zstdMagic), []byte{0, 0xff}, zstdLast), 0, ErrCorrupt},
		{"zstd and a frame with a dictionary", zstdHead, slices.Concat(frame, []byte(zstdMagic), []byte{zstdForm | 1, 7, 0}, zstdLast), 0, ErrCorrupt},
		{"zstd with a dictionary", zstdHead, slices.Concat([]byte{zstdForm | 1, 7, 0}, zstdLast), 0, ErrCorrupt},
	}
}

// TestBombCost has each bomb go off a few times in a decoder that has its memory:
// it takes no more, and bounded time.
func TestBombCost(t *testing.T) {
	// The worst is deflate of trees of one code: 6000 of them in a body, 18 ms. No
	// rule tells it from what an honest encoder may do.
	most := 200 * time.Millisecond
	if raceDetector {
		most *= 20
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	d := NewDecoder(All)
	list := bombs(t)
	for _, b := range list {
		_, _ = d.Decode(append([]byte{b.header}, b.body...)) // takes the memory
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, b := range list {
		if len(b.body) > MaxBlock {
			t.Fatalf("%s: %d bytes fit into no frame", b.name, len(b.body))
		}
		src := append([]byte{b.header}, b.body...)
		least := time.Hour
		var used int64
		for range 3 {
			var block []byte
			var err error
			used = allocated(func() {
				began := threadTime()
				block, err = d.Decode(src)
				least = min(least, threadTime()-began)
			})
			if len(block) != b.makes || !errors.Is(err, b.err) {
				t.Errorf("%s: %d bytes, %v; want %d, %v", b.name, len(block), err, b.makes, b.err)
			}
		}
		t.Logf("%-50s %5d bytes become %5d, %5.1f ms, %d KiB allocated", b.name, len(src), b.makes, least.Seconds()*1e3, used>>10)
		if least > most {
			t.Errorf("%s takes %v", b.name, least)
		}
		if used > 64<<10 {
			t.Errorf("%s allocates %d bytes", b.name, used)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

// threadTime is the processor time that this thread has had.
func threadTime() time.Duration {
	const thisThread = 1
	var u syscall.Rusage
	if err := syscall.Getrusage(thisThread, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
