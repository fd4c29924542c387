package registry

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vpnd/cmd/internal/settings"
)

// nudged returns who would be sent a nudge, and the nudge for one of them.
func (w *world) nudged(of string) (names []string, datagram []byte) {
	w.t.Helper()
	_, news := w.handler.mail.take()
	if news == nil {
		return nil, nil
	}
	for _, p := range w.handler.nudges(news) {
		for _, g := range news.gateways {
			if g.Endpoint == p.to {
				names = append(names, g.Name)
				if g.Name == of {
					datagram = p.datagram
				}
			}
		}
	}
	return names, datagram
}

func TestNudges(t *testing.T) {
	w := newWorld(t, "a", "b", "c", "d")
	clients := map[string]*Client{}
	for i, name := range []string{"a", "b", "c"} {
		s := w.settings()
		s.Port = uint16(2002 + i)
		clients[name] = w.clientWith(name, w.keys[name], s)
	}
	a, b := clients["a"], clients["b"]
	want := func(what string, names ...string) (datagram []byte) {
		t.Helper()
		got, datagram := w.nudged("a")
		if !slices.Equal(got, names) {
			t.Errorf("%s: nudges for %v, want %v", what, got, names)
		}
		return datagram
	}
	w.register(a)
	want("the first")
	w.register(b)
	first := want("the second", "a")
	if !a.Receive(first) || !a.Receive(first) {
		t.Error("the nudge is not taken")
	}
	for name, other := range map[string]*Client{"b": b, "c": clients["c"]} {
		if other.Receive(first) {
			t.Errorf("%s takes a nudge for a", name)
		}
	}
	w.register(a)
	want("nothing new")
	if a.Receive(first) {
		t.Error("the nudge is taken again")
	}
	w.register(clients["c"])
	want("the third", "a", "b")
	w.edit("d", func(n *settings.Network) { n.Disabled = true })
	w.register(a)
	want("a network disabled", "b", "c")
	w.register(b)
	w.register(clients["c"])
	w.advance(80 * time.Second)
	w.register(a)
	w.advance(80 * time.Second)
	w.register(a)
	w.register(b)
	want("nothing new")
	w.advance(80 * time.Second)
	w.register(a)
	w.advance(80 * time.Second)
	w.register(b)
	datagram := want("the lease of c ended", "a")
	if err := b.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !a.Receive(datagram) {
		t.Error("the nudge is not taken")
	}
	for n := range len(datagram) * 8 {
		forged := bytes.Clone(datagram)
		forged[n/8] ^= 1 << (n % 8)
		if a.Receive(forged) {
			t.Errorf("nudge with bit %d turned is taken", n)
		}
	}
	for n := range datagram {
		if a.Receive(datagram[:n]) {
			t.Errorf("%d bytes of a nudge are taken", n)
		}
	}
	w.mu.Lock()
	w.now.boot = secondBoot
	w.mu.Unlock()
	w.register(a)
	if a.Receive(datagram) {
		t.Error("a nudge of an earlier epoch is taken")
	}
	fresh := w.client("a")
	fresh.Resume(&Table{Epoch: w.state().epoch})
	if fresh.Receive(datagram) {
		t.Error("who was not answered yet takes a nudge")
	}
}

// A gateway that moves on and on is registered each time, and the others are told of some
// moves.
func TestNudgesBounded(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.from.Store("192.0.2.1:4000")
	at := func(name string, port uint16) *Client {
		s := w.settings()
		s.Port = port
		return w.clientWith(name, w.keys[name], s)
	}
	port := uint16(3000)
	moves := func(what string, n, want int) {
		t.Helper()
		told := 0
		for range n {
			port++
			w.register(at("b", port))
			if names, _ := w.nudged("a"); len(names) > 0 {
				told++
			}
			if i, ok := w.state().find("b"); !ok || w.state().entries[i].endpoint.Port() != port {
				t.Errorf("%s: the state is not that of port %d", what, port)
			}
		}
		if told != want {
			t.Errorf("%s: the others were told of %d moves, want %d", what, told, want)
		}
	}
	w.register(at("a", 2002))
	w.register(at("c", 2003))
	w.nudged("a")
	moves("at once", 20, tellBurst)
	if n := strings.Count(w.log.String(), "gateway registered"); n != 2+tellBurst {
		t.Errorf("%d lines in the log", n)
	}
	if err := at("b", port).Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names, _ := w.nudged("a"); names != nil {
		t.Errorf("it left: nudges for %v", names)
	}
	w.register(at("c", 2004))
	if names, _ := w.nudged("a"); !slices.Equal(names, []string{"a"}) {
		t.Errorf("another one moved: nudges for %v", names)
	}
	w.advance(tellEvery - time.Millisecond)
	moves("too early", 3, 0)
	w.advance(time.Millisecond)
	moves("after some time", 3, 1)
	w.advance(2*tellEvery + tellEvery/2)
	moves("after more time", 5, 2)
	w.mu.Lock()
	w.now = moment{secondBoot, time.Second}
	w.mu.Unlock()
	moves("after a reboot", 5, 0)
	w.advance(tellEvery / 2)
	moves("soon after that", 5, 1)
	w.edit("a", func(n *settings.Network) { n.Disabled = true })
	w.register(at("b", port))
	if names, _ := w.nudged("a"); !slices.Equal(names, []string{"c"}) {
		t.Errorf("the network file has changed: nudges for %v", names)
	}
	for range 4 {
		w.advance(60 * time.Second)
		w.register(at("c", 2004))
		w.register(at("b", port))
	}
	w.nudged("a")
	moves("all is made up for", 10, tellBurst)
}

