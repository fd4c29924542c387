package tunnel

import (
	"net/netip"
	"testing"
)

// TestInnerOfNone sees that an end without an address of a family has none there,
// and not one of zeros.
func TestInnerOfNone(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, in := range []inner{{}, {v4}, {1: v6}, {v4, v6}} {
		if got := parseInner(in.append(nil)); got != in {
			t.Errorf("%v came back as %v", in, got)
		}
	}
}
