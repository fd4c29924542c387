package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// frameOf returns a frame with n bytes of ciphertext, whose content depends on n.
func frameOf(n int) []byte {
	f := make([]byte, HeaderSize+n+tagSize)
	PutHeader(f, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(f[HeaderSize:])
	return f
}

// ways are streams that give the same bytes in different portions.
var ways = map[string]func(io.Reader) io.Reader{
	"whole":         func(r io.Reader) io.Reader { return r },
	"byte by byte":  iotest.OneByteReader,
	"in halves":     iotest.HalfReader,
	"end with data": iotest.DataErrReader,
	"odd portions":  func(r io.Reader) io.Reader { return &odd{r, 0} },
}

// odd reads portions of changing sizes.
type odd struct {
	io.Reader
	n int
}

func (o *odd) Read(b []byte) (int, error) {
	o.n = (o.n*7 + 3) % 5003
	return o.Reader.Read(b[:min(len(b), 1+o.n)])
}

func TestNext(t *testing.T) {
	lengths := []int{1, 2, 15, 16, 1400, firstBuffer - HeaderSize - tagSize, firstBuffer - 1, firstBuffer, firstBuffer + 1, MaxText - 1, MaxText, 1, MaxText, MaxText, 3}
	var stream []byte
	for _, n := range lengths {
		stream = append(stream, frameOf(n)...)
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			r := NewReader(way(bytes.NewReader(stream)), MaxText)
			for i, n := range lengths {
				header, body, err := r.Next()
				if err != nil {
					t.Fatalf("frame %d: %v", i, err)
				}
				if got := append(bytes.Clone(header), body...); !bytes.Equal(got, frameOf(n)) {
					t.Fatalf("frame %d of %d bytes differs", i, n)
				}
				clear(header) // the caller may
				clear(body)
			}
			if _, _, err := r.Next(); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
			if len(r.buf) > maxBuffer {
				t.Errorf("buffer of %d bytes", len(r.buf))
			}
		})
	}
}

