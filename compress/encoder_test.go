package compress

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/s2"
)

var policies = []string{"auto", "off", "asym", "s2", "deflate", "zstd", "model"}

func TestRoundTrip(t *testing.T) {
	for _, policy := range policies {
		t.Run(policy, func(t *testing.T) {
			e, d := newEncoder(t, policy), NewDecoder(All)
			var plain, wire int
			for i, block := range packets(t, 7, 60) {
				src := e.Append(nil, block)
				got, err := d.Decode(src)
				if err != nil || !bytes.Equal(got, block) {
					t.Fatalf("block %d of %d bytes, header %02x: differs, %v", i, len(block), src[0], err)
				}
				plain += len(block)
				wire += len(src)
			}
			t.Logf("%d bytes became %d", plain, wire)
			if shrinks := e.method != Stored; shrinks != (wire < plain*8/10) {
				t.Errorf("%d bytes became %d", plain, wire)
			}
		})
	}
}

// TestSmallPackets is what deflate is for: packets too small to shrink alone.
func TestSmallPackets(t *testing.T) {
	text := sourceText(t)[:1<<14]
	e := newEncoder(t, "deflate")
	wire := 0
	for block := range slices.Chunk(text, 100) {
		wire += len(e.Append(nil, block))
	}
	if wire > len(text)/2 {
		t.Errorf("%d bytes in packets of 100 became %d: the history was lost", len(text), wire)
	}
}

func TestAppendKeepsDst(t *testing.T) {
	for _, policy := range policies {
		e, d := newEncoder(t, policy), NewDecoder(All)
		for _, n := range []int{0, 1, 100, 1000, MaxBlock} {
			got := e.Append([]byte("front"), make([]byte, n))
			if !bytes.HasPrefix(got, []byte("front")) {
				t.Errorf("%s, %d bytes: dst became %q", policy, n, got[:min(len(got), 5)])
			}
			if block, err := d.Decode(got[5:]); err != nil || len(block) != n {
				t.Errorf("%s: %d bytes became %d, %v", policy, n, len(block), err)
			}
		}
	}
}

func TestExpansion(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	text := sourceText(t)
	for _, policy := range policies {
		t.Run(policy, func(t *testing.T) {
			e := newEncoder(t, policy)
			for _, n := range []int{0, 1, 2, 3, 5, 8, 31, 32, 33, 127, 128, 255, 256, 257, 1023, 1024, 1025, 32767, 32768, 32769, MaxBlock - 1, MaxBlock} {
				block := randomBytes(rng, n)
				copy(block, text[:n/100]) // nearly random: deflate may try to shrink it
				if got := len(e.Append(nil, block)); got > 1+n {
					t.Errorf("%d bytes became %d", n, got)
				}
				if got := cap(e.scratch); got > scratchSize {
					t.Errorf("%d bytes grew the scratch to %d", n, got)
				}
			}
		})
	}
	if n := s2.MaxEncodedLen(MaxBlock); n > scratchSize {
		t.Errorf("s2 needs %d bytes of scratch", n)
	}
}

