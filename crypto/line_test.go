package crypto

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
)

// lineFrame is a sealed frame with what its header says.
type lineFrame struct {
	epoch  uint8
	number uint32
	sealed []byte
}

func sealLine(t testing.TB, s *Sealer, text string) lineFrame {
	t.Helper()
	f := lineFrame{epoch: uint8(s.Epoch()) & epochMask, number: s.Number()}
	f.sealed = seal(t, s, text)
	return f
}

func (f lineFrame) open(o *Opener) (string, error) {
	b := bytes.Clone(f.sealed)
	text, err := o.OpenAt(f.epoch, f.number, b[:testHeader], b[testHeader:])
	if err != nil && text != nil {
		panic("text came with the error")
	}
	return string(text), err
}

func wantLine(t testing.TB, o *Opener, f lineFrame, text string) {
	t.Helper()
	if got, err := f.open(o); got != text || err != nil {
		t.Fatalf("opened %q, %v; want %q", got, err, text)
	}
}

// TestLineLoss loses frames and epochs: what comes opens, once and in order.
func TestLineLoss(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		s, o := channelOf(t, suite)
		var frames []lineFrame
		for epoch := range 40 {
			for i := range 4 {
				frames = append(frames, sealLine(t, s, fmt.Sprintf("%d.%d", epoch, i)))
			}
			if err := s.Ratchet(); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range []int{0, 1, 3, 4, 7, 9, 4 * 17, 4*32 + 3, 4*39 + 2} {
			wantLine(t, o, frames[n], fmt.Sprintf("%d.%d", n/4, n%4))
			if int(o.Epoch()) != n/4 {
				t.Errorf("epoch %d after frame %d", o.Epoch(), n)
			}
			for back := 0; back <= n && back < 4*(epochMask-maxAhead); back++ {
				_, err := frames[n-back].open(o)
				wantErr(t, fmt.Sprintf("frame %d after frame %d", n-back, n), err, ErrOld)
			}
		}
		wantLine(t, o, frames[4*39+3], "39.3")
	})
}

// TestLineFarAhead loses more than can be made good.
func TestLineFarAhead(t *testing.T) {
	s, o := channelOf(t, Suite{Blowfish, 448})
	for range maxAhead {
		s.Ratchet()
	}
	last := sealLine(t, s, "last")
	s.Ratchet()
	_, err := sealLine(t, s, "one too many").open(o)
	wantErr(t, "an epoch too far ahead", err, ErrOld)
	wantLine(t, o, last, "last")
	wantLine(t, o, sealLine(t, s, "reached from there"), "reached from there")
}

// TestLineNoise has every bit of a frame flipped, in the current epoch and in a
// later one, and every length: nothing opens and nothing changes.
func TestLineNoise(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		for ahead := range 2 {
			s, o := channelOf(t, suite)
			wantLine(t, o, sealLine(t, s, "first"), "first")
			for range ahead {
				s.Ratchet()
			}
			good := sealLine(t, s, "some text")
			flips(good.sealed, func(bit int, flipped []byte) {
				_, err := lineFrame{good.epoch, good.number, flipped}.open(o)
				wantErr(t, fmt.Sprintf("bit %d", bit), err, ErrAuth)
			})
			for n := testHeader; n < len(good.sealed); n++ {
				_, err := lineFrame{good.epoch, good.number, good.sealed[:n]}.open(o)
				wantErr(t, fmt.Sprintf("%d bytes", n), err, ErrAuth)
			}
			for epoch := range uint8(1 << EpochBits) {
				for _, number := range []uint32{0, good.number, good.number + 1, 1<<NumberBits - 1} {
					if epoch == good.epoch && number == good.number {
						continue
					}
					_, err := lineFrame{epoch, number, good.sealed}.open(o)
					if !errors.Is(err, ErrAuth) && !errors.Is(err, ErrOld) {
						t.Fatalf("as frame %d of epoch %d: %v", number, epoch, err)
					}
				}
			}
			if o.Epoch() != 0 || o.number != 1 || o.blocks != 1 || len(o.ahead) != maxAhead {
				t.Errorf("noise moved the opener: %+v", o.half)
			}
			wantLine(t, o, good, "some text")
		}
	})
}

