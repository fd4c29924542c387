package compress

import (
	"bytes"
	stdflate "compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// TestHeaders tries every header byte before a body of its method.
func TestHeaders(t *testing.T) {
	block := sourceText(t)[:5000]
	legal := []byte{0x00, 0x10, 0x28, 0x2a, 0x2c, 0x2e, 0x30, 0x40, 0x48, 0x4a, 0x4c, 0x4e}
	bodies := map[Method][]byte{}
	for _, policy := range []string{"off", "s2", "deflate", "zstd", "model"} {
		src := newEncoder(t, policy).Append(nil, block)
		bodies[Method(src[0]>>4)] = src[1:]
	}
	for h := range 256 {
		d := NewDecoder(All)
		if m := Method(h >> 4); m == Deflate || m == Model {
			d.begin(m)
			d.history = m
		}
		body := bodies[Method(h>>4)]
		if h&raw != 0 {
			body = block
		}
		got, err := d.Decode(append([]byte{byte(h)}, body...))
		switch {
		case bytes.IndexByte(legal, byte(h)) < 0:
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("header %02x: %v, want ErrCorrupt", h, err)
			}
		case err != nil || !bytes.Equal(got, block):
			t.Errorf("header %02x: differs, %v", h, err)
		}
	}
	if _, err := NewDecoder(All).Decode(nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("no header: %v, want ErrCorrupt", err)
	}
}

func TestNotInCommon(t *testing.T) {
	block := sourceText(t)[:5000]
	for m, policy := range map[Method]string{S2: "s2", Deflate: "deflate", Zstd: "zstd", Model: "model"} {
		src := newEncoder(t, policy).Append(nil, block)
		if _, err := NewDecoder(All &^ (1 << m)).Decode(src); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: %v, want ErrCorrupt", m, err)
		}
		if got, err := NewDecoder(1 << m).Decode(src); err != nil || !bytes.Equal(got, block) {
			t.Errorf("only %v: differs, %v", m, err)
		}
	}
}

func TestMissingHistory(t *testing.T) {
	text := sourceText(t)
	e := newEncoder(t, "deflate")
	first, second := e.Append(nil, text[:3000]), e.Append(nil, text[3000:6000])
	e.Reset()
	third := e.Append(nil, text[6000:9000])
	broken := append([]byte{first[0]}, "\xff\xff\xff"...)

	d := NewDecoder(All)
	for _, c := range []struct {
		name string
		src  []byte
		want error
	}{
		{"before the first reset", second, ErrHistory},
		{"raw before the first reset", []byte{0x2a, 1, 2, 3}, ErrHistory},
		{"of a model before the first reset", []byte{0x48, 1, 2, 3}, ErrHistory},
		{"reset", first, nil},
		{"next", second, nil},
		{"a stateless block", []byte{0, 1, 2, 3}, nil},
		{"corrupt", broken, ErrCorrupt},
		{"after a corrupt block", second, ErrHistory},
		{"reset", first, nil},
		{"of another method", []byte{0x4a, 1, 2, 3}, ErrHistory},
		{"next", second, nil},
		{"a model begins", []byte{0x4e, 1, 2, 3}, nil},
		{"the model goes on", []byte{0x4a, 1, 2, 3}, nil},
		{"after another method", second, ErrHistory},
		{"the model after that", []byte{0x4a, 1, 2, 3}, nil},
		{"a model without a history", []byte{0x40}, nil},
		{"the model after that", []byte{0x4a, 1, 2, 3}, ErrHistory},
		{"reset again", third, nil},
	} {
		if _, err := d.Decode(c.src); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	d.Release()
	if _, err := d.Decode(second); !errors.Is(err, ErrHistory) {
		t.Errorf("after Release: %v, want ErrHistory", err)
	}
}

func TestTruncation(t *testing.T) {
	text := sourceText(t)
	for _, policy := range []string{"s2", "deflate", "zstd"} {
		for _, n := range []int{100, 1000, 6000} {
			t.Run(fmt.Sprint(policy, n), func(t *testing.T) {
				block := bytes.Repeat(text[:n/2], 2)
				src := newEncoder(t, policy).Append(nil, block)
				if src[0]>>4 == byte(Stored) {
					t.Fatal("the block is stored")
				}
				d := NewDecoder(All)
				for i := range src {
					if _, err := d.Decode(src[:i]); !errors.Is(err, ErrCorrupt) {
						t.Errorf("%d of %d bytes: %v, want ErrCorrupt", i, len(src), err)
					}
				}
				longer := append(bytes.Clone(src), 0)
				if _, err := d.Decode(longer); !errors.Is(err, ErrCorrupt) {
					t.Errorf("a byte more: %v, want ErrCorrupt", err)
				}
				if got, err := d.Decode(src); err != nil || !bytes.Equal(got, block) {
					t.Errorf("the whole: differs, %v", err)
				}
			})
		}
	}
}

// deflated returns a body of n zeros, whatever n is.
func deflated(t *testing.T, n int) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte(syncTail))
}

