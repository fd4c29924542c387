package crypto

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"unsafe"
)

const testHeader = 2

func suiteName(s Suite) string { return fmt.Sprintf("%v %d", s.Cipher, s.KeyBits) }

// generations returns both ends of a generation with fixed keys.
func generations() (client, server *Generation) {
	client = &Generation{
		send:    (*subkey)(count(0xa0, 32)),
		receive: (*subkey)(count(0xc0, 32)),
		secret:  (*subkey)(count(0xe0, 32)),
		hash:    count(0x01, 32),
	}
	server = twin(client)
	server.send, server.receive = server.receive, server.send
	return client, server
}

// channelOf returns a client's sealer and the server's opener.
func channelOf(t testing.TB, suite Suite) (*Sealer, *Opener) {
	t.Helper()
	client, server := generations()
	s, _, err := client.Keys(suite)
	if err != nil {
		t.Fatal(err)
	}
	_, o, err := server.Keys(suite)
	if err != nil {
		t.Fatal(err)
	}
	return s, o
}

// seal returns a sealed frame that carries text, with room for nothing more.
func seal(t testing.TB, s *Sealer, text string) []byte {
	t.Helper()
	return join(must(s.Seal(join([]byte("he"), []byte(text)), testHeader))(t))
}

// open opens a copy of a sealed frame.
func open(o *Opener, sealed []byte) ([]byte, error) {
	frame := join(sealed)
	return o.Open(frame[:testHeader], frame[testHeader:])
}

func wantText(t testing.TB, o *Opener, sealed []byte, text string) {
	t.Helper()
	got, err := open(o, sealed)
	if err != nil || string(got) != text {
		t.Fatalf("opened %q, %v; want %q", got, err, text)
	}
}

// suites runs a test for each suite.
func suites(t *testing.T, f func(t *testing.T, suite Suite)) {
	for _, suite := range vectorSuites {
		t.Run(suiteName(suite), func(t *testing.T) { f(t, suite) })
	}
}

// Frames of all lengths around the block sizes and some long ones, compared with
// the second implementation, in two epochs.
func TestSeal(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		s, o := channelOf(t, suite)
		chain := count(0xa0, 32)
		for n := range uint64(2) {
			if n > 0 {
				ratchet(t, s, o)
			}
			if s.Epoch() != n || o.Epoch() != n {
				t.Fatalf("epochs %d and %d, want %d", s.Epoch(), o.Epoch(), n)
			}
			ref := newRefEpoch(chain, suite.Cipher.String(), suite.KeyBits, n)
			chain = ref.next
			for number := range uint32(74) {
				size := int(number)
				if number >= 70 {
					size = []int{1500, 2048, 16384, 65535}[number-70]
				}
				text := string(count(0, size))
				sealed := seal(t, s, text)
				equal(t, "sealed", sealed, ref.seal(t, number, []byte("he"), []byte(text)))
				wantText(t, o, sealed, text)
			}
		}
	})
}

func TestSealInPlace(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		s, o := channelOf(t, suite)
		frame := append(make([]byte, 0, 100), "hetext"...)
		sealed := must(s.Seal(frame, testHeader))(t)
		if &sealed[0] != &frame[0] {
			t.Error("the frame moved although there was room")
		}
		got := must(o.Open(sealed[:testHeader], sealed[testHeader:]))(t)
		if &got[0] != &frame[testHeader] {
			t.Error("the text moved")
		}
	})
}

func TestFrameBits(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		s, o := channelOf(t, suite)
		const text = "some text"
		wantText(t, o, seal(t, s, "number 0"), "number 0")
		sealed := seal(t, s, text)
		flips(sealed, func(bit int, flipped []byte) {
			try := *o // the first error is final: each bit meets an opener without one
			got, err := try.Open(flipped[:testHeader], flipped[testHeader:])
			wantErr(t, fmt.Sprintf("bit %d", bit), err, ErrAuth)
			if got != nil || bytes.Contains(flipped, []byte("text")) {
				t.Fatalf("bit %d: text came out of a frame that failed", bit)
			}
		})
		wantText(t, o, sealed, text)
	})
}

func TestFrameLengths(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		s, o := channelOf(t, suite)
		sealed := seal(t, s, "some text")
		long := zeroPadded(sealed, 2*len(sealed))
		for n := testHeader; n < len(long); n++ {
			if n == len(sealed) {
				continue
			}
			try := *o
			_, err := open(&try, long[:n])
			wantErr(t, fmt.Sprintf("%d bytes", n), err, ErrAuth)
		}
		for n := range testHeader {
			try := *o
			_, err := try.Open(join(sealed[:n]), join(sealed[testHeader:]))
			wantErr(t, fmt.Sprintf("header of %d bytes", n), err, ErrAuth)
		}
		wantText(t, o, sealed, "some text")
	})
}

