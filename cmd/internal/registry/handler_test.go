package registry

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
)

func TestRegister(t *testing.T) {
	w := newWorld(t, "b", "a", "c")
	w.from.Store("192.0.2.1:4000")
	a := w.client("a")
	table := w.register(a)
	w.wantStates(table, "a live 192.0.2.1:2002 5m0s, b unheard, c unheard")
	if n := w.asked.Load(); n != 2 {
		t.Errorf("%d requests of a gateway that knows nothing, want 2", n)
	}
	if table.Seen != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("seen %v", table.Seen)
	}
	g := table.Gateway("b")
	if g.Key != w.keys["b"].Public() || g.Inner != netip.MustParseAddr("10.0.0.1") || !slices.Equal(g.Subnets, w.networks[0].Subnets) {
		t.Errorf("gateway %+v", g)
	}
	w.advance(10 * time.Second)
	w.from.Store("[::ffff:192.0.2.2]:4000")
	table = w.register(w.client("b"))
	w.wantStates(table, "a live 192.0.2.1:2002 4m50s, b live 192.0.2.2:2002 5m0s, c unheard")
	w.asked.Store(0)
	w.from.Store("[2001:db8::1%eth0]:4000")
	w.wantStates(w.register(a), "a live [2001:db8::1]:2002 5m0s, b live 192.0.2.2:2002 5m0s, c unheard")
	if n := w.asked.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestLeases(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.from.Store("192.0.2.1:4000")
	a, b := w.client("a"), w.client("b")
	w.register(a)
	w.register(b)
	for range 5 {
		w.advance(59 * time.Second)
		w.register(a)
	}
	w.wantStates(w.register(a), "a live 192.0.2.1:2002 5m0s, b live 192.0.2.1:2002 5s")
	w.advance(5*time.Second - time.Millisecond)
	w.wantStates(w.register(a), "a live 192.0.2.1:2002 5m0s, b live 192.0.2.1:2002 1s")
	w.advance(time.Millisecond)
	w.wantStates(w.register(a), "a live 192.0.2.1:2002 5m0s, b gone")
	w.wantStates(w.register(b), "a live 192.0.2.1:2002 5m0s, b live 192.0.2.1:2002 5m0s")
	if err := b.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantStates(w.register(a), "a live 192.0.2.1:2002 5m0s, b gone")
	w.wantStates(w.register(b), "a live 192.0.2.1:2002 5m0s, b live 192.0.2.1:2002 5m0s")
}

// A registration counts once, whoever sends it again, and whatever happened to nexus.
func TestReplay(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.from.Store("192.0.2.1:4000")
	a := w.client("a")
	w.register(a)
	q := a.question(register)
	_, letter, err := crypto.WriteQuestion(rand.Reader, w.keys["a"], w.own.Public(), crypto.NewPassword(testPassword), q.encode())
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := w.post(letter); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	before := w.state().format()
	file, err := os.Stat(w.store.path(stateFile))
	if err != nil {
		t.Fatal(err)
	}
	replay := func(when string) {
		t.Helper()
		w.from.Store("198.51.100.66:4000")
		status, reply := w.post(letter)
		if status != http.StatusOK || len(reply) != answerHead+crypto.AnswerOverhead {
			t.Errorf("%s: status %d, %d bytes", when, status, len(reply))
		}
		for _, e := range w.state().entries {
			if e.endpoint.Addr() != netip.MustParseAddr("192.0.2.1") {
				t.Errorf("%s: %s is at %v", when, e.name, e.endpoint)
			}
		}
		w.from.Store("192.0.2.1:4000")
	}
	replay("at once")
	if after := w.state().format(); !bytes.Equal(after, before) {
		t.Errorf("the state changed:\n%s%s", before, after)
	}
	if now, err := os.Stat(w.store.path(stateFile)); err != nil || !os.SameFile(now, file) {
		t.Errorf("the state was written: %v", err)
	}
	w.register(a)
	replay("after the next one")
	w.edit("a", func(n *settings.Network) { n.Name = "x" })
	w.register(w.client("b"))
	w.edit("x", func(n *settings.Network) { n.Name = "a" })
	replay("after the network was taken out and came back")
	w.register(a)
	w.mu.Lock()
	w.now = moment{secondBoot, time.Second}
	w.mu.Unlock()
	replay("after a reboot")
	w.register(a)
	if err := os.Remove(w.store.path(stateFile)); err != nil {
		t.Fatal(err)
	}
	replay("after the state was lost")
	w.register(a)
}

