package crypto

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/cryptotest"
	"testing/iotest"
)

func TestMixRandom(t *testing.T) {
	// drawn returns what comes out for a device, the kernel's bytes being the
	// same each time.
	drawn := func(device []byte) []byte {
		cryptotest.SetGlobalRandom(t, 1)
		out := make([]byte, len(device))
		if n, err := MixRandom(bytes.NewReader(device)).Read(out); n != len(out) || err != nil {
			t.Fatalf("read %d bytes, %v", n, err)
		}
		return out
	}
	device := count(1, 64)
	kernel, mixed := drawn(make([]byte, 64)), drawn(device)
	if bytes.Equal(kernel, make([]byte, 64)) {
		t.Fatal("with a device of zeros only zeros come out")
	}
	for i := range mixed {
		if mixed[i] != kernel[i]^device[i] {
			t.Fatalf("byte %d is %x, want %x^%x", i, mixed[i], kernel[i], device[i])
		}
	}
}

func TestMixRandomBroken(t *testing.T) {
	for _, tt := range []struct {
		name   string
		device io.Reader
		want   string
	}{
		{"broken", iotest.ErrReader(errors.New("broken")), "read random device: broken"},
		{"empty", bytes.NewReader(nil), "read random device: EOF"},
		{"short", bytes.NewReader(make([]byte, 31)), "read random device: unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := MixRandom(tt.device).Read(make([]byte, 32))
			if n != 0 || err == nil || err.Error() != tt.want {
				t.Errorf("%d bytes, error %v; want %q", n, err, tt.want)
			}
		})
	}
	// A device that gives its bytes one by one is read to the end.
	n, err := MixRandom(iotest.OneByteReader(bytes.NewReader(make([]byte, 32)))).Read(make([]byte, 32))
	if n != 32 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}
