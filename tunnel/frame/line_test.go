package frame

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"
)

const testFrame = 300

// readAll returns the frames that come out of bytes, and how often the modem
// spoke.
func readAll(stream io.Reader, f Filter) (frames [][]byte, spoke int, err error) {
	r := NewLineReader(stream, f, testFrame, "NO CARRIER", func() { spoke++ })
	for {
		frame, err := r.Next()
		if err != nil {
			return frames, spoke, err
		}
		frames = append(frames, bytes.Clone(frame))
	}
}

func lineOf(f Filter, frames ...string) []byte {
	w := NewLineWriter(f)
	var all []byte
	for _, frame := range frames {
		all = w.Append(all, []byte(frame))
	}
	return all
}

func TestLineVectors(t *testing.T) {
	for _, test := range []struct {
		name   string
		filter Filter
		frame  string
		want   string
	}{
		{"plain", Filter{}, "abc", "~abc~"},
		{"flag and escape", Filter{}, "a\x7eb\x7dc", "~a\x7d\x5eb\x7d\x5dc~"},
		{"flow control, unfiltered", Filter{}, "\x11\x13\x91\x93\xff\r", "~\x11\x13\x91\x93\xff\r~"},
		{"flow control", Filter{XON: true}, "\x11\x13\x91\x93\xff\r", "~\x7d\x31\x7d\x33\x7d\xb1\x7d\xb3\xff\r~"},
		{"telnet", Filter{Telnet: true}, "\x11\xff\r", "~\x11\x7d\xdf\x7d\x2d~"},
	} {
		if got := string(lineOf(test.filter, test.frame)); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	if got := string(lineOf(Filter{}, "a", "b", "")); got != "~a~b~~" {
		t.Errorf("flags between frames: %q", got)
	}
	if got := string(NewLineWriter(Filter{}).Append([]byte("text"), []byte("a"))); got != "text~a~" {
		t.Errorf("behind something else: %q", got)
	}
}

// TestLineRoundTrip sends every byte through every filter, in pieces of every
// size. What the line puts in is taken out where the filter says so.
func TestLineRoundTrip(t *testing.T) {
	var all []byte
	for b := range 256 {
		all = append(all, byte(b))
	}
	want := [][]byte{all, {0}, all[250:]}
	for _, f := range []Filter{{}, {XON: true}, {Telnet: true}, {XON: true, Telnet: true}} {
		sent := lineOf(f, string(want[0]), string(want[1]), string(want[2]))
		for b, special := range f.table() {
			if special && b != flag && b != escape && bytes.IndexByte(sent, byte(b)) >= 0 {
				t.Errorf("%+v: %02x is on the line", f, b)
			}
		}
		for name, stream := range map[string]io.Reader{
			"whole": bytes.NewReader(sent), "bytes": iotest.OneByteReader(bytes.NewReader(sent)),
			"error with the data": iotest.DataErrReader(bytes.NewReader(sent)),
		} {
			got, spoke, err := readAll(stream, f)
			if !slices.EqualFunc(got, want, bytes.Equal) || spoke != 0 || err != io.EOF {
				t.Errorf("%+v, %s: %d frames, spoke %d, %v", f, name, len(got), spoke, err)
			}
		}
		if f.XON {
			noisy := []byte{xoff}
			for _, b := range sent {
				noisy = append(noisy, b, xoff|parity, xon)
			}
			if got, _, _ := readAll(bytes.NewReader(noisy), f); !slices.EqualFunc(got, want, bytes.Equal) {
				t.Errorf("%+v: with flow control put in: %d frames", f, len(got))
			}
		}
	}
}

func TestLineNoise(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), testFrame))
	for _, test := range []struct{ name, line, want string }{
		{"banner before", "login: ~a~", `["login: " "a"]`},
		{"flags", "~~~a~~~~b~", `["a" "b"]`},
		{"no flag yet", "~a~bcd", `["a"]`},
		{"broken off", "~ab\x7d~c~", `["c"]`},
		{"broken off at once", "~\x7d~c~", `["c"]`},
		{"longest", "~" + long + "~a~", fmt.Sprintf("[%q %q]", long, "a")},
		{"too long", "~" + long + "x~a~", `["a"]`},
		{"far too long", "~" + long + long + long + "x\x7d~a~", `["a"]`},
		{"too long by an escape", "~" + long + "\x7d\x5e~a~", `["a"]`},
		{"escape of anything", "~\x7d\x41\x7d\xff~", `["a\xdf"]`},
		{"escape of an escape", "~\x7d\x7d~", `["]"]`},
	} {
		got, spoke, _ := readAll(bytes.NewReader([]byte(test.line)), Filter{})
		if fmt.Sprintf("%q", got) != test.want || spoke != 0 {
			t.Errorf("%s: %q, want %s", test.name, got, test.want)
		}
	}
}

// idle is a stream that has nothing each time that it was asked before.
type idle struct {
	io.Reader
	asked bool
}

func (s *idle) Read(b []byte) (int, error) {
	if s.asked = !s.asked; s.asked {
		return 0, nil
	}
	return s.Reader.Read(b)
}

func TestLineIdle(t *testing.T) {
	got, _, err := readAll(&idle{Reader: iotest.OneByteReader(bytes.NewReader([]byte("~ab~")))}, Filter{})
	if fmt.Sprintf("%q", got) != `["ab"]` || err != io.EOF {
		t.Errorf("%q, %v", got, err)
	}
}