// TestLineForgets looks whether what leads back to passed epochs is erased.
func TestLineForgets(t *testing.T) {
	s, o := channelOf(t, Suite{Blowfish, 128})
	for range 3 {
		s.Ratchet()
	}
	first := o.chain
	f := sealLine(t, s, "text")
	if _, err := o.at(5); err != nil {
		t.Fatal(err)
	}
	skipped := o.ahead[1].chain
	wantLine(t, o, f, "text")
	if *first != (subkey{}) || *skipped != (subkey{}) {
		t.Error("a chain that was passed is still there")
	}
	if len(o.ahead) != 2 || o.ahead[0].epoch != 4 || *o.chain == (subkey{}) {
		t.Errorf("%d epochs ahead", len(o.ahead))
	}
}

// TestLineCeiling fills an epoch beyond what a sender may.
func TestLineCeiling(t *testing.T) {
	_, o := channelOf(t, Suite{Blowfish, 128})
	full := receiveFactor*o.suite.limit() + slack
	for _, blocks := range []uint64{full - 1, full} {
		s, _ := channelOf(t, Suite{Blowfish, 128})
		o.blocks = blocks
		_, err := lineFrame{number: uint32(blocks - full + 1), sealed: func() []byte {
			for s.Number() != uint32(blocks-full+1) {
				seal(t, s, "")
			}
			return seal(t, s, "12345678")
		}()}.open(o)
		want := error(nil)
		if blocks == full {
			want = ErrExhausted
		}
		wantErr(t, fmt.Sprint(blocks), err, want)
	}
	o.epoch = maxEpoch
	_, err := lineFrame{epoch: 0, sealed: make([]byte, 40)}.open(o)
	wantErr(t, "beyond the last epoch", err, ErrExhausted)
}

// TestDueNumber has many short frames: their numbers must fit in the header.
func TestDueNumber(t *testing.T) {
	s, _ := channelOf(t, Suite{AES256GCM, 0})
	s.number = dueNumber - 1
	if s.LineDue() {
		t.Error("due too early")
	}
	seal(t, s, "")
	if !s.LineDue() {
		t.Error("not due")
	}
	s.number, s.blocks = 0, s.suite.limit()
	if !s.LineDue() {
		t.Error("not due after so many blocks")
	}
}

// TestLineEmpty opens a frame of nothing but its tag.
func TestLineEmpty(t *testing.T) {
	suites(t, func(t *testing.T, suite Suite) {
		s, o := channelOf(t, suite)
		wantLine(t, o, sealLine(t, s, ""), "")
	})
}

// FuzzLineOpener tries any frame: only the one that was sealed opens, and it opens
// after any other.
func FuzzLineOpener(f *testing.F) {
	var channels []freshChannel
	for i, suite := range vectorSuites {
		c := newChannel(f, suite)
		channels = append(channels, c)
		s, _ := c.begin()
		good := sealLine(f, s, "some text")
		f.Add(uint8(i), good.epoch, good.number, good.sealed)
		f.Add(uint8(i), uint8(3), uint32(9), good.sealed)
		f.Add(uint8(i), uint8(40), uint32(1<<24), good.sealed[:testHeader])
	}
	f.Fuzz(func(t *testing.T, n, epoch uint8, number uint32, frame []byte) {
		if len(frame) < testHeader {
			return
		}
		s, o := channels[int(n)%len(channels)].begin()
		good := sealLine(t, s, "some text")
		if bytes.Equal(frame, good.sealed) && epoch&epochMask == 0 && number == 0 {
			return
		}
		if text, err := (lineFrame{epoch, number, frame}).open(o); err == nil {
			t.Errorf("%q opened", text)
		}
		wantLine(t, o, good, "some text")
	})
}

func TestHail(t *testing.T) {
	key, other := must(NewKey([]byte(testSecret)))(t), must(NewKey([]byte(otherSecret)))(t)
	hail := must(key.Hail(bytes.NewReader(count(7, hailPart))))(t)
	if len(hail) != HailSize || !key.Hails(hail) || other.Hails(hail) {
		t.Errorf("hail %x", hail)
	}
	nonce := count(7, hailPart)
	if want := join(nonce, refMAC(sha256.New, newRefKey(testSecret).door, []byte("hail"), nonce)[:hailPart]); !bytes.Equal(hail, want) {
		t.Errorf("hail %x, want %x", hail, want)
	}
	flips(hail, func(bit int, flipped []byte) {
		if key.Hails(flipped) {
			t.Errorf("bit %d flipped", bit)
		}
	})
	for n := range HailSize {
		if key.Hails(hail[:n]) || key.Hails(append(join(hail), hail[:n+1]...)) {
			t.Errorf("%d bytes more or less", n)
		}
	}
	if _, err := key.Hail(bytes.NewReader(hail[:hailPart-1])); err == nil {
		t.Error("a hail without random bytes")
	}
}