// TestHistory plays blocks, stored or compressed, resets and releases and looks
// at each header. Noise does not compress, text does.
func TestHistory(t *testing.T) {
	type step struct {
		do   string
		want byte
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"text", []step{{"text", 0x2c}, {"text", 0x28}, {"text", 0x28}}},
		{"noise between", []step{{"text", 0x2c}, {"noise", 0x2a}, {"text", 0x28}, {"again", 0x28}}},
		{"noise first", []step{{"noise", 0x2e}, {"text", 0x28}, {"again", 0x28}}},
		{"empty between", []step{{"text", 0x2c}, {"empty", 0x00}, {"text", 0x28}}},
		{"reset", []step{{"text", 0x2c}, {"reset", 0}, {"text", 0x2c}, {"text", 0x28}}},
		{"reset first", []step{{"reset", 0}, {"text", 0x2c}}},
		{"reset before noise", []step{{"text", 0x2c}, {"reset", 0}, {"noise", 0x2e}, {"text", 0x28}}},
		{"sender idle", []step{{"text", 0x2c}, {"sender idle", 0}, {"text", 0x2c}, {"text", 0x28}}},
		{"receiver idle", []step{{"text", 0x2c}, {"receiver idle", 0}, {"reset", 0}, {"text", 0x2c}}},
		{"long noise", []step{{"text", 0x2c}, {"much noise", 0x2a}, {"again", 0x28}, {"text", 0x28}}},
		{"back-off", []step{
			{"text", 0x2c}, {"noise", 0x2a}, {"noise", 0x2a}, {"noise", 0x2a}, {"noise", 0x2a}, {"noise", 0x2a},
			{"text", 0x00}, {"text", 0x28}, {"text", 0x28},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, d := newEncoder(t, "deflate"), NewDecoder(All)
			rng := rand.New(rand.NewPCG(5, 5))
			text := sourceText(t)
			var last []byte
			for i, s := range c.steps {
				block := []byte{}
				switch s.do {
				case "reset":
					e.Reset()
					continue
				case "sender idle":
					e.Release()
					continue
				case "receiver idle":
					d.Release()
					continue
				case "text":
					block, text = text[:2000], text[2000:]
				case "noise":
					block = randomBytes(rng, 3000)
				case "much noise":
					block = randomBytes(rng, MaxBlock)
				case "again":
					block = last[max(0, len(last)-3000):]
				}
				last = block
				src := e.Append(nil, block)
				if src[0] != s.want {
					t.Fatalf("step %d, %s: header %02x, want %02x", i, s.do, src[0], s.want)
				}
				got, err := d.Decode(src)
				if err != nil || !bytes.Equal(got, block) {
					t.Fatalf("step %d, %s: differs, %v", i, s.do, err)
				}
			}
		})
	}
}

// TestStoredBlockIsHistory proves that noise sent stored can be referred to.
func TestStoredBlockIsHistory(t *testing.T) {
	e, d := newEncoder(t, "deflate"), NewDecoder(All)
	noise := randomBytes(rand.New(rand.NewPCG(9, 9)), 3000)
	for i, want := range []int{1 + len(noise), 100} {
		src := e.Append(nil, noise)
		if len(src) > want {
			t.Errorf("time %d: %d bytes, want at most %d", i, len(src), want)
		}
		got, err := d.Decode(src)
		if err != nil || !bytes.Equal(got, noise) {
			t.Errorf("time %d: differs, %v", i, err)
		}
	}
}

// TestStoredPacketIsHistory has a packet of noise between others of its connection: the
// next one's header is shortened by it.
func TestStoredPacketIsHistory(t *testing.T) {
	e, d := newEncoder(t, "deflate"), NewDecoder(All)
	noise := randomBytes(rand.New(rand.NewPCG(9, 9)), 1400)
	text := []byte("text beside the noise, which leaves less of it, text beside the noise")
	for i, payload := range [][]byte{text, noise, text} {
		packet := testPacket(4, protocolTCP, uint32(i*len(noise)), uint32(i), payload)
		src := e.Append(nil, packet)
		if isRaw := src[0]&raw != 0; src[0]&stateful == 0 || isRaw != (i == 1) {
			t.Fatalf("packet %d: header %02x", i, src[0])
		}
		if got, err := d.Decode(src); err != nil || !bytes.Equal(got, packet) {
			t.Errorf("packet %d: differs, %v", i, err)
		}
	}
}

func TestBackoff(t *testing.T) {
	var b backoff
	var tried []int
	for i := range 300 {
		if b.due(small) {
			tried = append(tried, i)
			b.note(small, false)
		}
	}
	want := []int{0, 1, 2, 3, 4, 6, 10, 18, 34, 66, 130, 194, 258}
	if !slices.Equal(tried, want) {
		t.Errorf("tried %v, want %v", tried, want)
	}

	if b.due(small) || !b.due(small-1) {
		t.Error("a large block is tried or a small one is not")
	}
	if b.note(small-1, true); b.due(small) {
		t.Error("a small block ended the back-off")
	}
	if b.note(small, true); !b.due(small) || b != (backoff{}) {
		t.Errorf("after a success: %+v", b)
	}
	for range 1000 {
		b.note(small-1, false)
	}
	if b != (backoff{}) {
		t.Errorf("small blocks started a back-off: %+v", b)
	}
}

