package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"vpnd/crypto"
)

// TestNoNexus has what stands at the place of nexus.
func TestNoNexus(t *testing.T) {
	w := newWorld(t, "a")
	var answer http.HandlerFunc
	place := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { answer(rw, r) }))
	defer place.Close()
	s := w.settings()
	s.URL = place.URL + "/cgi-bin/nexus.cgi"
	a := w.clientWith("a", w.keys["a"], s)
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"no page", http.NotFound, `the web server says "404 Not Found": is nexus at this place?`},
		{"another place", func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, w.server.URL, http.StatusTemporaryRedirect)
		}, `the web server says "307 Temporary Redirect"`},
		{"not set up", func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(500) }, `"500 Internal Server Error"`},
		{"forbidden", func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(403) }, ErrRefused.Error()},
		{"a page", func(rw http.ResponseWriter, r *http.Request) { rw.Write([]byte("<html>")) }, ErrForged.Error()},
		{"breaks off", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Length", "500")
			rw.Write([]byte("x"))
		}, "unexpected EOF"},
	} {
		answer = tt.answer
		if table, err := a.Register(t.Context()); err == nil || table != nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "register a at "+s.URL) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	place.Close()
	if _, err := a.Register(t.Context()); err == nil || !strings.Contains(err.Error(), "cgi: dial tcp") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("nobody: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.client("a").Register(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// ways are what a client asks of its Way.
type ways []string

func (w *ways) Pin(a netip.Addr) error {
	*w = append(*w, "pin-"+a.String())
	switch a {
	case netip.MustParseAddr("203.0.113.99"):
		return errors.New("no other way")
	case netip.MustParseAddr("203.0.113.98"):
		return fmt.Errorf("pin: %w", os.ErrClosed)
	}
	return nil
}

func (w *ways) Settle(a netip.Addr) error {
	*w = append(*w, "settle-"+a.String())
	return errors.New("not now")
}

// farAway is a connection to an address of the Internet.
type farAway struct {
	net.Conn
	to netip.AddrPort
}

func (f farAway) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(f.to) }

// TestWay has nexus at several addresses.
func TestWay(t *testing.T) {
	w := newWorld(t, "a")
	answer := w.server.Config.Handler
	stranger := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { rw.Write(make([]byte, 500)) })
	for _, tt := range []struct {
		name, at string
		handler  http.Handler
		way      bool
		want     string // of the way
		err      string
	}{
		{"public", "203.0.113.1:80", answer, true, "pin-203.0.113.1 settle-203.0.113.1", ""},
		{"IPv6", "[2001:db8::1]:80", answer, true, "pin-2001:db8::1 settle-2001:db8::1", ""},
		{"not nexus", "203.0.113.1:80", stranger, true, "pin-203.0.113.1", ErrForged.Error()},
		{"unreachable but through the mesh", "203.0.113.99:80", answer, true, "pin-203.0.113.99", "no other way"},
		{"the mesh has left the host", "203.0.113.98:80", answer, true, "pin-203.0.113.98 settle-203.0.113.98", ""},
		{"private", "192.168.7.1:80", answer, true, "", ""},
		{"of one link", "[fe80::1%eth0]:80", answer, true, "", ""},
		{"nobody looks after it", "203.0.113.1:80", answer, false, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.server.Config.Handler = tt.handler
			a, asked := w.client("a"), ways{}
			if tt.way {
				a.Way = &asked
			}
			a.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				if err := a.pin(ctx, "tcp", tt.at, nil); err != nil {
					return nil, err
				}
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				return farAway{conn, netip.MustParseAddrPort(tt.at)}, err
			}
			_, err := a.Register(t.Context())
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			want := strings.Fields(tt.want)
			if err == nil {
				want = append(want, want...) // it is told its number first
			}
			if !slices.Equal(asked, want) {
				t.Errorf("way: %s, want %s", asked, want)
			}
		})
	}
}

