package tunnel

import (
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"vpnd/crypto"
	"vpnd/serial/serialtest"
	"vpnd/tunnel/number"
)

// TestStrongTold has a client that the server does not know any more how to answer,
// until somebody lets it be told its number. It calls again soon, and remembers.
func TestStrongTold(t *testing.T) {
	for name, ends := range map[string]func(t *testing.T, l *strongLink) (server, client *end){
		"tcp": func(t *testing.T, l *strongLink) (server, client *end) {
			server, r := simServer(t, l.config())
			c := l.config()
			c.Servers = []Dial{r.dial}
			return server, start(t, c)
		},
		"line": func(t *testing.T, l *strongLink) (server, client *end) {
			line := newTappedLine(t, serialtest.Wire{}, l.use)
			line.server, line.client = start(t, line.config[0]), start(t, line.config[1])
			return line.server, line.client
		},
	} {
		sim(t, name, func(t *testing.T) {
			l := newStrongLink(t)
			l.ahead()
			server, client := ends(t, l)
			settled(time.Minute)
			if s, c := server.Stats(), client.Stats(); s.Links+c.Links != 0 || s.Refused["replay"] == 0 {
				t.Fatalf("a number that is too low: %+v, %+v", s, c)
			}
			if _, err := l.door.Resync("nobody"); err == nil {
				t.Error("somebody may be told who is not there")
			}
			if until, err := l.door.Resync(l.client.ID().String()); err != nil || until.Sub(time.Now()) != resyncTime {
				t.Fatalf("until %v, %v", until, err)
			}
			replays := server.Stats().Refused["replay"]
			for range 180 {
				if settled(time.Second); strings.Contains(client.log.String(), errTold.Error()) {
					break
				}
			}
			if n := server.Stats().Refused["replay"]; n <= replays {
				t.Error("the client that was told is not counted")
			}
			began := time.Now()
			await(t, client.up, "link")
			await(t, server.up, "link")
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("the client came back %v after it was told", took)
			}
			passes(t, server, client)
			server.log.says(t, 1, `msg="a client is told its transaction number" client=office`)
			if last, c := l.journal.Last(number.ID(l.client.ID())), must(l.numbers.Next()); c.Before < last {
				t.Errorf("the client's last number is %d, the server's %d", c.Before, last)
			}
		})
	}
}

// must returns a value that cannot be missing.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestStrongNotStored has a server that cannot keep a number: it says nothing, and
// goes on when it can.
func TestStrongNotStored(t *testing.T) {
	for name, line := range map[string]bool{"tcp": false, "line": true} {
		sim(t, name, func(t *testing.T) {
			l := newStrongLink(t)
			elsewhere := l.path("server.numbers.new")
			if err := os.Mkdir(elsewhere, 0o700); err != nil { // in the place of a file
				t.Fatal(err)
			}
			var server, client *end
			if line {
				tap := newTappedLine(t, serialtest.Wire{}, l.use)
				tap.server, tap.client = start(t, tap.config[0]), start(t, tap.config[1])
				server, client = tap.server, tap.client
			} else {
				var r *road
				server, r = simServer(t, l.config())
				c := l.config()
				c.Servers = []Dial{r.dial}
				client = start(t, c)
			}
			settled(9 * time.Second)
			if s := server.Stats(); s.Links != 0 || s.Refused["terms"]+s.Refused["door"] != 0 {
				t.Errorf("state is %+v", s)
			}
			settled(30 * time.Second)
			if s := server.Stats(); s.Links != 0 || s.Refused["number"] == 0 {
				t.Errorf("state is %+v", s)
			}
			if log := server.log.String(); !strings.Contains(log, "client office: transaction number not stored") {
				t.Errorf("log is\n%s", log)
			}
			if err := os.Remove(elsewhere); err != nil {
				t.Fatal(err)
			}
			await(t, server.up, "link of the server")
			await(t, client.up, "link of the client")
		})
	}
}

// TestStrongNoNumber has a client that cannot keep a number: it does not call.
func TestStrongNoNumber(t *testing.T) {
	for name, line := range map[string]bool{"tcp": false, "line": true} {
		sim(t, name, func(t *testing.T) {
			l := newStrongLink(t)
			l.numbers.Close()
			var client *end
			if line {
				tap := newTappedLine(t, serialtest.Wire{}, l.use)
				tap.client = start(t, tap.config[1])
				client = tap.client
				settled(time.Minute)
				if n := tap.toClient.spoken(); n != 0 {
					t.Errorf("the client says %d bytes", n)
				}
			} else {
				c := l.config()
				r := newRoad()
				c.Servers = []Dial{r.dial}
				client = start(t, c)
				conn := await(t, r.arrived, "caller").(*pipeEnd)
				defer conn.Close()
				settled(time.Minute)
				if n := conn.peer.written(); n != 0 {
					t.Errorf("the client says %d bytes", n)
				}
			}
			if reason := client.Stats().Reason; !strings.Contains(reason, "transaction number not stored") {
				t.Errorf("reason is %q", reason)
			}
			l.openClient() // so that it can be closed
		})
	}
}