func TestLength(t *testing.T) {
	for _, test := range []struct {
		length, max int
		fine        bool
	}{
		{0, MaxText, false}, {1, MaxText, true}, {MaxText, MaxText, true},
		{0, 100, false}, {1, 100, true}, {99, 100, true}, {100, 100, true}, {101, 100, false}, {MaxText, 100, false},
		{1, 0, false}, {MaxText, 1 << 20, true},
	} {
		t.Run(fmt.Sprintf("%d of %d", test.length, test.max), func(t *testing.T) {
			r := NewReader(bytes.NewReader(frameOf(test.length)), test.max)
			_, body, err := r.Next()
			if test.fine && (err != nil || len(body) != test.length+tagSize) {
				t.Errorf("body of %d bytes: %v", len(body), err)
			}
			if !test.fine && !errors.Is(err, ErrLength) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// counted counts what is read of a stream.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += n
	return n, err
}

// TestLengthBeforeBytes sees that nothing is read or kept for a length that may
// not be.
func TestLengthBeforeBytes(t *testing.T) {
	stream := &counted{Reader: iotest.OneByteReader(bytes.NewReader(frameOf(MaxText)))}
	r := NewReader(stream, 1000)
	if _, _, err := r.Next(); !errors.Is(err, ErrLength) {
		t.Fatal(err)
	}
	if stream.n != HeaderSize || len(r.buf) != firstBuffer {
		t.Errorf("%d bytes read, buffer of %d", stream.n, len(r.buf))
	}
}

// TestTruncated cuts a stream of two frames at every place.
func TestTruncated(t *testing.T) {
	first := frameOf(5)
	stream := append(bytes.Clone(first), frameOf(9)...)
	for n := range len(stream) {
		r := NewReader(bytes.NewReader(stream[:n]), MaxText)
		whole := 0
		var err error
		for {
			if _, _, err = r.Next(); err != nil {
				break
			}
			whole++
		}
		wantWhole, want := 0, io.ErrUnexpectedEOF
		if n >= len(first) {
			wantWhole = 1
		}
		if n == 0 || n == len(first) {
			want = io.EOF
		}
		if whole != wantWhole || err != want {
			t.Errorf("%d bytes: %d frames and %v, want %d and %v", n, whole, err, wantWhole, want)
		}
	}
}

// TestStreamError hands the stream's own error on, and loses no frame before it.
func TestStreamError(t *testing.T) {
	broken := errors.New("broken")
	for name, tail := range map[string][]byte{"between frames": nil, "in a header": {0}, "in a frame": {0, 9, 1}} {
		t.Run(name, func(t *testing.T) {
			stream := io.MultiReader(bytes.NewReader(frameOf(7)), bytes.NewReader(tail), iotest.ErrReader(broken))
			r := NewReader(stream, MaxText)
			if _, body, err := r.Next(); err != nil || len(body) != 7+tagSize {
				t.Fatalf("body of %d bytes: %v", len(body), err)
			}
			if _, _, err := r.Next(); err != broken {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// endless repeats some bytes without end, or an allocation.
type endless struct {
	b  []byte
	at int
}

func (e *endless) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k := copy(b[n:], e.b[e.at:])
		e.at = (e.at + k) % len(e.b)
		n += k
	}
	return n, nil
}

// TestBuffer sees how much memory a stream makes a reader take.
func TestBuffer(t *testing.T) {
	for _, test := range []struct {
		name string
		in   io.Reader
		want int // bytes
	}{
		{"short frames, one a read", &single{frameOf(100), 0}, firstBuffer},
		{"short frames, a busy line", &endless{b: frameOf(100)}, maxBuffer},
		{"longest frames", &endless{b: frameOf(MaxText)}, maxBuffer},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := NewReader(test.in, MaxText)
			for range 10000 {
				if _, _, err := r.Next(); err != nil {
					t.Fatal(err)
				}
			}
			if len(r.buf) != test.want {
				t.Errorf("buffer of %d bytes, want %d", len(r.buf), test.want)
			}
		})
	}
}

// single gives one frame a read.
type single struct {
	b  []byte
	at int
}

func (s *single) Read(b []byte) (int, error) {
	n := copy(b, s.b[s.at:])
	s.at = (s.at + n) % len(s.b)
	return n, nil
}

func TestNoAllocations(t *testing.T) {
	for _, n := range []int{1, 100, 1400, MaxText} {
		r := NewReader(&endless{b: frameOf(n)}, MaxText)
		// Many frames, since one read brings several.
		next := func() {
			for range 500 {
				if _, _, err := r.Next(); err != nil {
					t.Fatal(err)
				}
			}
		}
		next()
		if got := testing.AllocsPerRun(10, next); got != 0 {
			t.Errorf("%v allocations for 500 frames of %d bytes", got, n)
		}
	}
}

// TestAllow takes longer frames once they are allowed.
func TestAllow(t *testing.T) {
	stream := append(append(frameOf(1), frameOf(2)...), frameOf(MaxText)...)
	r := NewReader(bytes.NewReader(stream), 1)
	for _, step := range []struct {
		allow int
		bad   error
	}{{1, nil}, {1, ErrLength}, {2, nil}, {2, ErrLength}, {MaxText, nil}} {
		r.Allow(step.allow)
		if _, _, err := r.Next(); !errors.Is(err, step.bad) {
			t.Fatalf("up to %d allowed: %v, want %v", step.allow, err, step.bad)
		}
	}
}

func TestPutHeader(t *testing.T) {
	for n, want := range map[int][2]byte{1: {0, 1}, 256: {1, 0}, MaxText: {255, 255}} {
		var got [2]byte
		if PutHeader(got[:], n); got != want {
			t.Errorf("header of %d is %x", n, got)
		}
	}
}

// FuzzReader takes any stream in any portions: what it gives is what stands
// there, frame for frame.
func FuzzReader(f *testing.F) {
	f.Add([]byte{}, uint16(100), uint16(1))
	f.Add(frameOf(5), uint16(100), uint16(3))
	f.Add(append(frameOf(1), frameOf(100)...), uint16(100), uint16(0))
	f.Add(append(frameOf(1), 0, 0), uint16(100), uint16(50))
	f.Add(append(frameOf(101), 0, 0), uint16(100), uint16(7))
	f.Fuzz(func(t *testing.T, stream []byte, maxText, portion uint16) {
		r := NewReader(&odd{bytes.NewReader(stream), int(portion)}, int(maxText))
		for left := stream; ; {
			header, body, err := r.Next()
			if err != nil {
				if want := wantError(left, int(maxText)); !errors.Is(err, want) {
					t.Errorf("error is %v, want %v", err, want)
				}
				return
			}
			got := append(bytes.Clone(header), body...)
			if !bytes.HasPrefix(left, got) || len(got) != HeaderSize+int(binary.BigEndian.Uint16(got))+tagSize {
				t.Fatalf("frame is %x", got)
			}
			left = left[len(got):]
		}
	})
}

// wantError says how a stream ends that begins with no complete frame.
func wantError(left []byte, maxText int) error {
	switch {
	case len(left) == 0:
		return io.EOF
	case len(left) < HeaderSize:
		return io.ErrUnexpectedEOF
	}
	if n := int(binary.BigEndian.Uint16(left)); n == 0 || n > maxText {
		return ErrLength
	}
	return io.ErrUnexpectedEOF
}

// TestRelease gives memory back between frames, and inside one does not.
func TestRelease(t *testing.T) {
	var stream bytes.Buffer
	r := NewReader(&stream, MaxText)
	frame := make([]byte, HeaderSize+60000+tagSize)
	PutHeader(frame, 60000)
	stream.Write(frame)
	if _, _, err := r.Next(); err != nil || len(r.buf) <= firstBuffer {
		t.Fatalf("buffer of %d bytes, %v", len(r.buf), err)
	}
	r.Release()
	if len(r.buf) != firstBuffer {
		t.Errorf("buffer of %d bytes is left", len(r.buf))
	}
	small := &r.buf[0]
	if r.Release(); &r.buf[0] != small {
		t.Error("a small buffer is made anew")
	}
	stream.Write(frame[:50000])
	if _, _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	r.Release()
	stream.Write(frame[50000:])
	if _, body, err := r.Next(); err != nil || len(body) != 60000+tagSize {
		t.Errorf("frame of %d bytes, %v", len(body), err)
	}
}