// What an answer teaches a gateway.
func TestLearn(t *testing.T) {
	own := identity(t)
	sign := signOf(own, crypto.PublicKey{}, Epoch{1})
	c := &Client{}
	proof := [proofSize]byte{7}
	for _, tt := range []struct {
		name   string
		status status
		table  Table
		serial uint64
		kept   bool // the proof
	}{
		{"done", done, Table{Epoch: Epoch{1}, Number: 3, Serial: 100}, 100, false},
		{"done again", done, Table{Epoch: Epoch{1}, Number: 4, Serial: 101}, 101, true},
		{"another number", again, Table{Epoch: Epoch{1}, Number: 9, Serial: 102}, 101, true},
		{"new epoch", again, Table{Epoch: Epoch{2}, Number: 9, Serial: 8}, 0, false},
		{"first of it", done, Table{Epoch: Epoch{2}, Number: 10, Serial: 8}, 8, true},
	} {
		c.proof = proof
		c.learn(&answer{status: tt.status, signKey: sign.Key(), Table: tt.table})
		if c.serial != tt.serial || c.epoch != tt.table.Epoch || c.number != tt.table.Number || (c.proof == proof) != tt.kept {
			t.Errorf("%s: serial %d, number %d, proof %x", tt.name, c.serial, c.number, c.proof)
		}
		if !c.Receive(nudge(sign, c.serial+1)) || c.Receive(nudge(sign, c.serial)) {
			t.Errorf("%s: the serial does not count", tt.name)
		}
	}
}

// A check that comes before the answer that tells its sign is taken, also behind a nudge.
func TestLearnCheck(t *testing.T) {
	sign, proof := signOf(identity(t), crypto.PublicKey{}, Epoch{1}), [proofSize]byte{7}
	for _, s := range []status{done, again} {
		c := &Client{declared: netip.MustParseAddr("192.0.2.1"), underWay: true}
		c.Receive(nudge(sign, 9))
		c.Receive(check(sign, proof))
		if latest := c.learn(&answer{status: s, signKey: sign.Key(), Table: Table{Epoch: Epoch{1}, Serial: 8}}); latest || c.proof != proof {
			t.Errorf("status %v: latest %v, proof %x", s, latest, c.proof)
		}
	}
}

// Noise that comes while nexus is asked does not make it be asked again.
func TestLearnNoise(t *testing.T) {
	sign := signOf(identity(t), crypto.PublicKey{}, Epoch{1})
	c := &Client{underWay: true}
	c.Receive(make([]byte, nudgeSize))
	if !c.learn(&answer{status: done, signKey: sign.Key(), Table: Table{Epoch: Epoch{1}, Serial: 8}}) {
		t.Error("the answer is not the latest")
	}
}

// A nudge that comes before the answer that tells its sign counts.
func TestNudgeBeforeAnswer(t *testing.T) {
	w := newWorld(t, "a", "b")
	b := w.client("b")
	w.register(b)
	saved := w.register(w.client("a"))
	early := w.client("a")
	early.Resume(saved)
	crossed := false
	handler := w.handler
	place := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		handler.ServeHTTP(rw, r)
		if !crossed { // b leaves before a has its answer
			crossed = true
			handler.mail.take()
			if err := b.Leave(t.Context()); err != nil {
				t.Error(err)
			}
			_, news := handler.mail.take()
			for _, p := range handler.nudges(news) {
				for _, datagram := range [][]byte{make([]byte, nudgeSize), p.datagram, make([]byte, nudgeSize), []byte("x")} {
					if early.Receive(datagram) {
						t.Error("a nudge without a sign is taken")
					}
				}
			}
			for range 1000 {
				early.Receive(make([]byte, checkSize))
			}
			if n := len(early.doubtful); n != maxDoubtful || slices.ContainsFunc(early.doubtful, func(d []byte) bool { return len(d) == 1 }) {
				t.Errorf("%d datagrams are kept", n)
			}
		}
	}))
	defer place.Close()
	early.url = place.URL
	w.asked.Store(0)
	table := w.register(early)
	if g := table.Gateway("b"); g.State != Gone {
		t.Errorf("b is %v", g.State)
	}
	if n := w.asked.Load(); n != 3 { // one of them is b
		t.Errorf("%d requests, want 3", n)
	}
	if early.doubtful != nil || early.underWay {
		t.Error("something is left")
	}
	if early.Receive(make([]byte, nudgeSize)); early.doubtful != nil {
		t.Error("something is kept that nobody looks at")
	}
}

