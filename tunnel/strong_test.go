package tunnel

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
	"vpnd/serial/serialtest"
	"vpnd/tunnel/number"
)

// strongLink is a link with strong keys, and what its two ends remember.
type strongLink struct {
	t              *testing.T
	dir            string
	server, client *crypto.StrongKey
	journal        *number.Journal
	numbers        *number.Client
	door           *StrongDoor
}

func newStrongLink(t *testing.T) *strongLink {
	t.Helper()
	l := &strongLink{t: t, dir: t.TempDir()}
	var err error
	if l.server, l.client, err = crypto.NewStrongPair(rand.Reader); err != nil {
		t.Fatal(err)
	}
	l.openServer()
	l.openClient()
	t.Cleanup(func() {
		l.journal.Close()
		l.numbers.Close()
	})
	return l
}

func (l *strongLink) path(name string) string { return filepath.Join(l.dir, name) }

// openServer is what a server does when it starts.
func (l *strongLink) openServer() {
	l.t.Helper()
	var err error
	if l.journal, err = number.OpenJournal(l.path("server.numbers"), time.Now); err != nil {
		l.t.Fatal(err)
	}
	l.door = NewStrongDoor(rand.Reader, l.server.Identity(), l.journal)
	l.know(Peer{"office", l.server.Peer().Public(), l.server.Secret()})
}

func (l *strongLink) know(peers ...Peer) {
	l.t.Helper()
	if err := l.door.SetPeers(peers); err != nil {
		l.t.Fatal(err)
	}
}

func (l *strongLink) openClient() {
	l.t.Helper()
	var err error
	if l.numbers, err = number.OpenClient(l.path("client"), number.ID(l.client.ID()), time.Now); err != nil {
		l.t.Fatal(err)
	}
}

// forget takes the client's memory away.
func (l *strongLink) forget() {
	l.t.Helper()
	l.numbers.Close()
	if err := os.RemoveAll(l.path("client")); err != nil {
		l.t.Fatal(err)
	}
	l.openClient()
}

// config is what both ends have in common.
func (l *strongLink) config() Config {
	c := testConfig(l.t)
	c.Keys, c.Door, c.Key = nil, l.door, NewStrongKey(rand.Reader, l.client, l.numbers)
	return c
}

// use gives a configuration for shared keys the strong ones.
func (l *strongLink) use(c *Config) {
	own := l.config()
	c.Keys, c.Door, c.Key = nil, own.Door, own.Key
}

// flight is a first flight with a number of its own.
func (l *strongLink) flight(call, before uint64) []byte {
	l.t.Helper()
	_, f1, err := crypto.InitiateStrong(l.client, rand.Reader, call, before, speaker(testConfig(l.t)).hello().append(nil))
	if err != nil {
		l.t.Fatal(err)
	}
	return f1
}

// ahead lets the server take a number that the client's clock reaches in an hour.
func (l *strongLink) ahead() {
	l.t.Helper()
	if _, err := l.journal.Accept(number.ID(l.client.ID()), number.Call{Number: uint64(time.Now().Add(time.Hour).UnixMilli())}); err != nil {
		l.t.Fatal(err)
	}
}

func TestStrongLink(t *testing.T) {
	sim(t, "tcp", func(t *testing.T) {
		l := newStrongLink(t)
		server, client, _ := simPair(t, l.config(), l.config())
		passes(t, server, client)
		for name, e := range map[string]*end{"server": server, "client": client} {
			if link := e.Stats().Link; link.KeyID != l.client.ID().String() || link.Client != "" {
				t.Errorf("%s: key %s, client %q", name, link.KeyID, link.Client)
			}
		}
		client.Redial()
		await(t, server.up, "second link")
		await(t, client.up, "second link")
		passes(t, server, client)
		server.log.says(t, 0, "copied")
	})
}