// A frame opens at one place only.
func TestFrameElsewhere(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		client, server := generations()
		cs, co, err := client.Keys(suite)
		if err != nil {
			t.Fatal(err)
		}
		ss, so, err := server.Keys(suite)
		if err != nil {
			t.Fatal(err)
		}
		first, second, third := seal(t, cs, "first"), seal(t, cs, "second"), seal(t, cs, "third")
		down := seal(t, ss, "down")
		if err := cs.Ratchet(); err != nil {
			t.Fatal(err)
		}
		next := seal(t, cs, "next")

		other, _ := generations()
		other.send[0] ^= 1
		otherSealer, _, err := other.Keys(suite)
		if err != nil {
			t.Fatal(err)
		}
		foreign := seal(t, otherSealer, "first")

		refused := func(name string, o *Opener, sealed []byte) {
			t.Helper()
			try := *o
			_, err := open(&try, sealed)
			wantErr(t, name, err, ErrAuth)
		}
		refused("reflected to the client", co, first)
		refused("reflected to the server", so, down)
		refused("of another generation", so, foreign)
		refused("of the next epoch", so, next)
		refused("swapped", so, second)
		wantText(t, so, first, "first")
		refused("repeated", so, first)
		refused("after a dropped one", so, third)
		wantText(t, so, second, "second")
		wantText(t, so, third, "third")
		if err := so.Ratchet(); err != nil {
			t.Fatal(err)
		}
		refused("of the epoch before", so, first)
		wantText(t, so, next, "next")
		wantText(t, co, down, "down")
	})
}

// A frame of another suite does not open although the chain is the same.
func TestFrameOfAnotherSuite(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		s, _ := channelOf(t, suite)
		sealed := seal(t, s, "text")
		for _, other := range append(vectorSuites[:len(vectorSuites):len(vectorSuites)], Suite{Blowfish, 256}) {
			if other == suite {
				continue
			}
			_, o := channelOf(t, other)
			_, err := open(o, sealed)
			wantErr(t, suiteName(other), err, ErrAuth)
		}
	})
}

func TestFirstErrorIsFinal(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		tests := []struct {
			name  string
			spoil func(o *Opener)
			want  error
		}{
			{"damaged frame", func(o *Opener) { o.Open([]byte("he"), make([]byte, 100)) }, ErrAuth},
			{"short frame", func(o *Opener) { o.Open([]byte("he"), make([]byte, TagSize-1)) }, ErrAuth},
			{"used up", func(o *Opener) {
				o.number = math.MaxUint32 + 1
				o.Open([]byte("he"), make([]byte, 100))
				o.number = 0
			}, ErrExhausted},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				s, o := channelOf(t, suite)
				sealed := seal(t, s, "text")
				tt.spoil(o)
				for range 2 {
					_, err := open(o, sealed)
					wantErr(t, "the right frame after it", err, tt.want)
				}
				if err := o.Ratchet(); err != nil {
					t.Fatal(err)
				}
				if err := s.Ratchet(); err != nil {
					t.Fatal(err)
				}
				_, err := open(o, seal(t, s, "text"))
				wantErr(t, "the next epoch", err, tt.want)
			})
		}
	})
}

// limits are the blocks of a suite, and spare the room behind them. Both ends must
// agree on them, so they stand here in numbers again.
func limits(s Suite) (blockSize int, sender uint64) {
	if s.Cipher == Blowfish {
		return 8, 1 << 20 / 8
	}
	return 16, 1 << 30 / 16
}

const spare = 1 << 14

func TestCount(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		size, _ := limits(suite)
		for _, tt := range []struct {
			n    int
			want uint64
		}{
			{0, 1}, {1, 1}, {size, 1}, {size + 1, 2}, {2 * size, 2}, {2*size + 1, 3}, {65535, uint64(65536 / size)},
		} {
			s, o := channelOf(t, suite)
			sealed := seal(t, s, string(make([]byte, tt.n)))
			if s.blocks != tt.want {
				t.Errorf("%d bytes count as %d blocks in the sender, want %d", tt.n, s.blocks, tt.want)
			}
			if _, err := open(o, sealed); err != nil {
				t.Fatal(err)
			}
			if o.blocks != tt.want {
				t.Errorf("%d bytes count as %d blocks in the receiver, want %d", tt.n, o.blocks, tt.want)
			}
			ratchet(t, s, o)
			if s.blocks != 0 || o.blocks != 0 || s.number != 0 || o.number != 0 {
				t.Error("the next epoch does not begin at zero")
			}
		}
	})
}

