package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"vpnd/tunnel"
)

// forged is a report by somebody who would like to write on the terminal.
const forged = `{"instance":"a\u001b[2Jb","state":"up\nx","reason":"one\r\ntwo\u0007","interface":"vpn\u202e0","mode":"server",
	"local":["\u0000"],"outer":"\u007f","link":{"peer":"\ud83d\ude00\udb40\udc01"},"drops_in":{"\u001b]0;x":1},"more":"\u009b31m"}`

func TestShow(t *testing.T) {
	r := report{Instance: "office", Mode: "client", Local: []string{"10.0.0.1"}, Stats: tunnel.Stats{State: "up", Link: &tunnel.Link{Peer: "192.0.2.1:379"}}}
	good, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		answer string
		asJSON bool
		want   []string // parts; none: not a report
		up     bool
	}{
		{"report", string(good), false, []string{"office: up since ", "\n  peer         192.0.2.1:379 ("}, true},
		{"report as JSON", string(good) + "\n", true, []string{string(good) + "\n"}, true},
		{"down", strings.Replace(string(good), `"up"`, `"down"`, 1), true, []string{`"down"`}, false},
		{"serial line", `{"state":"up","damaged":3,"line":{"device":"/dev/ttyS0","speed":9600,"uart":{"overrun":1,"framing":2,"parity":0}}}`, false, []string{"\n  line         /dev/ttyS0 at 9600 bit/s, 3 damaged frames, uart: framing 2, overrun 1\n"}, true},
		{"serial line without faults", `{"state":"up","line":{"device":"/dev/tty\u001b","speed":9600,"uart":{"overrun":0}}}`, false, []string{"\n  line         /dev/tty\\u001b at 9600 bit/s, 0 damaged frames\n"}, true},
		{"with what is not known", `{"state":"up","new":[1,2]}`, true, []string{`{"state":"up","new":[1,2]}` + "\n"}, true},
		{"forged", forged, false, []string{`a\u001b[2Jb: up\u000ax since`, `one\u000d\u000atwo\u0007`, `vpn\u202e0, mtu`, `local \u0000,`, ` at \u007f,`, "\U0001f600\\udb40\\udc01", `\u001b]0;x 1`}, false},
		{"forged, as JSON", "{\"state\":\"up\",\r\n\"x\":\"\x9b\u009b\x7f\u2028\"}", true, []string{"{\"state\":\"up\",\"x\":\"\ufffd\\u009b\\u007f\\u2028\"}\n"}, true},
		{"hub", `{"state":"up","peers":[{"name":"ann","state":"up","networks":["10.9.0.2/32","10.1.0.0/16"],"link":{"peer":"192.0.2.1:5"},"drops_in":{"spoofed":3}},
			{"name":"bob\u001b","state":"down","reason":"gone"}]}`, false, []string{"remote 1 of 2 clients\n", "\n  client       ann up ",
			", 10.9.0.2 10.1.0.0/16, sent 0 B, received 0 B, at 192.0.2.1:5, dropped in spoofed 3\n", "\n  client       bob\\u001b down ", ", gone\n"}, true},
		{"nothing", "", false, nil, false},
		{"no object", "\x1b[2J", false, nil, false},
		{"more behind it", string(good) + "\x1b[2J", true, nil, false},
		{"cut off", string(good[:99]), false, nil, false},
		{"no time", `{"since":"\u001b[2J"}`, false, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, up, err := show([]byte(c.answer), c.asJSON, time.Now())
			if up != c.up || (err == nil) != (c.want != nil) {
				t.Errorf("up %v, error %v", up, err)
			}
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in\n%q", want, text)
				}
			}
			if err != nil && (text != "" || err.Error() != "not the report of a vpnd") {
				t.Errorf("%q, error %q", text, err)
			}
		})
	}
}

