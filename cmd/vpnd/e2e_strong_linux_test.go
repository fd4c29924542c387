package main

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
	"vpnd/crypto"
	"vpnd/serial/serialtest"
)

// strongKeys gives both ends their key of a pair, sealed if there is a pass phrase,
// and returns the id of the link.
func (w *world) strongKeys(passphrase []byte) string {
	t := w.server.t
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pair")
	id, err := crypto.MakeStrongPair(dir, rand.Reader, passphrase)
	must(t, err)
	must(t, os.Rename(filepath.Join(dir, crypto.ServerFile), w.server.file(crypto.ServerFile)))
	must(t, os.Rename(filepath.Join(dir, crypto.ClientFile), w.client.file(crypto.ClientFile)))
	return id.String()
}

// newStrongWorld is newWorld with a link that has strong keys.
func newStrongWorld(t *testing.T) (w *world, link string) {
	t.Helper()
	w = newWorld(t)
	w.configure("auth strong")
	return w, w.strongKeys(nil)
}

// linked waits until the server has a link that it did not have before more, and both
// ends talk.
func (w *world) linked(more func()) {
	w.server.t.Helper()
	was := w.server.tells()
	more()
	w.server.until("up again", func(r report) bool { return isUp(r) && (r.PID != was.PID || r.Links > was.Links) })
	w.client.until("up", isUp)
	w.client.reaches(serverInner)
}

// copied is what the server says of a key in two hands.
const copied = "a key may have been copied"

func TestStrongLink(t *testing.T) {
	t.Parallel()
	w, link := newStrongWorld(t)
	w.up()
	w.client.reaches(serverInner)
	w.server.reaches(clientIPv6)
	for _, s := range []*site{w.server, w.client} {
		if l := s.until("up", isUp).Link; l.KeyID != link || l.Client != "" {
			t.Errorf("%s: key id %s, client %q, want link %s", s.name, l.KeyID, l.Client, link)
		}
	}
	w.linked(func() { redial(w.client) })
	w.linked(func() { w.client.stop(); w.client.start() })
	w.linked(func() { w.server.stop(); w.server.start() })
	w.client.stop()
	w.server.stop()
	for _, s := range []*site{w.server, w.client} {
		if log := s.Stderr.String(); strings.Contains(log, copied) || strings.Contains(log, "ERROR") {
			t.Errorf("%s says\n%s", s.name, log)
		}
	}
}

// TestStrongCable has strong keys on a serial line. Each end is killed and started
// again.
func TestStrongCable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.strongKeys(nil)
	w.cable(serialtest.Wire{Rate: 115200})
	w.configureLine("auth strong", "localline", "nortscts")
	w.up()
	w.client.reaches(serverInner)
	w.linked(func() { w.client.kill(); w.client.start() })
	w.linked(func() { w.server.kill(); w.server.start() })
	w.client.stop()
	w.server.stop()
}

// strongFlight is a first flight of the client with a number of its own.
func (w *world) strongFlight(number time.Time) []byte {
	w.client.t.Helper()
	key := keyAt(w.client.t, w.client.file(crypto.ClientFile), "")
	hello := helloOf(2)
	_, f1, err := crypto.InitiateStrong(key, rand.Reader, uint64(number.UnixMilli()), 0, hello)
	must(w.client.t, err)
	return f1
}

// says brings the server a flight.
func (w *world) says(f1 []byte) net.Conn {
	w.client.t.Helper()
	conn := w.dial(w.client)
	_, err := conn.Write(f1)
	must(w.client.t, err)
	return conn
}

// answers reports whether the server answers what was said.
func (w *world) answers(conn net.Conn) bool {
	t := w.client.t
	t.Helper()
	defer conn.Close()
	must(t, conn.SetReadDeadline(time.Now().Add(patience)))
	n, err := io.ReadFull(conn, make([]byte, crypto.F2Size))
	if e, timeout := err.(net.Error); timeout && e.Timeout() {
		t.Errorf("the server lets the caller wait: %v", err)
	}
	if n != 0 && n != crypto.F2Size {
		t.Errorf("the server says %d bytes", n)
	}
	return n != 0
}