// TestStrangers has those who lack one thing.
func TestStrangers(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.register(w.client("a"))
	before := w.state().format()
	other := w.settings()
	other.Password += "x"
	false_ := w.settings()
	false_.ServerKey = w.keys["b"].Public()
	for _, tt := range []struct {
		name   string
		client *Client
		want   error
	}{
		{"stolen password, no key", w.clientWith("a", identity(t), w.settings()), ErrUnknown},
		{"key of another name", w.clientWith("b", w.keys["a"], w.settings()), ErrUnknown},
		{"key, and no network", w.clientWith("c", w.keys["a"], w.settings()), ErrUnknown},
		{"key, another password", w.clientWith("a", w.keys["a"], other), ErrRefused},
		{"another nexus", w.clientWith("a", w.keys["a"], false_), ErrRefused},
		{"nexus's own key", w.clientWith("a", w.own, w.settings()), ErrUnknown},
	} {
		if table, err := tt.client.Register(t.Context()); !errors.Is(err, tt.want) || table != nil {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err := tt.client.Leave(t.Context()); !errors.Is(err, tt.want) {
			t.Errorf("%s leaves: %v, want %v", tt.name, err, tt.want)
		}
	}
	if after := w.state().format(); !bytes.Equal(after, before) {
		t.Errorf("the state changed:\n%s%s", before, after)
	}
	if _, err := NewClient("../a", w.keys["a"], w.settings()); err == nil || !strings.Contains(err.Error(), "no name of a network") {
		t.Errorf("a client for ../a: %v", err)
	}
}

func TestDisabled(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.from.Store("192.0.2.1:4000")
	a, b := w.client("a"), w.client("b")
	w.register(a)
	w.register(b)
	w.edit("b", func(n *settings.Network) { n.Disabled = true })
	w.wantStates(w.register(a), "a live 192.0.2.1:2002 5m0s")
	if _, err := b.Register(t.Context()); !errors.Is(err, ErrDisabled) {
		t.Errorf("the disabled one: %v", err)
	}
	w.edit("b", func(n *settings.Network) { n.Disabled = false })
	w.wantStates(w.register(a), "a live 192.0.2.1:2002 5m0s, b gone")
	w.edit("b", func(n *settings.Network) { n.Key = identity(t).Public() })
	w.wantStates(w.register(a), "a live 192.0.2.1:2002 5m0s, b unheard")
	if _, err := b.Register(t.Context()); !errors.Is(err, ErrUnknown) {
		t.Errorf("the one with the old key: %v", err)
	}
}

// The log has what changes, and nothing else.
func TestLog(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.from.Store("192.0.2.1:4000")
	a := w.client("a")
	said := 0
	step := func(what string, want ...string) {
		t.Helper()
		text := w.log.String()
		got := strings.Split(strings.TrimSpace(text[said:]), "\n")
		said = len(text)
		if len(want) == 0 {
			want = []string{""}
		}
		if len(got) != len(want) {
			t.Errorf("%s: the log has %q, want %q", what, got, want)
			return
		}
		for i := range got {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("%s: the log has %q, want %q", what, got[i], want[i])
			}
		}
	}
	const registered = `level=INFO msg="gateway registered" name=a endpoint=`
	w.register(a)
	step("first", `level=INFO msg="state is new"`, registered+"192.0.2.1:2002 from=192.0.2.1")
	w.register(a)
	step("again")
	w.from.Store("192.0.2.2:4000")
	w.register(a)
	step("moved", registered+"192.0.2.2:2002 from=192.0.2.2")
	if err := a.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	step("left", `level=INFO msg="gateway left" name=a from=192.0.2.2`)
	w.register(a)
	step("back", registered)
	for range 4 {
		w.advance(75 * time.Second)
		w.register(w.client("b"))
	}
	step("b", `name=b`)
	w.register(a) // at the very end of the lease
	step("late", registered)
	if _, err := w.clientWith("a", w.keys["b"], w.settings()).Register(t.Context()); err == nil {
		t.Error("b is a")
	}
	step("stranger", `level=WARN msg="no network has this name and this key" name=a key="`+w.keys["b"].Public().String()+`" from=192.0.2.2`)
}