// Of two that changed the table at once each needs the change of the other.
func TestNudgeBoth(t *testing.T) {
	w := newWorld(t, "a", "b")
	a, b := w.client("a"), w.client("b")
	w.register(a)
	w.register(b)
	w.handler.mail.take()
	if err := a.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.register(a)
	w.register(b)
	if err := b.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.register(b)
	if _, news := w.handler.mail.take(); news == nil || news.except != "" || news.serial != w.state().serial {
		t.Errorf("news %+v", news)
	}
	list := []Gateway{}
	m := &w.handler.mail
	m.nudge(Epoch{1}, 5, "a", list)
	m.nudge(Epoch{1}, 4, "b", list) // of a slower goroutine
	if _, news := m.take(); news.serial != 5 || news.except != "a" {
		t.Errorf("news %+v", news)
	}
	m.nudge(Epoch{1}, 5, "a", list)
	m.nudge(Epoch{1}, 6, "a", list)
	if _, news := m.take(); news.serial != 6 || news.except != "a" {
		t.Errorf("news %+v", news)
	}
	m.nudge(Epoch{1}, 5, "a", list)
	m.nudge(Epoch{2}, 1, "b", list)
	if _, news := m.take(); news.serial != 1 || news.epoch != (Epoch{2}) || news.except != "b" {
		t.Errorf("news %+v", news)
	}
	for range 2 * maxParcels {
		m.add(parcel{})
	}
	if parcels, _ := m.take(); len(parcels) != maxParcels {
		t.Errorf("%d parcels wait", len(parcels))
	}
}

// TestSendMail sends nudges to a socket.
func TestSendMail(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := w.settings()
	s.Port = uint16(conn.LocalAddr().(*net.UDPAddr).Port)
	a := w.clientWith("a", w.keys["a"], s)
	receive := func() bool {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, MaxDatagram)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return a.Receive(b[:n])
	}
	w.register(a)
	w.edit("c", func(n *settings.Network) { n.Address = netip.MustParseAddr("203.0.113.99") }) // nobody
	w.register(w.client("c"))
	w.register(w.client("b"))
	if err := w.handler.SendMail(); err != nil {
		t.Fatal(err)
	}
	if !receive() {
		t.Error("the nudge is not taken")
	}
	if err := w.handler.SendMail(); err != nil {
		t.Error(err)
	}
	w.register(a)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.handler.Run(ctx) }()
	if err := w.client("b").Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !receive() {
		t.Error("the nudge of a running nexus is not taken")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestSaved(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.register(w.client("b"))
	a := w.client("a")
	table := w.register(a)
	own, server := w.keys["a"].Public(), w.own.Public()
	saved := AppendTable(table, own, server)
	got, err := ParseTable(saved, own, server)
	if err != nil || states(got) != states(table) || got.Epoch != table.Epoch || got.Number != table.Number || got.Serial != table.Serial || len(saved) > MaxSaved {
		t.Errorf("read %+v, error %v; want %+v", got, err, table)
	}
	for n := range saved {
		damaged := bytes.Clone(saved)
		damaged[n] ^= 1
		if _, err := ParseTable(damaged, own, server); err == nil {
			t.Fatalf("a table with byte %d turned is taken", n)
		}
		if _, err := ParseTable(saved[:n], own, server); err == nil {
			t.Fatalf("%d bytes of a table are taken", n)
		}
	}
	if _, err := ParseTable(saved, server, own); !errors.Is(err, errSaved) {
		t.Errorf("a table of others: %v", err)
	}
	refused := AppendTable(&Table{}, own, server)
	copy(refused[len(tableTag):], make([]byte, 32))
	if _, err := ParseTable(refused, own, server); err == nil {
		t.Error("a table without its sum is taken")
	}
	// One question is enough for who has it.
	w.asked.Store(0)
	again := w.client("a")
	again.Resume(got)
	w.register(again)
	if n := w.asked.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	if err := os.Remove(w.store.path(stateFile)); err != nil {
		t.Fatal(err)
	}
	w.register(again)
	if n := w.asked.Load(); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}
