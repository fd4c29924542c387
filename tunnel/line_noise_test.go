package tunnel

import (
	"encoding/binary"
	"flag"
	"io"
	"math/rand/v2"
	"testing"

	"vpnd/crypto"
)

var thorough = flag.Bool("thorough", false, "run the long form of the tests that have one")

// noise is frames with numbered packets on a line that does harm to them.
type noise struct {
	*rig
	random *rand.Rand
	frames int     // still to come
	errors float64 // probability of a wrong bit
	calm   int     // mean number of bytes between bursts; 0: there are none
	burst  int     // bytes of a burst at most

	ready      []byte
	number     uint32
	clean      []bool // which frames arrive as they were sent
	next, left int    // bytes up to the next burst, or in it
	untilError int
}

// Read makes frames.
func (n *noise) Read(b []byte) (int, error) {
	for len(n.ready) == 0 {
		if n.frames == 0 {
			return 0, io.EOF
		}
		n.frames--
		p := numbered(n.number)
		n.number++
		n.ready = n.seal(n.ready[:0], frameBatch, stored(p)...)
		n.clean = append(n.clean, !n.spoil(n.ready))
	}
	k := copy(b, n.ready)
	n.ready = n.ready[k:]
	return k, nil
}

// spoil does harm to bytes, and reports whether it did.
func (n *noise) spoil(b []byte) (harm bool) {
	for i := range b {
		was := b[i]
		if n.calm > 0 {
			n.storm(&b[i])
		}
		harm = harm || b[i] != was
	}
	if n.errors == 0 {
		return harm
	}
	for ; n.untilError < 8*len(b); n.untilError += n.gap() {
		b[n.untilError/8] ^= 1 << (n.untilError % 8)
		harm = true
	}
	n.untilError -= 8 * len(b)
	return harm
}

// gap returns the distance to the next wrong bit.
func (n *noise) gap() int { return 1 + int(n.random.ExpFloat64()/n.errors) }

func (n *noise) storm(b *byte) {
	switch {
	case n.left > 0:
		n.left--
		*b = byte(n.random.Uint32())
	case n.next > 0:
		n.next--
	default:
		n.next, n.left = int(n.random.ExpFloat64()*float64(n.calm)), 1+n.random.IntN(n.burst)
	}
}

// TestLineNoise sends frames over a bad line. Exactly those arrive that were not
// harmed: nothing else reaches the device, and noise costs no frame after it.
func TestLineNoise(t *testing.T) {
	const ms = 12 // bytes at 115200 bit/s
	frames := 20000
	if *thorough {
		frames = 1700000
	}
	for _, test := range []struct {
		name   string
		errors float64
		burst  int
	}{
		{"one bit in 1000000", 1e-6, 0}, {"one bit in 100000", 1e-5, 0}, {"one bit in 10000", 1e-4, 0},
		{"bursts of 1 ms", 0, ms}, {"bursts of 20 ms", 0, 20 * ms}, {"bursts of 200 ms", 0, 200 * ms},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, crypto.Blowfish)
			n := &noise{rig: g, random: rand.New(rand.NewPCG(1, 2)), frames: frames, errors: test.errors, burst: test.burst}
			if n.burst > 0 {
				n.calm = 40 * n.burst
			} else {
				n.untilError = n.gap()
			}
			arrived, failed, last := 0, 0, -1
			g.play(n, func(err error) {
				if err != nil {
					failed++
					return
				}
				for p := g.device.taken; len(p) > 0; p = p[60:] {
					i := int(binary.BigEndian.Uint32(p[56:]))
					if i <= last || string(p[:60]) != string(numbered(uint32(i))) {
						t.Fatalf("after packet %d: %x", last, p[:60])
					}
					if !n.clean[i] {
						t.Fatalf("packet %d arrived, its frame was harmed", i)
					}
					last = i
					arrived++
				}
				g.device.taken = g.device.taken[:0]
			})
			clean := 0
			for _, c := range n.clean {
				if c {
					clean++
				}
			}
			t.Logf("%d frames, %d unharmed, %d packets, %d frames refused", len(n.clean), clean, arrived, failed)
			if len(n.clean) != frames || arrived != clean || clean == frames || clean < frames*8/10 {
				t.Errorf("%d frames, %d unharmed, %d packets", len(n.clean), clean, arrived)
			}
		})
	}
}