// TestStrongReplay plays a recorded flight again, to the server that has answered it,
// and after it was killed.
func TestStrongReplay(t *testing.T) {
	t.Parallel()
	w, _ := newStrongWorld(t)
	w.server.start()
	w.server.says("interface is up")
	older, f1 := w.strongFlight(time.Now().Add(-time.Minute)), w.strongFlight(time.Now())
	if !w.answers(w.says(f1)) {
		t.Fatal("a new flight is not answered")
	}
	silent := func(what string) {
		t.Helper()
		callers := map[string]net.Conn{
			"recorded":              w.says(f1),
			"older, never answered": w.says(older),
			"recorded, with more":   w.says(append(bytes.Clone(f1), make([]byte, 100)...)),
		}
		for name, conn := range callers {
			if w.answers(conn) {
				t.Errorf("%s: a flight is answered: %s", what, name)
			}
		}
		w.server.until("counting replays", func(r report) bool { return r.Refused["replay"] == 3 && r.Refused["door"] == 0 })
		w.server.says(`msg="caller refused".*transaction number \d+ is not greater than \d+: a recorded first flight, or the client has lost its numbers`)
	}
	silent("the same server")
	w.server.kill()
	w.server.start()
	w.server.says("interface is up")
	silent("after a kill")
	w.linked(w.client.start)
	w.client.stop()
	w.server.stop()
}

// TestStrongClock has a client whose clock is a year ahead, and then is not. It is
// locked out only when it loses its number as well, and then the server can tell it.
func TestStrongClock(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	w, link := newStrongWorld(t)
	wall := &clock{number: unix.CLOCK_REALTIME}
	wall.set(year)
	w.upWith(w.client, wall)
	w.linked(func() { wall.set(0); redial(w.client) })
	w.client.kill()
	w.linked(func() { wall.set(-year); w.client.startWith(wall) })
	w.client.kill()
	must(t, os.Remove(w.client.file("state/"+link+".number")))
	w.client.start()
	w.server.says(`caller refused.*client ` + link + `: transaction number`)
	e := w.server.run("--resync", "nobody", "-f", w.server.config())
	checkEnded(t, "another client", e, exit.Usage, `^vpnd: there is no client "nobody" here\n$`)
	if r := w.server.tells(); isUp(r) {
		t.Error("the server takes a number that is too low")
	}
	w.linked(func() {
		e := w.server.run("--resync", link, "-f", w.server.config())
		checkEnded(t, "resync", e, exit.OK, `^$`)
		if want := "client " + link + " is told its number if it calls until "; !strings.HasPrefix(e.stdout, want) {
			t.Errorf("it says %q, want %q", e.stdout, want)
		}
	})
	w.client.says("the server has told the last transaction number")
	w.linked(func() { w.client.kill(); w.client.start() }) // it remembers what it was told
	w.client.stop()
	w.server.stop()
}

// TestStrongBackup puts a client back to an old state. It comes back by itself, and
// the server says what that looks like.
func TestStrongBackup(t *testing.T) {
	t.Parallel()
	w, link := newStrongWorld(t)
	number := w.client.file("state/" + link + ".number")
	w.up()
	backup, err := os.ReadFile(number)
	must(t, err)
	w.linked(func() { w.client.kill(); w.client.start() })
	w.client.stop()
	must(t, os.WriteFile(number, backup, 0o600))
	later := &clock{number: unix.CLOCK_REALTIME}
	later.set(time.Hour)
	w.linked(func() { w.client.startWith(later) })
	w.server.says(copied + `" client=` + link + ` .*it does not remember its last call: its key is in use in a second place, or it was put back to an old state`)
	w.client.stop()
	w.server.stop()
}