// FuzzStatus prints any answer: nothing but printable lines comes out, not more
// of them than there are, and JSON says what it said before.
func FuzzStatus(f *testing.F) {
	f.Add([]byte(forged))
	f.Add([]byte(`{"state":"up","since":"2026-11-22T09:12:40Z","link":{"round_trip_ns":-1,"established":"0001-01-01T00:00:00Z"},"inside":{"bytes_in":18446744073709551615}}`))
	f.Add([]byte("{\"x\":\"\x9b\xff\xc2\x85\x7f\"}\r\n"))
	f.Add([]byte(`{"drops_out":{"":1,"\ud800":2},"compression_in":-1e308}`))
	f.Add([]byte(`{"line":{"device":"\r\n","speed":-1,"uart":{"\n":18446744073709551615}},"damaged":1}`))
	f.Add([]byte(`{"state":"up","peers":[{"name":"a\u001b","state":"down","reason":"\n"},{"name":"b","networks":["10.0.0.0/8"],"drops_in":{"\r":1},"link":{"peer":"\u0007"}}]}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		for _, asJSON := range []bool{false, true} {
			text, up, err := show(answer, asJSON, time.Unix(1e9, 0))
			if err != nil {
				if text != "" || up || len(err.Error()) > 100 {
					t.Errorf("%q, up %v, error %v", text, up, err)
				}
				continue
			}
			lines := strings.Split(text, "\n")
			for _, line := range lines {
				if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("%q", line)
				}
			}
			if len(lines) > 15+bytes.Count(answer, []byte("{")) || len(text) > 6*len(answer)+2000 {
				t.Errorf("%d lines, %d bytes of %d", len(lines), len(text), len(answer))
			}
			if asJSON && !reflect.DeepEqual(parsed(t, answer), parsed(t, []byte(text))) {
				t.Errorf("%q became %q", answer, text)
			}
		}
	})
}

func parsed(t *testing.T, text []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // one may be larger than any float64
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestAsk reads from sockets that do not answer as a daemon does.
func TestAsk(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(net.Conn)
		bytes  int
		err    error
	}{
		{"without end", func(c net.Conn) { io.Copy(c, endless{}) }, maxReport, nil},
		{"nothing", func(net.Conn) { <-t.Context().Done() }, 0, os.ErrDeadlineExceeded},
		{"hangs up", func(c net.Conn) { io.Copy(io.Discard, c) }, 0, nil}, // once it was asked, or that fails
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "sock")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				if conn, err := l.Accept(); err == nil {
					c.answer(conn)
					conn.Close()
				}
			}()
			text, err := ask(path)
			slow := errors.Is(err, os.ErrDeadlineExceeded) && len(text) < c.bytes // the machine, for so many bytes
			if !slow && (len(text) != c.bytes || !errors.Is(err, c.err)) {
				t.Errorf("%d bytes, %v", len(text), err)
			}
		})
	}
}

// TestControlRequests says things at a control socket.
func TestControlRequests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	c, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	var asked string
	c.serve(func() report { return report{Instance: "x"} }, func(client string) (string, error) {
		if asked = client; client == "nobody" {
			return "", errors.New("there is nobody")
		}
		return "done for " + client, nil
	})
	for _, tt := range []struct{ line, asked, want string }{
		{"", "", `{"instance":"x",`},
		{"\n", "", `{"instance":"x",`},
		{"resync office\n", "office", `{"done":"done for office"}`},
		{"resync the office\nmore\n", "the office", `{"done":"done for the office"}`},
		{"resync office", "office", `{"done":"done for office"}`},
		{"resync nobody\n", "nobody", `{"error":"there is nobody"}`},
		{"resync\n", "", `{"error":"unknown request \"resync\""}`},
		{"Resync office\n", "", `{"error":"unknown request \"Resync office\""}`},
		{"status\n", "", `{"error":"unknown request \"status\""}`},
	} {
		asked = ""
		text, err := request(path, tt.line)
		if err != nil || !strings.HasPrefix(string(text), tt.want) || asked != tt.asked {
			t.Errorf("%q: %q, %v, client %q, want %s, %q", tt.line, text, err, asked, tt.want, tt.asked)
		}
	}
	conn, err := net.Dial("unix", path) // says nothing, and goes on listening
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if text, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(text), `{"instance":"x",`) {
		t.Errorf("to somebody silent: %q, %v", text, err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestControlReadsNothing talks at a control socket: others get their answers.
func TestControlReadsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	c, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	c.serve(func() report { return report{Instance: "x"} }, nil)
	var talkers []net.Conn
	for range 20 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(bytes.Repeat([]byte("{}\n\x00"), 100)) // may break off
		talkers = append(talkers, conn)
		text, err := ask(path)
		if r := (report{}); err != nil || json.Unmarshal(text, &r) != nil || r.Instance != "x" {
			t.Errorf("answer %q, %v", text, err)
		}
	}
	for _, conn := range talkers {
		conn.Close()
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}