// zstdFrame returns the body of a frame of zeros that gives their number in 4
// bytes.
func zstdFrame(n int) []byte {
	body := binary.LittleEndian.AppendUint32([]byte{zstdForm | 2<<6}, uint32(n))
	for {
		size := min(n, 1<<16)
		n -= size
		header := uint32(size)<<3 | 1<<1 // a run of one byte
		if n == 0 {
			header |= 1
		}
		body = append(body, byte(header), byte(header>>8), byte(header>>16), 0)
		if n == 0 {
			return body
		}
	}
}

// sizeless returns a frame of n zeros that does not give their number.
func sizeless(n int) []byte {
	header := uint32(n)<<3 | 1<<1 | 1
	return append([]byte(zstdMagic), 0, 5<<3|7 /* 60 KiB of window */, byte(header), byte(header>>8), byte(header>>16), 0)
}

// lyingFrame returns a frame that gives a size of 64 but has much more.
func lyingFrame() []byte {
	return append([]byte{zstdForm | 2<<6, 64, 0, 0, 0}, zstdFrame(50 << 20)[5:]...)
}

// claimed is the body of a model that begins with a length of n and has no more.
func claimed(n uint32) []byte {
	m := new(model)
	m.begin()
	m.coder = coder{most: 100, high: 1<<32 - 1}
	m.blockSize(n)
	return m.coder.end()
}

func TestBombs(t *testing.T) {
	one := zstdFrame(60000)
	frames := append(bytes.Clone(one), bytes.Repeat(append([]byte(zstdMagic), one...), 1000)...)
	for _, c := range []struct {
		name string
		m    Method
		body []byte
		want error
	}{
		{"s2 claims 4 GB", S2, append(binary.AppendUvarint(nil, 1<<32-1), make([]byte, 100)...), ErrTooLarge},
		{"s2 claims one more", S2, append(binary.AppendUvarint(nil, MaxBlock+1), make([]byte, 100)...), ErrTooLarge},
		{"s2 claims more than 32 bits", S2, append(binary.AppendUvarint(nil, 1<<40), make([]byte, 100)...), ErrCorrupt},
		{"deflate 1000 to 1", Deflate, deflated(t, 4<<20), ErrTooLarge},
		{"deflate one more", Deflate, deflated(t, MaxBlock+1), ErrTooLarge},
		{"deflate of nothing", Deflate, append(bytes.Repeat([]byte("\x00\x00\x00\xff\xff"), MaxBlock/5), 0), nil},
		{"deflate ends within the body", Deflate, []byte(finalBlock + "more"), ErrCorrupt},
		{"zstd 2000 to 1", Zstd, zstdFrame(60 << 20), ErrCorrupt},
		{"zstd 16 blocks of 64 KiB", Zstd, zstdFrame(1 << 20), ErrTooLarge},
		{"zstd one more", Zstd, zstdFrame(MaxBlock + 1), ErrTooLarge},
		{"zstd claims 4 GB", Zstd, []byte{zstdForm | 2<<6, 0xff, 0xff, 0xff, 0xff, 1, 0, 0}, ErrTooLarge},
		{"zstd claims 2^64", Zstd, append(append([]byte{zstdForm | 3<<6}, bytes.Repeat([]byte{0xff}, 8)...), 1, 0, 0), ErrTooLarge},
		{"zstd has more than it claims", Zstd, lyingFrame(), ErrCorrupt},
		{"zstd frames in a row", Zstd, frames, ErrCorrupt},
		{"zstd frames without a size", Zstd, append(bytes.Clone(one), bytes.Repeat(sizeless(60000), 1000)...), ErrCorrupt},
		{"zstd has less than it claims", Zstd, append(zstdFrame(60000)[:5], zstdFrame(50000)[5:]...), ErrCorrupt},
		{"zstd with a window instead of one segment", Zstd, []byte{0, 0, 1 | 1<<3, 0, 0, 'x'}, ErrCorrupt},
		{"zstd with an unused bit", Zstd, []byte{zstdForm | 1<<4, 1, 1 | 1<<3, 0, 0, 'x'}, ErrCorrupt},
		{"zstd of one byte", Zstd, []byte{zstdForm, 1, 1 | 1<<3, 0, 0, 'x'}, nil},
		{"zstd window of 3.75 TB", Zstd, []byte{0, 0xff, 1, 0, 0}, ErrCorrupt},
		{"model claims one more", Model, claimed(maxModel + 1), ErrTooLarge},
		{"model claims 32767", Model, claimed(1<<15 - 1), ErrTooLarge},
		{"model ends within the body", Model, make([]byte, MaxBlock), ErrCorrupt},
		{"stored one more", Stored, make([]byte, MaxBlock+1), ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDecoder(All)
			for _, src := range [][]byte{{0x10, 0}, {0x2c}, append([]byte{0x30}, zstdFrame(1)...), {0x4c}} {
				_, _ = d.Decode(src) // takes the memory that a Decoder takes anyway
			}
			h := byte(c.m) << 4
			if c.m == Deflate || c.m == Model {
				h |= stateful | reset
			}
			src := append([]byte{h}, c.body...)
			if len(c.body) > MaxBlock && c.m != Stored {
				t.Fatalf("the bomb of %d bytes fits into no frame", len(c.body))
			}
			used := allocated(func() {
				got, err := d.Decode(src)
				if !errors.Is(err, c.want) {
					t.Errorf("%d bytes, %v, want %v", len(got), err, c.want)
				}
			})
			if used > 300<<10 {
				t.Errorf("%d bytes of memory", used)
			}
		})
	}
}