// TestStrongLine has strong keys on a line that loses the first flights: the client
// says the same bytes again, and draws one number. It has forgotten a call: that is
// reported once.
func TestStrongLine(t *testing.T) {
	sim(t, "line", func(t *testing.T) {
		l := newStrongLink(t)
		if _, err := l.journal.Accept(number.ID(l.client.ID()), number.Call{Number: 1000}); err != nil {
			t.Fatal(err)
		}
		line := newTappedLine(t, serialtest.Wire{}, l.use)
		line.toClient.lose, line.toServer.lose = 1, 2 // of the server a hail and its first answer
		line.server, line.client = start(t, line.config[0]), start(t, line.config[1])
		await(t, line.server.up, "link of the server")
		await(t, line.client.up, "link of the client")
		passes(t, line.server, line.client)
		line.server.log.says(t, 1, "it remembers no call")
		said := only(line.toClient.heard(), lineF1)
		if len(said) < 2 {
			t.Fatalf("%d first flights", len(said))
		}
		for i, f := range said {
			if !bytes.Equal(f, said[0]) {
				t.Errorf("first flight %d is another one", i)
			}
		}
		// The server starts anew: its hail brings the client back.
		line.server.stop(t)
		l.journal.Close()
		l.openServer()
		l.use(&line.config[0])
		line.server = start(t, line.config[0])
		await(t, line.server.up, "link of the new server")
		passes(t, line.server, line.client)
	})
}

// TestStrongPeers changes who is known while the server runs.
func TestStrongPeers(t *testing.T) {
	sim(t, "server", func(t *testing.T) {
		l := newStrongLink(t)
		e, r := simServer(t, l.config())
		calls := func(what string, want int) {
			t.Helper()
			conn := r.caller(t)
			defer conn.Close()
			conn.Write(l.flight(uint64(time.Now().UnixMilli()), 0))
			synctest.Wait()
			if n := conn.peer.written(); n != want {
				t.Errorf("%s: %d bytes, want %d", what, n, want)
			}
			time.Sleep(time.Minute)
		}
		own := Peer{"office", l.server.Peer().Public(), l.server.Secret()}
		other, _, err := crypto.NewStrongPair(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		branch := Peer{"branch", other.Peer().Public(), other.Secret()}
		calls("known", crypto.F2Size)
		l.know(branch)
		calls("taken away", 0)
		l.know(branch, own)
		calls("back again", crypto.F2Size)
		for name, peers := range map[string][]Peer{
			"name":           {branch, {"branch", own.Public, own.Secret}},
			"key":            {own, {"branch", own.Public, branch.Secret}},
			"key and secret": {own, own},
		} {
			if err := l.door.SetPeers(peers); err == nil {
				t.Errorf("two peers with the same %s are accepted", name)
			}
		}
		calls("after a mistake", crypto.F2Size)
		l.know(Peer{"office", own.Public, branch.Secret})
		conn := r.caller(t)
		defer conn.Close()
		i, f1, err := l.config().Key.Initiate(speaker(l.config()).hello().append(nil))
		if err != nil {
			t.Fatal(err)
		}
		f2 := make([]byte, crypto.F2Size)
		conn.Write(f1)
		if _, err := io.ReadFull(conn, f2); err != nil {
			t.Fatal(err)
		}
		if _, _, err := i.Finish(f2); !errors.Is(err, crypto.ErrAuth) {
			t.Errorf("an answer with another secret: %v", err)
		}
		if n := e.Stats().Refused["door"]; n != 1 {
			t.Errorf("%d callers are strangers, want 1", n)
		}
	})
}

// TestStrongPeersMeanwhile takes a peer away, or gives it another secret, while its
// flight is being opened.
func TestStrongPeersMeanwhile(t *testing.T) {
	l := newStrongLink(t)
	own := Peer{"office", l.server.Peer().Public(), l.server.Secret()}
	changed := Peer{"office", own.Public, must(crypto.NewSecret(rand.Reader))}
	var next []Peer
	l.door.door = crypto.NewStrongDoor(rand.Reader, l.server.Identity(), func(id crypto.KeyID) *crypto.Peer {
		peer := (*l.door.peers.Load())[id].peer
		l.know(next...)
		return peer
	})
	for name, peers := range map[string][]Peer{"taken away": nil, "another secret": {changed}} {
		l.know(own)
		next = peers
		if _, err := l.door.Open(l.flight(1000, 0)); !errors.Is(err, crypto.ErrAuth) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if n := l.journal.Last(number.ID(l.client.ID())); n != 0 {
		t.Errorf("number %d was taken", n)
	}
}

// TestStrongOvertaken has two calls of a client change places on the way: neither is
// answered that was not before, and the log does not take the client for an enemy.
func TestStrongOvertaken(t *testing.T) {
	const recorded, overtaken = "a recorded first flight", "a later call of the client has overtaken it"
	for name, test := range map[string]struct {
		call uint64 // after 999, 1000 and 6000 have been taken
		says string
	}{
		"overtaken":         {5000, overtaken},
		"the later again":   {6000, recorded},
		"the earlier again": {1000, recorded},
		"an old one":        {999, recorded},
	} {
		sim(t, name, func(t *testing.T) {
			l := newStrongLink(t)
			e, r := simServer(t, l.config())
			for i, call := range []uint64{999, 1000, 6000, test.call} {
				conn := r.caller(t)
				conn.Write(l.flight(call, 0))
				synctest.Wait()
				if n := conn.peer.written(); (n == 0) != (i == 3) {
					t.Errorf("call %d draws %d bytes", call, n)
				}
			}
			e.log.says(t, 1, "is not greater than 6000: "+test.says)
			if n := e.Stats().Refused["replay"]; n != 1 {
				t.Errorf("%d are counted", n)
			}
		})
	}
}

// TestStrongDoubtOvertaken has the first calls of a client that was put back change places
// on the way. The one that gives it away is not answered, and is not passed over.
func TestStrongDoubtOvertaken(t *testing.T) {
	for name, before := range map[string]uint64{"forgotten": 0, "an old time": 999} {
		sim(t, name, func(t *testing.T) {
			l := newStrongLink(t)
			e, r := simServer(t, l.config())
			for i, f1 := range [][]byte{l.flight(1000, 0), l.flight(6001, 6000), l.flight(6002, 6001), l.flight(6000, before)} {
				conn := r.caller(t)
				conn.Write(f1)
				synctest.Wait()
				if n := conn.peer.written(); (n == 0) != (i == 3) {
					t.Errorf("call %d draws %d bytes", i+1, n)
				}
			}
			e.log.says(t, 1, "a key may have been copied")
			e.log.says(t, 1, "a later call of the client has overtaken it")
		})
	}
}

// TestStrongDoubtUnstored has a server that cannot store the one call which shows an old
// memory: it is refused, and tells all the same.
func TestStrongDoubtUnstored(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		l := newStrongLink(t)
		e, r := simServer(t, l.config())
		call := func(f1 []byte, want int) {
			t.Helper()
			conn := r.caller(t)
			conn.Write(f1)
			synctest.Wait()
			if n := conn.peer.written(); n != want {
				t.Errorf("%d bytes, want %d", n, want)
			}
		}
		call(l.flight(1000, 0), crypto.F2Size)
		l.journal.Close()
		call(l.flight(2000, 999), 0)
		e.log.says(t, 1, "a key may have been copied")
	})
}

