package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTransfer(t *testing.T) {
	r := newRoute(t)
	for _, f := range families() {
		for _, load := range []Load{
			{Up: 2 << 20, Down: 2<<20 + 1},
			{Up: 3<<20 + 1, Down: 1 << 20, Streams: 4},
			{Up: 1},
			{Down: 1},
		} {
			t.Run(fmt.Sprintf("%s %d %d", f.name, load.Up, load.Down), func(t *testing.T) {
				m, err := r.ends(f.dst).Transfer(timeout(t), load)
				check(t, err)
				if m.Up.Bytes != load.Up || m.Down.Bytes != load.Down || m.Up.Rate() < 0 || m.Up.Elapsed <= 0 {
					t.Errorf("%+v", m)
				}
			})
		}
	}
}

func TestTransferSource(t *testing.T) {
	r := newRoute(t)
	e := r.ends("198.51.100.1")
	e.Src = netip.MustParseAddr("192.0.2.99")
	if _, err := e.Transfer(timeout(t), Load{Up: 1}); err == nil {
		t.Error("client has an address that nobody gave it")
	}
	e.Src = netip.MustParseAddr("192.0.2.1")
	_, err := e.Transfer(timeout(t), Load{Up: 1})
	check(t, err)
}

// TestTransferDetectsDamage tests the instrument: whatever a relay does to
// the bytes has to be reported.
func TestTransferDetectsDamage(t *testing.T) {
	const size = 1 << 20
	swap := func(c Chunk) ([]byte, error) {
		if c.Offset == 0 && len(c.Data) > 1 {
			c.Data[0], c.Data[1] = c.Data[1]+1, c.Data[0]-1
		}
		return c.Data, nil
	}
	insert := func(c Chunk) ([]byte, error) {
		if c.Offset == 0 {
			return append(slices.Clone(c.Data), 0), nil
		}
		return c.Data, nil
	}
	drop := func(c Chunk) ([]byte, error) {
		if c.Offset == 0 {
			return c.Data[:len(c.Data)-1], nil
		}
		return c.Data, nil
	}
	tests := []struct {
		name string
		tap  Tap
		load Load
		want error
	}{
		{"nothing", nil, Load{Up: size, Down: size}, nil},
		{"flip elsewhere", FlipBit(1, Up, 0), Load{Up: size}, nil},
		{"flip other direction", FlipBit(0, Down, 0), Load{Up: size}, nil},
		{"flip first", FlipBit(0, Up, 0), Load{Up: size}, ErrDamaged},
		{"flip last", FlipBit(0, Up, size-1), Load{Up: size, Down: size}, ErrDamaged},
		{"flip down", FlipBit(0, Down, size/2), Load{Up: size, Down: size}, ErrDamaged},
		{"flip second stream", FlipBit(1, Up, 5), Load{Up: size, Streams: 2}, ErrDamaged},
		{"truncate", Truncate(0, Up, size/2), Load{Up: size}, ErrDamaged},
		{"truncate at once", Truncate(0, Down, 0), Load{Down: size}, ErrDamaged},
		{"swap", swap, Load{Up: size}, ErrDamaged},
		{"insert", insert, Load{Up: size}, ErrDamaged},
		{"drop", drop, Load{Down: size}, ErrDamaged},
	}
	r := newRoute(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.load.Via = func(server netip.AddrPort) (netip.AddrPort, error) {
				relay, err := r.Router.Relay(netip.MustParseAddrPort("192.0.2.2:0"), server)
				check(t, err)
				relay.Tap(tt.tap)
				return relay.Addr(), nil
			}
			_, err := r.ends("198.51.100.1").Transfer(timeout(t), tt.load)
			if !errors.Is(err, tt.want) {
				t.Errorf("transfer: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestTransferFails(t *testing.T) {
	r := newRoute(t)
	e := r.ends("198.51.100.1")
	short := func(uint64) io.Reader { return strings.NewReader("short") }
	if _, err := e.Transfer(timeout(t), Load{Up: 6, Down: 5, Content: short}); err == nil {
		t.Error("content was too short")
	}
	if _, err := r.ends("203.0.113.1").Transfer(timeout(t), Load{Up: 1}); err == nil {
		t.Error("server listens on an address it does not have")
	}
	check(t, r.Cut())
	for _, load := range []Load{{Up: 1}, {Down: 1}} {
		if _, err := e.Transfer(timeout(t, 100*time.Millisecond), load); err == nil {
			t.Error("transfer through a cut path")
		}
	}
}

func TestTransferEndsWithContext(t *testing.T) {
	r := newRoute(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	stalled := func(server netip.AddrPort) (netip.AddrPort, error) {
		relay, err := r.Router.Relay(netip.MustParseAddrPort("192.0.2.2:0"), server)
		check(t, err)
		relay.Tap(func(c Chunk) ([]byte, error) {
			relay.Stall()
			cancel(enough)
			return c.Data, nil
		})
		return relay.Addr(), nil
	}
	_, err := r.ends("198.51.100.1").Transfer(ctx, Load{Up: 64 << 20, Down: 64 << 20, Via: stalled})
	if !errors.Is(err, enough) || errors.Is(err, ErrDamaged) {
		t.Errorf("transfer: %v", err)
	}
}

func TestShare(t *testing.T) {
	var got []int64
	for i := range 4 {
		got = append(got, share(10, 4, i))
	}
	if diff := cmp.Diff([]int64{3, 3, 2, 2}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	check(t, os.CopyFS(dir, fstest.MapFS{
		"a/one": {Data: bytes.Repeat([]byte("1"), 1000)},
		"two":   {Data: []byte("2")},
	}))
	read := func(c Content, seed uint64, n int) []byte {
		b := make([]byte, n)
		_, err := io.ReadFull(c(seed), b)
		check(t, err)
		return b
	}
	whole, err := Tree(dir, 1<<20)
	check(t, err)
	const size = 4096 // three headers, two files in blocks of 512, the end
	twice := read(whole, 0, 2*size)
	if !bytes.Equal(twice[:size], twice[size:]) || bytes.Count(twice, []byte("a/one")) != 2 {
		t.Error("archive is not repeated")
	}
	if !bytes.Equal(read(whole, size+3, size), twice[3:3+size]) {
		t.Error("seed does not choose the start")
	}
	part, err := Tree(dir, 700)
	check(t, err)
	if got := read(part, 0, 1400); !bytes.Equal(got, slices.Concat(twice[:700], twice[:700])) {
		t.Error("limit is not kept")
	}
	if _, err := Tree(filepath.Join(dir, "none"), 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("tree that is not there: %v", err)
	}
}

func TestGoSource(t *testing.T) {
	dir, err := GoSource()
	check(t, err)
	_, err = os.Stat(filepath.Join(dir, "net", "dial.go"))
	check(t, err)
}

func TestDatagrams(t *testing.T) {
	r := newRoute(t)
	for _, f := range families() {
		for _, span := range [][2]int{{0, 1500}, {20000, 20010}, {65500, 65507}} {
			d, err := r.ends(f.dst).Datagrams(timeout(t), span[0], span[1])
			check(t, err)
			if want := span[1] - span[0] + 1; d.Echoed != want {
				t.Errorf("%s %v: %d sizes echoed, want %d", f.name, span, d.Echoed, want)
			}
		}
	}
}

// TestDatagramsDetect tests the instrument with a server that errs.
func TestDatagramsDetect(t *testing.T) {
	r := newRoute(t)
	seen := make([]int, 101)
	d, err := r.ends("198.51.100.1").sweep(timeout(t), 0, 100, func(p []byte) []byte {
		seen[len(p)]++
		switch len(p) {
		case 0, 2, 4, 5, 6:
			return nil
		case 10, 99:
			p[len(p)-1] ^= 1
		case 8:
			return p[:7]
		case 50:
			if seen[50] == 1 { // lost once
				return nil
			}
		}
		return p
	})
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "no echo of 6 sizes: 0, 2, 4-6, 8") {
		t.Errorf("sweep: %v", err)
	}
	if d.Echoed != 95 || d.Retries != 6*(datagramTries-1)+1 || !slices.Equal(d.Missing, []int{0, 2, 4, 5, 6, 8}) {
		t.Errorf("%+v", d)
	}
	slices.Sort(d.Damaged)
	if got := slices.Compact(d.Damaged); !slices.Equal(got, []int{7, 10, 99}) {
		t.Errorf("damaged: %v", got)
	}
}

func TestDatagramsEndWithContext(t *testing.T) {
	r := newRoute(t)
	check(t, r.Cut())
	if _, err := r.ends("198.51.100.1").Datagrams(timeout(t, 50*time.Millisecond), 0, 1<<15); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("sweep: %v", err)
	}
}

func TestRanges(t *testing.T) {
	for _, tt := range []struct {
		numbers []int
		want    string
	}{
		{nil, ""},
		{[]int{0}, "0"},
		{[]int{0, 1, 2}, "0-2"},
		{[]int{0, 2, 3, 7}, "0, 2-3, 7"},
	} {
		if got := ranges(tt.numbers); got != tt.want {
			t.Errorf("%v is %q, want %q", tt.numbers, got, tt.want)
		}
	}
}