func TestCeilings(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		size, limit := limits(suite)
		text := string(make([]byte, 3*size))

		s, _ := channelOf(t, suite)
		s.blocks = limit - 3
		if s.Due() {
			t.Error("due before the limit")
		}
		seal(t, s, text[:2*size])
		if s.Due() {
			t.Error("due one block before the limit")
		}
		seal(t, s, text[:1])
		if !s.Due() {
			t.Error("not due at the limit")
		}
		s.blocks = limit + spare - 3
		seal(t, s, text)
		if s.blocks != limit+spare {
			t.Fatalf("%d blocks, want %d", s.blocks, limit+spare)
		}
		_, err := s.Seal([]byte("he"), testHeader)
		wantErr(t, "sender beyond its ceiling", err, ErrExhausted)
		s.blocks -= 2
		_, err = s.Seal(append([]byte("he"), text...), testHeader)
		wantErr(t, "sender across its ceiling", err, ErrExhausted)
		if s.number != 3 {
			t.Errorf("the sender is at number %d, want 3", s.number)
		}

		s, o := channelOf(t, suite)
		last, next := seal(t, s, text), seal(t, s, "")
		o.blocks = 8*limit + spare - 3
		across := *o
		across.blocks++
		_, err = open(&across, last)
		wantErr(t, "receiver across its ceiling", err, ErrExhausted)
		wantText(t, o, last, text)
		_, err = open(o, next)
		wantErr(t, "receiver beyond its ceiling", err, ErrExhausted)
		if o.Ratchet() != nil {
			t.Error("no next epoch")
		}
	})
}

// The slack holds what a sender may still send when Due turns true: a frame of
// the largest size, and the one that says so.
func TestDueIsInTime(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		_, limit := limits(suite)
		s, _ := channelOf(t, suite)
		s.blocks = limit - 1
		if s.Due() {
			t.Fatal("due too early")
		}
		seal(t, s, string(make([]byte, 65535)))
		if !s.Due() {
			t.Fatal("not due")
		}
		seal(t, s, string(make([]byte, 65535)))
	})
}

func TestNumbersEnd(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		s, o := channelOf(t, suite)
		zero := seal(t, s, "text")
		s.number, o.number = math.MaxUint32, math.MaxUint32
		last := seal(t, s, "text")
		if bytes.Equal(zero, last) {
			t.Fatal("a number was used twice")
		}
		ref := newRefEpoch(count(0xa0, 32), suite.Cipher.String(), suite.KeyBits, 0)
		equal(t, "the last number", last, ref.seal(t, math.MaxUint32, []byte("he"), []byte("text")))
		wantText(t, o, last, "text")
		_, err := s.Seal([]byte("hetext"), testHeader)
		wantErr(t, "seal", err, ErrExhausted)
		_, err = open(o, zero)
		wantErr(t, "open", err, ErrExhausted)
	})
}

func TestEpochsEnd(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		s, o := channelOf(t, suite)
		s.epoch, o.epoch = math.MaxUint64-1, math.MaxUint64-1
		ratchet(t, s, o)
		wantText(t, o, seal(t, s, "text"), "text")
		chain := *s.chain
		wantErr(t, "sealer", s.Ratchet(), ErrExhausted)
		wantErr(t, "opener", o.Ratchet(), ErrExhausted)
		if s.Epoch() != math.MaxUint64 || *s.chain != chain {
			t.Error("an epoch that was refused began")
		}
		wantText(t, o, seal(t, s, "text"), "text")
	})
}

// The keys of an epoch lie before the next chain in one piece of memory, and are
// cleared once the cipher has them.
func TestEpochKeysErased(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		s, _ := channelOf(t, suite)
		n := suite.keyBytes()
		if suite.Cipher == Blowfish {
			n += 32
		}
		before := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(s.chain), -n)), n)
		equal(t, "the epoch's keys", before, make([]byte, n))
	})
}

func TestNoAllocation(t *testing.T) {
	const size, runs = 16384, 50 // stays within one epoch of Blowfish
	suites(t, func(t *testing.T, suite Suite) {
		s, o := channelOf(t, suite)
		frame := make([]byte, testHeader+size, testHeader+size+TagSize)
		sealed := make([][]byte, 0, runs+1)
		for range cap(sealed) {
			sealed = append(sealed, must(s.Seal(make([]byte, testHeader+size), testHeader))(t))
		}
		if n := testing.AllocsPerRun(runs, func() {
			f := sealed[o.number]
			if _, err := o.Open(f[:testHeader], f[testHeader:]); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("Open allocates %v times", n)
		}
		s, _ = channelOf(t, suite)
		if n := testing.AllocsPerRun(runs, func() {
			if _, err := s.Seal(frame, testHeader); err != nil {
				t.Fatal(err)
			}
			s.Due()
		}); n != 0 {
			t.Errorf("Seal allocates %v times", n)
		}
	})
}