func TestLargest(t *testing.T) {
	zeros := make([]byte, MaxBlock)
	for name, src := range map[string][]byte{
		"stored":  append([]byte{0x00}, zeros...),
		"deflate": append([]byte{0x2c}, deflated(t, MaxBlock)...),
		"zstd":    append([]byte{0x30}, zstdFrame(MaxBlock)...),
		"s2":      newEncoder(t, "s2").Append(nil, zeros),
	} {
		if got, err := NewDecoder(All).Decode(src); err != nil || !bytes.Equal(got, zeros) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestRemember(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	d := NewDecoder(All)
	var all []byte
	for _, n := range []int{0, 1, 1000, historySize - 1001, 0, 1, 5000, historySize - 1, historySize, historySize + 1, MaxBlock, 7} {
		block := randomBytes(rng, n)
		src := append([]byte{0x2a}, block...)
		if all == nil {
			src[0] |= reset
			all = bytes.Clone(dictionary())
		}
		if _, err := d.Decode(src); err != nil {
			t.Fatal(err)
		}
		all = append(all, block...)
		if want := all[max(0, len(all)-historySize):]; !bytes.Equal(d.window, want) {
			t.Errorf("after %d bytes: the history has %d bytes, or other ones", n, len(d.window))
		}
	}
	want := string(dictionary()) + "new"
	if _, err := d.Decode([]byte("\x2enew")); err != nil || string(d.window) != want {
		t.Errorf("after a reset: the history has %d bytes, %v", len(d.window), err)
	}
}

// TestDeflateStandard reads the bodies with the reader of the standard library.
func TestDeflateStandard(t *testing.T) {
	text := sourceText(t)
	var stream bytes.Buffer
	e := newEncoder(t, "deflate")
	for block := range slices.Chunk(text, 1<<10) {
		src := e.Append(nil, block)
		if Method(src[0]>>4) != Deflate {
			t.Fatalf("header %02x", src[0])
		}
		stream.Write(src[1:])
		stream.WriteString(syncTail)
	}
	stream.WriteString(finalBlock)
	got, err := io.ReadAll(stdflate.NewReaderDict(&stream, dictionary()))
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("differs, %v", err)
	}
}

// TestZstdForm refuses good frames with what the wire format leaves out.
func TestZstdForm(t *testing.T) {
	block := sourceText(t)[:4000]
	for _, c := range []struct {
		name   string
		single bool
		crc    bool
		want   error
	}{
		{"as agreed", true, false, nil},
		{"with a checksum", true, true, ErrCorrupt},
		{"with a window", false, false, ErrCorrupt},
	} {
		w, err := zstd.NewWriter(nil, zstd.WithSingleSegment(c.single), zstd.WithEncoderCRC(c.crc), zstd.WithWindowSize(32<<10))
		if err != nil {
			t.Fatal(err)
		}
		body := w.EncodeAll(block, nil)[len(zstdMagic):]
		if _, err := NewDecoder(All).Decode(append([]byte{0x30}, body...)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestZstdStandard takes the body, its magic put back, to a plain reader.
func TestZstdStandard(t *testing.T) {
	block := sourceText(t)[:4000]
	src := newEncoder(t, "zstd").Append(nil, block)
	r, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.DecodeAll(append([]byte(zstdMagic), src[1:]...), nil)
	if err != nil || !bytes.Equal(got, block) {
		t.Errorf("differs, %v", err)
	}
}