// A nexus whose answer is genuine, and of another form.
func TestMalformedAnswer(t *testing.T) {
	w := newWorld(t, "a")
	good := (&answer{}).encode()
	var text []byte
	odd := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		letter := make([]byte, RequestSize)
		if _, err := io.ReadFull(r.Body, letter); err != nil {
			t.Error(err)
		}
		asked, err := crypto.OpenQuestion(rand.Reader, w.own, crypto.NewPassword(testPassword), letter)
		if err != nil {
			t.Error(err)
			return
		}
		reply, err := asked.Answer(text)
		if err != nil {
			t.Error(err)
		}
		rw.Write(reply)
	}))
	defer odd.Close()
	s := w.settings()
	s.URL = odd.URL
	a := w.clientWith("a", w.keys["a"], s)
	for name, bad := range map[string][]byte{
		"empty": nil, "short": good[:len(good)-1], "long": append(slices.Clone(good), 0), "another status": append([]byte{4}, good[1:]...),
		"more gateways": append(slices.Clone(good[:len(good)-1]), 1), "too many": append(slices.Clone(good[:len(good)-2]), 255, 255),
	} {
		text = bad
		if table, err := a.Register(t.Context()); !errors.Is(err, errForm) || table != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	text = good
	w.register(a)
}

// HTTPS carries letters, whoever made the certificate.
func TestHTTPS(t *testing.T) {
	w := newWorld(t, "a")
	secure := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") != contentType || r.UserAgent() != "packthread" {
			t.Errorf("headers %v", r.Header)
		}
		w.handler.ServeHTTP(rw, r)
	}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer secure.Close()
	s := w.settings()
	s.URL = secure.URL
	w.register(w.clientWith("a", w.keys["a"], s))
	s.ServerKey = crypto.PublicKey{}
	if table, err := w.clientWith("a", w.keys["a"], s).Register(t.Context()); err == nil || table != nil || !strings.Contains(err.Error(), "write letter") {
		t.Errorf("a question to nobody: %v", err)
	}
	s.URL = ":"
	s.ServerKey = w.own.Public()
	if table, err := w.clientWith("a", w.keys["a"], s).Register(t.Context()); err == nil || table != nil || !strings.Contains(err.Error(), "missing protocol scheme") {
		t.Errorf("no place: %v", err)
	}
}

// No cache on the way keeps an answer.
func TestHeaders(t *testing.T) {
	w := newWorld(t, "a")
	place := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		recorder := httptest.NewRecorder()
		w.handler.ServeHTTP(recorder, r)
		h := recorder.Header()
		if h.Get("Content-Type") != contentType || h.Get("Content-Length") != strconv.Itoa(recorder.Body.Len()) || h.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", h)
		}
		rw.Write(recorder.Body.Bytes())
	}))
	defer place.Close()
	s := w.settings()
	s.URL = place.URL
	w.register(w.clientWith("a", w.keys["a"], s))
}

// A nexus that never agrees is not asked for ever.
func TestNeverAgrees(t *testing.T) {
	w := newWorld(t, "a")
	a := w.client("a")
	w.register(a)
	w.asked.Store(0)
	n := 0
	clock := w.store.clock
	w.store.clock = func() moment { // a reboot before each answer
		m := clock()
		n++
		m.boot = strings.Repeat(string(rune('a'+n)), bootSize)
		return m
	}
	if _, err := a.Register(t.Context()); err == nil || !strings.Contains(err.Error(), "wants another number each time") {
		t.Errorf("error %v", err)
	}
	if n := w.asked.Load(); n != maxTries {
		t.Errorf("asked %d times", n)
	}
}

// One client may be used by several goroutines.
func TestClientShared(t *testing.T) {
	w := newWorld(t, "a")
	a := w.client("a")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				if _, err := a.Register(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := w.asked.Load(); n != 41 {
		t.Errorf("%d requests for 40 registrations, want 41", n)
	}
}
