package compress

import (
	"bytes"
	stdflate "compress/flate"
	"io"
	"testing"
)

// fuzzDecode feeds bodies of one method to a Decoder, with another block
// before so that a history and its loss are met. What comes out depends on
// nothing else that went through the Decoder.
func fuzzDecode(f *testing.F, policy string, header byte) {
	text := sourceText(f)
	e := newEncoder(f, policy)
	for _, n := range []int{0, 1, 40, 300, 3000} {
		f.Add(e.Append(nil, text[:n])[1:])
		f.Add(e.Append(nil, make([]byte, n))[1:])
	}
	f.Add(e.Append(nil, make([]byte, MaxBlock))[1:])
	f.Add(zstdFrame(1 << 17))

	d := NewDecoder(All)
	begun := header&stateful != 0
	zeros, ones := make([]byte, scratchSize), bytes.Repeat([]byte{0xff}, scratchSize)
	before := []byte("the history of a block that refers to the history")
	f.Fuzz(func(t *testing.T, body []byte) {
		decode := func(left []byte) ([]byte, error) {
			if begun {
				if _, err := d.Decode(append([]byte{header&^0xf | stateful | reset | raw}, before...)); err != nil {
					t.Fatal(err)
				}
			}
			copy(d.block, left)
			return d.Decode(append([]byte{header}, body...))
		}
		block, err := decode(zeros)
		if cap(d.block) > scratchSize || cap(d.input) > scratchSize || cap(d.window) > historySize {
			t.Errorf("buffers grew to %d, %d, %d", cap(d.block), cap(d.input), cap(d.window))
		}
		if err != nil {
			if block != nil {
				t.Error("a block and an error")
			}
			return
		}
		if len(block) > MaxBlock {
			t.Errorf("%d bytes", len(block))
		}
		block = bytes.Clone(block)
		if again, err := decode(ones); err != nil || !bytes.Equal(again, block) {
			t.Errorf("again it is %x, %v; it was %x", again, err, block)
		}
		if Method(header>>4) == Deflate {
			stream := bytes.NewReader(append(bytes.Clone(body), syncTail+finalBlock...))
			want, err := io.ReadAll(stdflate.NewReaderDict(stream, append(bytes.Clone(dictionary()), before...)))
			new(headers).put(want)
			if err == nil && !bytes.Equal(want, block) { // it refuses some trees that ours takes
				t.Errorf("%x, the standard library has %x", block, want)
			}
		}
	})
}

func FuzzDecodeS2(f *testing.F)         { fuzzDecode(f, "s2", byte(S2)<<4) }
func FuzzDecodeDeflate(f *testing.F)    { fuzzDecode(f, "deflate", byte(Deflate)<<4|stateful) }
func FuzzDecodeModel(f *testing.F)      { fuzzDecode(f, "model", byte(Model)<<4|stateful) }
func FuzzDecodeModelAlone(f *testing.F) { fuzzDecode(f, "model", byte(Model)<<4) }
func FuzzDecodeZstd(f *testing.F)       { fuzzDecode(f, "zstd", byte(Zstd)<<4) }

// FuzzDecode takes whole blocks, the header included.
func FuzzDecode(f *testing.F) {
	for h := range 256 {
		f.Add([]byte{byte(h), 1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		block, err := NewDecoder(All).Decode(src)
		if err == nil && (len(src) == 0 || src[0]&1 != 0 || len(block) > MaxBlock) {
			t.Errorf("header %x, %d bytes: no error", src[:1], len(block))
		}
	})
}

// FuzzRoundTrip cuts the data into three blocks.
func FuzzRoundTrip(f *testing.F) {
	text := sourceText(f)
	f.Add([]byte(nil), 0, 0)
	f.Add(text[:1000], 1, 2)
	f.Add(text[:3000], 100, 2000)
	f.Add(make([]byte, 3000), 1000, 2000)
	encoders := make([]*Encoder, len(policies))
	decoders := make([]*Decoder, len(policies))
	for i, policy := range policies {
		encoders[i], decoders[i] = newEncoder(f, policy), NewDecoder(All)
	}
	f.Fuzz(func(t *testing.T, data []byte, a, b int) {
		for _, e := range encoders { // the same data, the same course
			e.Reset()
			e.probe = backoff{}
		}
		a = max(0, min(a, len(data)))
		b = max(a, min(b, len(data)))
		for _, block := range [][]byte{data[:a], data[a:b], data[b:]} {
			block = block[:min(len(block), MaxBlock)]
			for i, policy := range policies {
				src := encoders[i].Append(nil, block)
				got, err := decoders[i].Decode(src)
				if err != nil || !bytes.Equal(got, block) {
					t.Fatalf("%s, %d bytes: differs, %v", policy, len(block), err)
				}
				if len(src) > 1+len(block) {
					t.Fatalf("%s: %d bytes became %d", policy, len(block), len(src))
				}
			}
		}
	})
}