// steady returns blocks of all kinds to repeat for ever.
func steady(t testing.TB) [][]byte {
	rng := rand.New(rand.NewPCG(1, 1))
	text := sourceText(t)
	return [][]byte{
		text[:16384], text[:100], randomBytes(rng, 16384), text[20000:21400], nil,
		make([]byte, MaxBlock), text[len(text)-MaxBlock:],
	}
}

func TestAllocations(t *testing.T) {
	for _, policy := range policies {
		t.Run(policy, func(t *testing.T) {
			e, d := newEncoder(t, policy), NewDecoder(All)
			blocks := steady(t)
			wire := make([]byte, 0, 1+MaxBlock)
			encode := func() {
				for _, block := range blocks {
					wire = e.Append(wire[:0], block)
				}
			}
			both := func() {
				for _, block := range blocks {
					wire = e.Append(wire[:0], block)
					if _, err := d.Decode(wire); err != nil {
						t.Fatal(err)
					}
				}
			}
			limit := 0
			if raceDetector {
				limit = 2 * len(blocks)
			}
			both()
			if n := testing.AllocsPerRun(5, encode); int(n) > limit {
				t.Errorf("Append allocates %v times", n)
			}
			e.Reset()
			if n := testing.AllocsPerRun(5, both); int(n) > limit {
				t.Errorf("Append and Decode allocate %v times", n)
			}
		})
	}
}

// TestMemory holds the doc comments to their figures.
func TestMemory(t *testing.T) {
	blocks := steady(t)
	for _, c := range []struct {
		policy           string
		encoder, decoder int64 // KiB
	}{
		{"off", 0, 0},
		{"asym", 0, 0},
		{"s2", 72, 72},
		{"zstd", 520, 270},
		{"deflate", 1150, 220},
		{"model", 1760, 1690},
	} {
		t.Run(c.policy, func(t *testing.T) {
			var d *Decoder
			var wire [][]byte
			dst := make([]byte, 0, 1+MaxBlock)
			newEncoder(t, c.policy).Append(dst, blocks[0]) // makes what all share
			start := heap()
			e := newEncoder(t, c.policy)
			for range 3 {
				for _, block := range blocks {
					dst = e.Append(dst[:0], block)
				}
			}
			check(t, "encoder", heap()-start, c.encoder)
			e.Reset()
			for _, block := range blocks {
				wire = append(wire, bytes.Clone(e.Append(dst[:0], block)))
			}
			e.Release()
			released := newEncoder(t, c.policy)
			if released.worth, released.lossy = e.worth, e.lossy; fmt.Sprint(e) != fmt.Sprint(released) { // these are of the line
				t.Errorf("Release leaves %+v", e)
			}

			start = heap()
			d = NewDecoder(All)
			for _, src := range wire {
				if _, err := d.Decode(src); err != nil {
					t.Fatal(err)
				}
			}
			check(t, "decoder", heap()-start, c.decoder)
			d.Release()
			if fmt.Sprint(d) != fmt.Sprint(NewDecoder(All)) {
				t.Errorf("Release leaves %+v", d)
			}
			runtime.KeepAlive(wire)
			runtime.KeepAlive(blocks)
		})
	}
}

// check compares a number of bytes with one of KiB; a little more is other
// people's.
func check(t *testing.T, what string, got, want int64) {
	t.Helper()
	t.Logf("%s uses %d KiB", what, got>>10)
	if got > (want+want/16+16)<<10 {
		t.Errorf("%s uses %d KiB, want %d", what, got>>10, want)
	}
}
