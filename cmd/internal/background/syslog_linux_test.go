package background

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLongRecords: a configuration may have more mistakes than one message holds.
func TestLongRecords(t *testing.T) {
	for _, tt := range []struct {
		name     string
		buffer   int // of the socket; 0: as it is
		text     string
		low, top int  // length of the message
		whole    bool // in the message
	}{
		{"short", 0, strings.Repeat("x", 7000), 7000, maxRecord, true},
		{"long", 0, strings.Repeat("x", 9000), maxRecord, maxRecord, false},
		{"much longer than a datagram", 0, strings.Repeat("x", 400_000), maxRecord, maxRecord, false},
		{"letters of two bytes", 0, strings.Repeat("é", 9000), maxRecord - 1, maxRecord, false},
		{"small buffer", 1, strings.Repeat("x", 9000), maxRecord / 2, maxRecord / 2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			place := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "log"), Net: "unixgram"}
			reader, err := net.ListenUnixgram("unixgram", place)
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			conn, err := net.DialUnix("unixgram", nil, place)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if tt.buffer > 0 {
				conn.SetWriteBuffer(tt.buffer)
			}
			log, w := newSyslog("vpnd", "x", nil)
			w.conn = conn
			log.Error("configuration not reloaded", "error", tt.text)
			reader.SetReadDeadline(time.Now().Add(10 * time.Second))
			b := make([]byte, 1<<20)
			n, err := reader.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			got := string(b[:n])
			if n < tt.low || n > tt.top || !strings.Contains(got, `msg="configuration not reloaded"`) {
				t.Errorf("%d bytes: %.100s", n, got)
			}
			if tt.whole != strings.HasSuffix(got, "error="+tt.text) || tt.whole == strings.HasSuffix(got, "...") {
				t.Errorf("the end is %q", got[n-20:])
			}
			if valid := strings.ToValidUTF8(got, ""); valid != got {
				t.Errorf("a letter is cut: %q", got[n-10:])
			}
			// The next one goes the same way.
			log.Error("short")
			if n, err := reader.Read(b); err != nil || !strings.HasSuffix(string(b[:n]), "msg=short") {
				t.Errorf("%q, %v", b[:n], err)
			}
		})
	}
}