// TestTwoWithOneKey runs one gateway on two machines, and then one that starts again.
func TestTwoWithOneKey(t *testing.T) {
	const warning = `level=WARN msg="registration has an old number: another gateway has this key, too, or a recorded one was sent again" name=a from=`
	w := newWorld(t, "a")
	one, two := w.client("a"), w.client("a")
	for range 3 {
		w.from.Store("198.51.100.1:4711")
		w.register(one)
		w.from.Store("198.51.100.2:4711")
		w.register(two)
	}
	if text := w.log.String(); strings.Count(text, warning+"198.51.100.1") != 2 || strings.Count(text, warning+"198.51.100.2") != 2 {
		t.Errorf("the log has %s", text)
	}
	before := strings.Count(w.log.String(), warning)
	saved := w.register(two)
	if err := two.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	three := w.client("a")
	three.Resume(saved)
	w.register(three)
	w.register(w.client("a"))
	if after := strings.Count(w.log.String(), warning); after != before {
		t.Errorf("%d warnings about one that was started again:\n%s", after-before, w.log)
	}
	ahead := w.client("a")
	ahead.Resume(w.register(three))
	before = strings.Count(w.log.String(), warning)
	ahead.number += 2 * window
	w.register(ahead)
	if after := strings.Count(w.log.String(), warning); after != before {
		t.Errorf("%d warnings about one that is far ahead:\n%s", after-before, w.log)
	}
}

// TestLogBounded has callers ask again and again.
func TestLogBounded(t *testing.T) {
	const n = 10 * logBurst
	w := newWorld(t, "a")
	ask := func(what string, n int, ask func()) {
		t.Helper()
		for range n {
			ask()
		}
		if lines := strings.Count(w.log.String(), what); lines < logBurst || lines > logBurst+n/10 {
			t.Errorf("%d lines in the log with %q", lines, what)
		}
	}
	thief := w.clientWith("a", identity(t), w.settings())
	ask("no network has this name", n, func() { thief.Register(t.Context()) })
	w.register(w.client("a"))
	twin := (&request{epoch: w.state().epoch, number: 1, kind: register, port: 2002, name: "a"}).encode()
	w.ask(w.keys["a"], twin)
	ask("has an old number", n, func() { w.ask(w.keys["a"], twin) })
	w.mu.Lock()
	w.bad = errors.New("networks:7: a mistake")
	w.mu.Unlock()
	ask("registration failed", n, func() { thief.Register(t.Context()) })
}

// What a gateway's question may not hold.
func TestQuestions(t *testing.T) {
	w := newWorld(t, "a")
	w.register(w.client("a"))
	good := request{epoch: w.state().epoch, number: 100, kind: register, port: 2002, name: "a"}
	before := w.state().format()
	with := func(change func(*request)) []byte {
		q := good
		change(&q)
		return q.encode()
	}
	for name, text := range map[string][]byte{
		"climbing name":     with(func(q *request) { q.name = "../a" }),
		"absolute name":     with(func(q *request) { q.name = "/etc/passwd" }),
		"no name":           with(func(q *request) { q.name = "" }),
		"name with NUL":     with(func(q *request) { q.name = "a\x00" }),
		"no port":           with(func(q *request) { q.port = 0 }),
		"another kind":      with(func(q *request) { q.kind = 3 }),
		"kind 0":            with(func(q *request) { q.kind = 0 }),
		"declared loopback": with(func(q *request) { q.declared = netip.MustParseAddr("127.0.0.1") }),
		"declared group":    with(func(q *request) { q.declared = netip.MustParseAddr("224.0.0.1") }),
		"bytes behind":      append(with(func(*request) {})[:requestText-1], 1),
		"long name":         append(with(func(q *request) { q.name = "" })[:51], append([]byte{200}, make([]byte, requestText-52)...)...),
	} {
		if status, a := w.ask(w.keys["a"], text); status != http.StatusBadRequest || a != nil {
			t.Errorf("%s: status %d", name, status)
		}
	}
	if n := strings.Count(w.log.String(), "registration is malformed"); n != 11 {
		t.Errorf("%d messages:\n%s", n, w.log)
	}
	for name, change := range map[string]func(*request){
		"old number":  func(q *request) { q.number = w.state().last("a") },
		"no number":   func(q *request) { q.number = 0 },
		"far number":  func(q *request) { q.number = w.state().last("a") + window + 1 },
		"last number": func(q *request) { q.number = 1<<64 - 1 },
		"no epoch":    func(q *request) { q.epoch = Epoch{} },
		"epoch, bit":  func(q *request) { q.epoch[7] ^= 1 },
	} {
		status, a := w.ask(w.keys["a"], with(change))
		if status != http.StatusOK || a.status != again || a.Number != w.state().last("a") || a.Epoch != w.state().epoch || a.Gateways != nil {
			t.Errorf("%s: status %d, answer %+v", name, status, a)
		}
	}
	if after := w.state().format(); !bytes.Equal(after, before) {
		t.Errorf("the state changed:\n%s%s", before, after)
	}
	for name, change := range map[string]func(*request){
		"next number":    func(*request) {},
		"farthest ahead": func(q *request) { q.number = w.state().last("a") + window },
		"leave":          func(q *request) { q.number, q.kind = w.state().last("a")+1, leave },
	} {
		if name == "next number" {
			good.number = w.state().last("a") + 1
		}
		if status, a := w.ask(w.keys["a"], with(change)); status != http.StatusOK || a.status != done {
			t.Errorf("%s: status %d, answer %+v", name, status, a)
		}
	}
}

