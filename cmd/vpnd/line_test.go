package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vpnd/conf"
	"vpnd/serial"
	"vpnd/tunnel"
	"vpnd/tunnel/frame"
)

// TestLineSettings follows the keywords to where they count.
func TestLineSettings(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		mode       serial.Mode
		line       tunnel.Line
	}{
		{"server", "mode server\nserver /dev/ttyS0",
			serial.Mode{Speed: 115200, RTSCTS: true}, tunnel.Line{Speed: 115200, Answers: true}},
		{"client", "mode client\nclient /dev/ttyS0\nspeed 9600\nlocalline\nnortscts\nxfilter",
			serial.Mode{Speed: 9600, Local: true}, tunnel.Line{Speed: 9600, Filter: frame.Filter{XON: true}}},
		{"modem", "mode client\nclient /dev/ttyS0\ntelnet\nmodemchat chat\ndemand\nidle 5",
			serial.Mode{Speed: 115200, RTSCTS: true},
			tunnel.Line{Speed: 115200, Filter: frame.Filter{Telnet: true}, Modem: true, Demand: true, Idle: 5 * time.Second}},
		{"radio", "mode server\nserver /dev/ttyS0\nhalfduplex",
			serial.Mode{Speed: 115200, RTSCTS: true}, tunnel.Line{Speed: 115200, Answers: true, HalfDuplex: true}},
		{"bus", "mode server\nserver /dev/ttyS0\nrs485 1 2",
			serial.Mode{Speed: 115200, Local: true, RS485: &serial.RS485{Before: time.Millisecond, After: 2 * time.Millisecond}},
			tunnel.Line{Speed: 115200, Answers: true, HalfDuplex: true}},
	} {
		c, err := conf.Parse("/etc/vpnd/vpnd.conf", strings.NewReader(tt.text+"\nlocal 10.0.0.1\nremote 10.0.0.2\n"))
		if err != nil {
			t.Fatal(err)
		}
		l := newLine(c, nil, slog.New(slog.DiscardHandler))
		if diff := cmp.Diff(tt.mode, l.link.Mode); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.name, diff)
		}
		line := *l.tunnelLine(c)
		line.Open = nil
		tt.line.Name = "/dev/ttyS0"
		if diff := cmp.Diff(tt.line, line); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.name, diff)
		}
	}
}