// TestStrongClone calls with the same key from a second place.
func TestStrongClone(t *testing.T) {
	t.Parallel()
	w, link := newStrongWorld(t)
	w.up()
	w.client.stop()
	if strings.Contains(w.server.Stderr.String(), copied) {
		t.Errorf("the server says\n%s", w.server.Stderr)
	}
	must(t, os.Rename(w.client.file("state"), w.client.file("elsewhere")))
	w.linked(w.client.start)
	w.server.says(copied + `" client=` + link + ` peer=198\.51\.100\.1:\d+ cause="it remembers no call`)
	w.client.stop()
	w.server.stop()
}

// TestStrongDisk fills the disk with a server's numbers. It does not answer while it
// cannot remember, and goes on by itself.
func TestStrongDisk(t *testing.T) {
	t.Parallel()
	for _, trouble := range troubles {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			w, _ := newStrongWorld(t)
			d := newDisk(t, w.server.file("state"), "size=64k,nr_inodes=16")
			d.start(w.server)
			w.server.says("interface is up")
			trouble.cause(d)
			w.client.start()
			w.server.says(`msg="caller refused".*cause="client [0-9a-f]+: transaction number not stored: .*` + trouble.says + `: the caller is not answered"`)
			if r := w.server.tells(); isUp(r) || r.Refused["number"] == 0 {
				t.Errorf("the server answers: %+v", r)
			}
			d.mend()
			w.client.until("up", isUp)
			w.client.reaches(serverInner)
			w.client.stop()
			w.server.stop()
		})
	}
}

// TestStrongNumbersAtStart starts where the numbers cannot be kept, or are damaged.
func TestStrongNumbersAtStart(t *testing.T) {
	t.Parallel()
	w, link := newStrongWorld(t)
	must(t, os.Mkdir(w.server.file("state"), 0o700))
	must(t, os.Mkdir(w.client.file("state"), 0o700))
	must(t, os.WriteFile(w.server.file("state/server.numbers"), []byte("hello\n"), 0o600))
	e := w.server.run("-n", "-f", w.server.config())
	checkEnded(t, "damaged journal", e, exit.Unavailable, `(?m)^vpnd: transaction numbers \S+/state/server\.numbers: it does not begin with "vpnd-numbers-1\\n": put it back from a backup, or move it away`)
	must(t, os.Remove(w.server.file("state/server.numbers")))
	must(t, os.Mkdir(w.client.file("state/"+link+".number"), 0o700))
	e = w.client.run("-n", "-f", w.client.config())
	checkEnded(t, "no file", e, exit.Unavailable, `(?m)^vpnd: transaction number \S+\.number: open \S+: is a directory`)
	must(t, os.Remove(w.client.file("state/"+link+".number")))
	must(t, os.WriteFile(w.client.file("state/"+link+".number"), []byte("hello\n"), 0o600))
	w.up()
	w.client.says("the file of the transaction number was damaged: the clock gives the next one")
	w.server.says("transaction numbers begin anew: there is no file of them")
	w.client.stop()
	w.server.stop()
}

// TestResyncRefused asks for what cannot be.
func TestResyncRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	checkEnded(t, "no daemon", w.server.run("--resync", "x", "-f", w.server.config()), exit.Unavailable, `^vpnd: no answer from server: is vpnd running\?`)
	for _, name := range []string{"", "a\nb", strings.Repeat("x", 300)} {
		checkEnded(t, "bad name", w.server.run("--resync", name, "-f", w.server.config()), exit.Usage, `^vpnd: --resync needs the name of a client, or the id of its link\n$`)
	}
	w.server.start()
	w.server.says("interface is up")
	checkEnded(t, "shared keys", w.server.run("--resync", "x", "-f", w.server.config()), exit.Usage, `^vpnd: this is no server with strong keys`)
	w.server.stop()
}