// What is no letter is refused before it is read.
func TestBodies(t *testing.T) {
	w := newWorld(t, "a")
	for _, tt := range []struct {
		size, want int
	}{
		{0, http.StatusBadRequest}, {RequestSize - 1, http.StatusBadRequest}, {RequestSize, http.StatusForbidden},
		{RequestSize + 1, http.StatusRequestEntityTooLarge}, {1 << 20, http.StatusRequestEntityTooLarge},
	} {
		if status, _ := w.post(make([]byte, tt.size)); status != tt.want {
			t.Errorf("%d bytes: status %d, want %d", tt.size, status, tt.want)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		r, err := http.NewRequest(method, w.server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", method, answer.Status)
		}
	}
	r, err := http.NewRequest(http.MethodPost, w.server.URL, struct{ *bytes.Reader }{bytes.NewReader(make([]byte, RequestSize))})
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = -1
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusLengthRequired || !answer.Close {
		t.Errorf("body of unknown length: %s, connection closed: %v", answer.Status, answer.Close)
	}
	if _, err := os.Stat(w.store.path(stateFile)); !errors.Is(err, os.ErrNotExist) {
		t.Error("a stranger made a state")
	}
}

// When nexus cannot do what it is asked, it says so and changes nothing.
func TestTroubles(t *testing.T) {
	w := newWorld(t, "a", "b")
	a := w.client("a")
	w.register(a)
	trouble := func(name, log string) {
		t.Helper()
		if _, err := a.Register(t.Context()); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable") {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(w.log.String(), log) {
			t.Errorf("%s: the log says %s", name, w.log)
		}
	}
	w.mu.Lock()
	w.bad = fmt.Errorf("networks:7: a mistake")
	w.mu.Unlock()
	trouble("mistake in the network file", "networks:7: a mistake")
	w.mu.Lock()
	w.bad = nil
	w.mu.Unlock()
	w.from.Store("nobody")
	trouble("no address", "REMOTE_ADDR")
	w.from.Store("")
	if err := os.Mkdir(w.store.path(newFile), 0o700); err != nil {
		t.Fatal(err)
	}
	trouble("state that cannot be written", "write state")
	if err := os.Remove(w.store.path(newFile)); err != nil {
		t.Fatal(err)
	}
	w.edit("a", func(n *settings.Network) { n.Address = netip.MustParseAddr("192.0.2.9") })
	w.register(a)
}

// TestChangedNetworks has the network file change while a gateway waits for the lock.
func TestChangedNetworks(t *testing.T) {
	w := newWorld(t, "a", "b")
	a, b := w.client("a"), w.client("b")
	w.register(a)
	current := w.handler.networks
	for _, test := range []struct {
		name   string
		before func([]settings.Network) []settings.Network // the network file
		want   error
	}{
		{"another was added, and has registered", func(n []settings.Network) []settings.Network { return n[:1] }, nil},
		{"it cannot be read now", func(n []settings.Network) []settings.Network {
			w.bad = errors.New("it is being written")
			return n
		}, nil},
		{"it was removed", func(n []settings.Network) []settings.Network {
			w.edit("a", func(n *settings.Network) { n.Key = w.keys["b"].Public() })
			return n
		}, ErrUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.register(b)
			first := true
			w.handler.networks = func() ([]settings.Network, error) {
				networks, err := current()
				if first {
					first, networks = false, test.before(networks)
				}
				if err != nil {
					return nil, err
				}
				return networks, nil
			}
			before, _ := os.Stat(w.store.path(stateFile))
			table, err := a.Register(t.Context())
			w.bad = nil
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if err == nil && (table.Gateway("b") == nil || table.Gateway("b").State != Live) {
				t.Errorf("table %+v", table)
			}
			if after, err := os.Stat(w.store.path(stateFile)); err != nil || os.SameFile(before, after) == (test.want == nil) {
				t.Errorf("the state is written: %v, %v", !os.SameFile(before, after), err)
			}
		})
	}
}