// TestStrongToldInVain has a client that cannot keep the number that it is told.
func TestStrongToldInVain(t *testing.T) {
	sim(t, "client", func(t *testing.T) {
		l := newStrongLink(t)
		c := l.config()
		c.Key = forgetful{c.Key}
		tunnel := speaker(c)
		tunnel.key = c.Key
		for name, test := range map[string]struct {
			a    answer
			want error
		}{
			"told":    {vectorTold(t), errTest},
			"refused": {answer{reason: reasonCipher, number: 7}, nil},
		} {
			if err := judge(tunnel.key, tunnel.hello(), test.a); err == nil || errors.Is(err, errTold) || test.want != nil && err != test.want {
				t.Errorf("%s: error %v, want %v", name, err, test.want)
			}
		}
	})
}

type forgetful struct{ Key }

func (forgetful) Raise(uint64) error { return errTest }

// TestStrongToldStays lets callers who are told their number fill the room of those who
// have shown a good flight: they are strangers.
func TestStrongToldStays(t *testing.T) {
	sim(t, "server", func(t *testing.T) {
		l := newStrongLink(t)
		e, r := simServer(t, l.config())
		own := r.caller(t)
		defer own.Close()
		own.Write(l.flight(uint64(time.Now().Add(time.Hour).UnixMilli()), 0))
		synctest.Wait()
		if _, err := l.door.Resync("office"); err != nil {
			t.Fatal(err)
		}
		for range lobbyKnown + 10 {
			conn := r.caller(t)
			defer conn.Close()
			conn.Write(l.flight(1, 0))
		}
		synctest.Wait()
		if n := e.Stats().Refused["crowd"]; n != 0 {
			t.Errorf("%d callers had to make room", n)
		}
		settled(time.Minute)
	})
}

// TestLineStranger sees that flights of nobody are counted and not logged: noise makes
// them, too.
func TestLineStranger(t *testing.T) {
	sim(t, "server", func(t *testing.T) {
		l := newStrongLink(t)
		line := newTappedLine(t, serialtest.Wire{}, l.use)
		line.server = start(t, line.config[0])
		settled(moment)
		line.toServer.play(handshakeFrame(lineF1, make([]byte, crypto.F1Size)))
		settled(time.Second)
		if n := line.server.Stats().Refused["door"]; n != 1 {
			t.Errorf("%d callers are strangers, want 1", n)
		}
		line.server.log.says(t, 0, "caller refused")
	})
}

// TestHailWithoutRandomBytes has a server on a line that cannot make a hail.
func TestHailWithoutRandomBytes(t *testing.T) {
	for name, change := range map[string]func(*Config, *strongLink){
		"shared": func(c *Config, _ *strongLink) { c.Random = iotest.ErrReader(errTest) },
		"strong": func(c *Config, l *strongLink) {
			c.Keys, c.Door = nil, NewStrongDoor(iotest.ErrReader(errTest), l.server.Identity(), l.journal)
		},
	} {
		sim(t, name, func(t *testing.T) {
			l := newStrongLink(t)
			line := newTappedLine(t, serialtest.Wire{}, func(c *Config) { change(c, l) })
			line.server = start(t, line.config[0])
			settled(time.Minute)
			if n, reason := line.toServer.spoken(), line.server.Stats().Reason; n != 0 || !strings.Contains(reason, errTest.Error()) {
				t.Errorf("%d bytes, reason %q", n, reason)
			}
		})
	}
}

// TestStrongTells wants each end's look at what the other one cannot say.
func TestStrongTells(t *testing.T) {
	l := newStrongLink(t)
	if err := (sharedKey{}).Raise(1); err == nil {
		t.Error("a shared key has a number")
	}
	if hails, err := l.door.Hails(); err != nil || len(hails) != 1 || !l.config().Key.Hails(hails[0]) {
		t.Errorf("hails %x, %v", hails, err)
	}
	hail := must(testKey(t, 1).Hail(rand.Reader))
	if l.config().Key.Hails(hail) {
		t.Error("the hail of another key is taken")
	}
	if _, err := l.door.Open(l.flight(5, 5)); err == nil || errors.Is(err, crypto.ErrAuth) || errors.Is(err, crypto.ErrReplay) {
		t.Errorf("a call that remembers its own number: %v", err)
	}
}

// TestStrongRaise raises a number that cannot be kept, and one that is not there.
func TestStrongRaise(t *testing.T) {
	l := newStrongLink(t)
	key := l.config().Key
	if err := key.Raise(7); err != nil {
		t.Error(err)
	}
	l.numbers.Close()
	defer l.openClient() // so that it can be closed
	if err := key.Raise(uint64(time.Now().Add(time.Hour).UnixMilli())); err == nil {
		t.Error("a number is raised that is not stored")
	}
	if err := NewMeshKey(rand.Reader, l.client).Raise(7); err == nil {
		t.Error("a gateway of a mesh has a number")
	}
}

// TestMeshOrder opens the calls of a gateway, which have no numbers, in the order in which
// they come.
func TestMeshOrder(t *testing.T) {
	w := newMesh(t, 2)
	one, two, secret := w.gateway(1), w.gateway(2), w.secret(1, 2)
	key := NewMeshKey(rand.Reader, must(crypto.NewCallKey(one.own, two.own.Public(), secret)))
	if err := two.door.SetPeers([]Peer{{"one", one.own.Public(), secret}}); err != nil {
		t.Fatal(err)
	}
	for order := range uint64(3) {
		_, f1, err := key.Initiate(nil)
		if err != nil {
			t.Fatal(err)
		}
		if call, err := two.door.Open(f1); err != nil || call.Order != order+1 {
			t.Errorf("call %d: %+v, %v", order+1, call, err)
		}
	}
}
