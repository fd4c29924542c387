package crypto

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzParseKey(f *testing.F) {
	for _, tt := range parseTests {
		if len(tt.text) <= maxKeyFile {
			f.Add([]byte(tt.text))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := ParseKey(text)
		if (k == nil) != (err != nil) {
			t.Fatalf("key %v, error %v", k, err)
		}
		if k != nil && !bytes.Contains(text, []byte(keyTag)) {
			t.Error("a key came out of a text without one")
		}
	})
}

// Whatever comes, only the one flight that was made with the key opens. The
// bytes are tried as they are, behind the right door, and behind the right door
// with the right hint.
func FuzzDoorOpen(f *testing.F) {
	_, good := initiate(f)
	door, key := testDoor(f, testSecret, otherSecret), newRefKey(testSecret)
	f.Add(good)
	f.Add(good[:F1Size-1])
	f.Add(append(join(good), 0))
	f.Add(make([]byte, F1Size))
	f.Add([]byte{})
	for _, bit := range []int{0, 255, 256, 319, 320, 1407, 1408, 1535} {
		flipped := join(good)
		flipped[bit/8] ^= 1 << (bit % 8)
		f.Add(flipped)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tries := [][]byte{b}
		if len(b) >= doorAt {
			hinted := join(b[:32], key.hint(b[:32]), b[40:doorAt])
			tries = append(tries, key.shut(b), key.shut(hinted))
		}
		for _, f1 := range tries {
			call, err := door.Open(f1)
			want := errors.Is(err, ErrAuth)
			if bytes.Equal(f1, good) {
				want = err == nil || errors.Is(err, ErrReplay)
			}
			if !want || (call == nil) != (err != nil) {
				t.Errorf("%x: call %v, error %v", f1, call, err)
			}
		}
	})
}

// freshChannel is both ends of a channel that has carried nothing. Its keys are made once,
// since that takes longer than all else.
type freshChannel struct {
	s Sealer
	o Opener
}

func newChannel(t testing.TB, suite Suite) freshChannel {
	s, o := channelOf(t, suite)
	return freshChannel{*s, *o}
}

// begin returns ends that have the keys of the first epoch only for themselves as
// long as they stay there.
func (c freshChannel) begin() (*Sealer, *Opener) { return &c.s, &c.o }

// Only the one frame that was sealed opens, and what is sealed opens again: the
// bytes are tried as a sealed frame and as one to seal. The header's length does
// not vary, as the package comment demands.
func FuzzOpener(f *testing.F) {
	var channels []freshChannel
	for i, suite := range vectorSuites {
		c := newChannel(f, suite)
		channels = append(channels, c)
		s, _ := c.begin()
		good := seal(f, s, "some text")
		f.Add(uint8(i), good)
		f.Add(uint8(i), good[:len(good)-1])
		f.Add(uint8(i), append(join(good), 0))
		f.Add(uint8(i), good[:testHeader])
		f.Add(uint8(i), zeroPadded([]byte("he"), testHeader+TagSize))
	}
	f.Fuzz(func(t *testing.T, n uint8, frame []byte) {
		if len(frame) < testHeader {
			return
		}
		c := channels[int(n)%len(channels)]
		s, o := c.begin()
		good := seal(t, s, "some text")
		text, err := open(o, frame)
		if bytes.Equal(frame, good) {
			wantErr(t, "the right frame", err, nil)
			return
		}
		wantErr(t, "another frame", err, ErrAuth)
		if text != nil {
			t.Error("text came with the error")
		}

		s, o = c.begin()
		got, err := open(o, must(s.Seal(join(frame), testHeader))(t))
		if err != nil || !bytes.Equal(got, frame[testHeader:]) {
			t.Errorf("sealed %x, opened %x, %v", frame[testHeader:], got, err)
		}
	})
}