// TestLineText has a modem that speaks outside frames, in them, and haltingly.
func TestLineText(t *testing.T) {
	for line, want := range map[string]int{
		"NO CARRIER":                       1,
		"\r\nNO CARRIER\r\n":               1,
		"~ab~\r\nNO CARRIER\r\n~cd~":       1,
		"NNO CARRIER":                      1,
		"NO NO CARRIER":                    1,
		"NO CARRIERNO CARRIER":             2,
		"\xceO\xa0CARRIER":                 1,
		"NO CARRIE":                        0,
		"NO CARIER NO-CARRIER no carrier ": 0,
		"AO CARRIER, NO?CARRIER":           0,
	} {
		if _, spoke, _ := readAll(iotest.OneByteReader(bytes.NewReader([]byte(line))), Filter{}); spoke != want {
			t.Errorf("%q: heard %d times, want %d", line, spoke, want)
		}
	}
}

// TestLineAfterNoise destroys a stretch of a line: the frames that it does not
// touch come through, and not one that was not sent.
func TestLineAfterNoise(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	w := NewLineWriter(Filter{})
	lost := 0
	for range 2000 {
		var line []byte
		var frames [][]byte
		var ends []int
		for range 20 {
			f := make([]byte, 1+random.IntN(testFrame-FCSSize))
			for i := range f {
				f[i] = byte(random.Uint32())
			}
			f = AppendFCS(f)
			frames = append(frames, f)
			line = w.Append(line, f)
			ends = append(ends, len(line))
		}
		from := random.IntN(len(line))
		to := min(len(line), from+random.IntN(500))
		for i := from; i < to; i++ {
			line[i] = byte(random.Uint32())
		}
		got, _, _ := readAll(bytes.NewReader(line), Filter{})
		got = slices.DeleteFunc(got, func(b []byte) bool { _, err := CutFCS(b); return err != nil })
		start := 0
		for i, f := range frames {
			touched := from < ends[i] && start <= to // its flags included
			start = ends[i] - 1
			if len(got) > 0 && bytes.Equal(got[0], f) {
				got = got[1:]
			} else if !touched {
				t.Fatalf("frame %d is lost, noise from %d to %d", i, from, to)
			} else {
				lost++
			}
		}
		if len(got) != 0 {
			t.Fatalf("%x was not sent", got[0])
		}
	}
	if lost < 2000 {
		t.Errorf("only %d frames were hit: the test tests nothing", lost)
	}
}

func TestFCS(t *testing.T) {
	b := AppendFCS([]byte("123456789"))
	if want := "123456789\x26\x39\xf4\xcb"; string(b) != want {
		t.Errorf("%q, want %q", b, want)
	}
	if got, err := CutFCS(b); string(got) != "123456789" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for bit := range 8 * len(b) {
		bad := bytes.Clone(b)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := CutFCS(bad); !errors.Is(err, ErrFCS) {
			t.Errorf("bit %d flipped: %v", bit, err)
		}
	}
	if _, err := CutFCS(AppendFCS(nil)); !errors.Is(err, ErrFCS) {
		t.Errorf("nothing: %v", err)
	}
	for n := range FCSSize {
		if _, err := CutFCS(b[:n]); !errors.Is(err, ErrFCS) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestLineAllocs(t *testing.T) {
	frame := bytes.Repeat([]byte("a\x7e"), testFrame/2)
	w := NewLineWriter(Filter{})
	line := w.Append(nil, frame)
	stream := bytes.NewReader(line)
	r := NewLineReader(stream, Filter{}, testFrame, "NO CARRIER", func() {})
	if n := testing.AllocsPerRun(100, func() {
		line = w.Append(line[:0], frame)
		stream.Reset(line)
		if got, err := r.Next(); err != nil || len(got) != len(frame) {
			t.Fatal(len(got), err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a frame", n)
	}
}

// FuzzLineReader reads any bytes: no frame is longer than it may be, and what is
// framed again comes back.
func FuzzLineReader(f *testing.F) {
	f.Add([]byte("~abc~\x7d\x5e~"), false)
	f.Add([]byte("\x11~a\x13bc~\r\nNO CARRIER\r\n~~"), true)
	f.Fuzz(func(t *testing.T, line []byte, xon bool) {
		filter := Filter{XON: xon}
		frames, _, err := readAll(bytes.NewReader(line), filter)
		if err != io.EOF {
			t.Fatal(err)
		}
		w := NewLineWriter(filter)
		var again []byte
		for _, frame := range frames {
			if len(frame) == 0 || len(frame) > testFrame {
				t.Errorf("frame of %d bytes", len(frame))
			}
			again = w.Append(again, frame)
		}
		if got, _, _ := readAll(bytes.NewReader(again), filter); !slices.EqualFunc(got, frames, bytes.Equal) {
			t.Errorf("%x, again %x", frames, got)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	frame := make([]byte, 1500)
	rand.NewChaCha8([32]byte{}).Read(frame)
	w := NewLineWriter(Filter{})
	var line []byte
	stream := bytes.NewReader(nil)
	r := NewLineReader(stream, Filter{}, 2000, "NO CARRIER", func() {})
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		line = w.Append(line[:0], frame)
		stream.Reset(line)
		r.Next()
	}
}
