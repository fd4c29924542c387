package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vpnd/cmd/internal/registry"
	"vpnd/crypto"
)

// ways are the ways to run nexus.
func ways(t *testing.T, test func(t *testing.T, start func(*world))) {
	t.Run("lighttpd", func(t *testing.T) { t.Parallel(); test(t, func(w *world) { w.lighttpd() }) })
	t.Run("http", func(t *testing.T) { t.Parallel(); test(t, func(w *world) { w.serve() }) })
	t.Run("https", func(t *testing.T) {
		t.Parallel()
		test(t, func(w *world) {
			w.certificate("nexus")
			w.serve("certificate_path = nexus.crt", "certificate_key_path = nexus.key")
		})
	})
}

func TestRegister(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, start func(*world)) {
		w := newWorld(t, "lahm", "berlin", "prag")
		start(w)
		lahm, berlin := w.client("lahm"), w.client("berlin")
		w.register(lahm)
		w.register(berlin)
		table := w.register(lahm)
		if got := live(table); !slices.Equal(got, []string{"berlin", "lahm"}) {
			t.Errorf("live: %v", got)
		}
		g := table.Gateway("berlin")
		if table.Seen != netip.MustParseAddr("127.0.0.1") || g.Endpoint.IsValid() || g.Key != w.keys["berlin"].Public() ||
			len(g.Subnets) != 1 || g.Subnets[0] != netip.MustParsePrefix("10.0.1.0/24") || g.Left > registry.Lease || g.Left < registry.Lease-patience {
			t.Errorf("gateway %+v", g)
		}
		must(t, berlin.Leave(t.Context()))
		if got := live(w.register(lahm)); !slices.Equal(got, []string{"lahm"}) {
			t.Errorf("live: %v", got)
		}
		w.disable("lahm")
		if _, err := lahm.Register(t.Context()); !errors.Is(err, registry.ErrDisabled) {
			t.Errorf("the disabled network: %v", err)
		}
		if got := live(w.register(berlin)); !slices.Equal(got, []string{"berlin"}) {
			t.Errorf("live: %v", got)
		}
	})
}

// disable disables a network in the network file.
func (w *world) disable(name string) {
	w.t.Helper()
	text, err := os.ReadFile(w.file("networks"))
	must(w.t, err)
	w.write("networks", strings.Replace(string(text), name+"\n", name+"\n\tdisabled\n", 1))
}

func TestStrangers(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, start func(*world)) {
		w := newWorld(t, "lahm", "berlin")
		start(w)
		w.register(w.client("lahm"))
		letters := w.record("lahm")
		before, err := os.ReadFile(w.file("state/state"))
		must(t, err)
		thief, err := crypto.NewIdentity(rand.Reader)
		must(t, err)
		password := w.settings()
		password.Password = "another password"
		server := w.settings()
		server.ServerKey = thief.Public()
		for _, tt := range []struct {
			name   string
			client *registry.Client
			want   error
		}{
			{"stolen password without the key", w.clientWith("lahm", thief, w.settings()), registry.ErrUnknown},
			{"key for another name", w.clientWith("berlin", w.keys["lahm"], w.settings()), registry.ErrUnknown},
			{"key without the password", w.clientWith("lahm", w.keys["lahm"], password), registry.ErrRefused},
			{"question for another nexus", w.clientWith("lahm", w.keys["lahm"], server), registry.ErrRefused},
		} {
			if table, err := tt.client.Register(t.Context()); !errors.Is(err, tt.want) || table != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		for _, size := range []int{0, 1, registry.RequestSize - 1, registry.RequestSize, registry.RequestSize + 1, 1 << 20} {
			if status, text, err := w.send(make([]byte, size)); err == nil && (status/100 != 4 || len(text) > 1000) ||
				err != nil && size <= registry.RequestSize { // a longer one may be cut off
				t.Errorf("%d bytes: status %d, %s, error %v", size, status, text, err)
			}
		}
		for i, letter := range letters {
			if status, text := w.post(letter); status != http.StatusOK || len(text) > 200 {
				t.Errorf("recorded letter %d: status %d, %d bytes", i, status, len(text))
			}
		}
		w.questions()
		if after, err := os.ReadFile(w.file("state/state")); err != nil || !bytes.Equal(cut(after), cut(before)) {
			t.Errorf("the state changed from\n%sto\n%s", before, after)
		}
		w.register(w.client("lahm"))
	})
}

// cut leaves out the first line of a state and its sum, which every registration
// changes.
func cut(state []byte) []byte {
	lines := bytes.Split(state, []byte("\n"))
	return bytes.Join(lines[1:len(lines)-2], nil)
}

