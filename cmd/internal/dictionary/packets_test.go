package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
)

// TestFile compares the packets with the dictionary of package compress.
func TestFile(t *testing.T) {
	file, err := os.ReadFile("../../../compress/dictionary.bin")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, packets()) {
		t.Error("compress/dictionary.bin is not what this program makes: go generate ./compress, and another version of the protocol")
	}
	if len(file) > 32<<10 {
		t.Errorf("%d bytes are more than deflate remembers", len(file))
	}
}

// TestPackets takes the file apart: lengths and checksums are right.
func TestPackets(t *testing.T) {
	rest := packets()
	n := 0
	for ; len(rest) > 0; n++ {
		size, header := 40+int(binary.BigEndian.Uint16(rest[4:])), 40
		if rest[0]>>4 == 4 {
			size, header = int(binary.BigEndian.Uint16(rest[2:])), 20
			if sum := checksum(rest[:20]); sum != 0 {
				t.Fatalf("packet %d: checksum is off by %04x", n, sum)
			}
		}
		if size > len(rest) || size < header {
			t.Fatalf("packet %d has %d bytes", n, size)
		}
		if rest[0]>>4 == 4 && rest[9] == tcp {
			pseudo := append([]byte{0, tcp}, rest[12:20]...)
			pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(size-header))
			if sum := checksum(append(pseudo, rest[header:size]...)); sum != 0 {
				t.Fatalf("packet %d: checksum of TCP is off by %04x", n, sum)
			}
		}
		rest = rest[size:]
	}
	if n < 100 {
		t.Errorf("%d packets", n)
	}
}