// TestStrongSlowDisk gives up the first attempt of a client while its number is being
// stored. The flight leaves all the same.
func TestStrongSlowDisk(t *testing.T) {
	sim(t, "client", func(t *testing.T) {
		c, r := newStrongLink(t).config(), newRoad()
		c.Key, c.Servers = &slowDisk{Key: c.Key}, []Dial{r.dial}
		start(t, c)
		conn := await(t, r.arrived, "caller").(*pipeEnd)
		defer conn.Close()
		time.Sleep(time.Second)
		if n := conn.peer.written(); n != crypto.F1Size {
			t.Errorf("the client says %d bytes", n)
		}
	})
}

// slowDisk is a client's key whose first number takes long to be stored.
type slowDisk struct {
	Key
	asked atomic.Bool
}

func (k *slowDisk) Initiate(hello []byte) (i *crypto.Initiator, f1 []byte, err error) {
	i, f1, err = k.Key.Initiate(hello)
	if !k.asked.Swap(true) {
		time.Sleep(700 * time.Millisecond)
	}
	return i, f1, err
}

// TestStrongDoubt calls from the memory of an earlier time, and from none.
func TestStrongDoubt(t *testing.T) {
	for name, test := range map[string]struct {
		before uint64
		says   int
		why    string
	}{
		"remembers":   {1000, 0, "copied"},
		"forgotten":   {0, 1, `cause="it remembers no call: its numbers were lost, or its key is in use in a second place"`},
		"an old time": {999, 1, `cause="it does not remember its last call: its key is in use in a second place, or it was put back to an old state"`},
	} {
		sim(t, name, func(t *testing.T) {
			l := newStrongLink(t)
			e, r := simServer(t, l.config())
			for _, f1 := range [][]byte{l.flight(1000, 0), l.flight(2000, test.before)} {
				conn := r.caller(t)
				conn.Write(f1)
				synctest.Wait()
				if n := conn.peer.written(); n != crypto.F2Size {
					t.Errorf("%d bytes, want an answer", n)
				}
				conn.Close()
				time.Sleep(time.Minute)
			}
			e.log.says(t, test.says, test.why)
		})
	}
}