// record registers a gateway through somebody who listens, and returns what it sent.
func (w *world) record(name string) (letters [][]byte) {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		letter := make([]byte, registry.RequestSize)
		if _, err := io.ReadFull(r.Body, letter); err != nil {
			w.t.Error(err)
		}
		letters = append(letters, letter)
		status, answer, err := w.send(letter)
		if err != nil {
			w.t.Error(err)
		}
		rw.WriteHeader(status)
		io.WriteString(rw, answer)
	})}
	go server.Serve(listener)
	defer server.Close()
	s := w.settings()
	s.URL = "http://" + listener.Addr().String()
	c := w.clientWith(name, w.keys[name], s)
	for range 3 {
		w.register(c)
	}
	if len(letters) != 4 { // the first one only asks for the number
		w.t.Fatalf("%d letters recorded", len(letters))
	}
	return letters
}

// questions sends genuine letters with a text that no packthread sends.
func (w *world) questions() {
	w.t.Helper()
	for _, name := range []string{"../lahm", "../../etc/passwd", "/etc/passwd", "lahm/../berlin", "..", "lahm\x00", "a b", ""} {
		text := make([]byte, 128)
		text[16], text[17], text[18] = 1, 7, 210 // register, port 2002
		text[51] = byte(len(name))
		copy(text[52:], name)
		_, letter, err := crypto.WriteQuestion(rand.Reader, w.keys["lahm"], w.own, crypto.NewPassword(testPassword), text)
		must(w.t, err)
		if status, answer := w.post(letter); status != http.StatusBadRequest {
			w.t.Errorf("name %q: status %d, %s", name, status, answer)
		}
	}
}

// A false nexus has the password, and the place, but not the key.
func TestFalseNexus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "lahm")
	w.serve()
	genuine := w.settings()
	other := newWorld(t, "lahm")
	other.serve()
	s := other.settings()
	s.ServerKey = genuine.ServerKey
	if table, err := w.clientWith("lahm", w.keys["lahm"], s).Register(t.Context()); !errors.Is(err, registry.ErrRefused) || table != nil {
		t.Errorf("another nexus: %v", err)
	}
	forged := bytes.Repeat([]byte{7}, 500)
	for name, answer := range map[string]http.HandlerFunc{
		"garbage": func(w http.ResponseWriter, _ *http.Request) { w.Write(forged) },
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"its echo": func(w http.ResponseWriter, r *http.Request) {
			b := make([]byte, 1000)
			n, _ := r.Body.Read(b)
			w.Write(b[:n])
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(forged); err != nil {
					return
				}
			}
		},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		server := &http.Server{Handler: answer}
		go server.Serve(l)
		s.URL = "http://" + l.Addr().String()
		if table, err := w.clientWith("lahm", w.keys["lahm"], s).Register(t.Context()); !errors.Is(err, registry.ErrForged) || table != nil {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
	}
}

// Slow callers get no answer, and keep nobody from his.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, start func(*world)) {
		w := newWorld(t, "lahm")
		start(w)
		host := w.host()
		for range 200 {
			c, err := net.Dial("tcp", host)
			must(t, err)
			defer c.Close()
			if !strings.HasPrefix(w.url, "https") {
				fmt.Fprintf(c, "POST /cgi-bin/nexus.cgi HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nx", registry.RequestSize)
			}
		}
		began := time.Now()
		w.register(w.client("lahm"))
		if took := time.Since(began); took > patience/4 {
			t.Errorf("an answer after %v", took)
		}
	})
}

// A stranger holds more connections than there may be, and says nothing. Who comes from
// another network is answered as if he was not there.
func TestSilentStranger(t *testing.T) {
	for name, lines := range map[string][]string{"http": nil, "https": {"certificate_path = nexus.crt", "certificate_key_path = nexus.key"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "lahm")
			w.certificate("nexus")
			w.serve(lines...)
			host := w.host()
			from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, 1)}}
			// Strangers are given headerTimeout. An answer after that tells nothing, and may
			// be due to a machine that is busy with other things.
			for limit := time.Now().Add(patience); ; {
				var last net.Conn
				for range 2 * maxConnections {
					c, err := from.Dial("tcp", host)
					must(t, err)
					defer c.Close()
					last = c
				}
				w.register(w.client("lahm"))
				must(t, last.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
				if _, err := last.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
					break // he is there still
				}
				if time.Now().After(limit) {
					t.Fatal("an answer only when the strangers' time was over")
				}
			}
		})
	}
}
