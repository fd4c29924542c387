package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/conf"
	"vpnd/crypto"
	"vpnd/tunnel"
)

// rosterBench is a roster without a hub.
type rosterBench struct {
	*roster
	t        *testing.T
	dir      string
	reserved []netip.Addr
	fails    error // of admit
	unrouted error // of admit
	came     chan []member
	log      *journal
}

// journal is a log.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// says returns how often the log has a text.
func (j *journal) says(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), text)
}

func newRosterBench(t *testing.T) *rosterBench {
	b := &rosterBench{t: t, dir: t.TempDir(), came: make(chan []member, 100), log: &journal{}}
	c := &conf.Config{Peers: b.dir, Pool: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}, Local: []netip.Addr{netip.MustParseAddr("10.9.0.1")}}
	b.roster = &roster{
		config:  func() *conf.Config { return c },
		reserve: func(list []netip.Addr) { b.reserved = list },
		take: func(name string) ([]netip.Addr, error) {
			if name == "last" {
				return nil, errors.New("no address is free")
			}
			return []netip.Addr{netip.MustParseAddr("10.9.0.99")}, nil
		},
		admit: func(list []member) (unrouted, err error) {
			b.came <- list
			return b.unrouted, b.fails
		},
		log: slog.New(slog.NewTextHandler(b.log, nil)),
	}
	return b
}

// keys returns the lines of a client's file that hold new keys.
func (b *rosterBench) keys() string {
	b.t.Helper()
	id, err := crypto.NewIdentity(rand.Reader)
	must(b.t, err)
	secret, err := crypto.NewSecret(rand.Reader)
	must(b.t, err)
	return fmt.Sprintf("publickey %v\nsecret %s\n", id.Public(), secret.Text())
}

// put writes a client's file as one should, beside its place.
func (b *rosterBench) put(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.dir, name+".peer")
	must(b.t, os.WriteFile(path+".new", []byte(text), 0o600))
	must(b.t, os.Rename(path+".new", path))
}

// lets waits until just these clients are let in.
func (b *rosterBench) lets(want ...string) []member {
	b.t.Helper()
	for limit := time.After(patience); ; {
		select {
		case list := <-b.came:
			var names []string
			for _, m := range list {
				names = append(names, m.Name)
			}
			if slices.Equal(names, want) {
				return list
			}
		case <-limit:
			b.t.Fatalf("%q are not let in", want)
		}
	}
}

func TestRoster(t *testing.T) {
	b := newRosterBench(t)
	b.look(false)
	b.lets()
	b.put("ann", b.keys()+"address 10.9.0.5\nsubnet 10.5.0.0/16\nmaxrate 800\n")
	b.put("bob", b.keys())
	b.look(false)
	list := b.lets("ann", "bob")
	ann, bob := list[0], list[1]
	if fmt.Sprint(ann.Addrs, ann.Subnets, ann.Rate, bob.Addrs, bob.Rate) != "[10.9.0.5] [10.5.0.0/16] 100000 [10.9.0.99] 0" {
		t.Errorf("clients are %+v and %+v", ann, bob)
	}
	if known := crypto.NewPeer(ann.public, ann.secret); ann.Key == bob.Key || ann.Key != known.ID() || !ann.Proof.Same(known) {
		t.Errorf("keys are %v and %v", ann.Key, bob.Key)
	}
	if fmt.Sprint(b.reserved) != "[10.9.0.1 10.9.0.5]" {
		t.Errorf("reserved are %v", b.reserved)
	}
	b.look(false)
	if len(b.came) > 0 {
		t.Error("files that did not change are read again")
	}
	b.look(true)
	b.lets("ann", "bob")
	b.put("bob", b.keys()+"enabled off\n")
	b.look(false)
	b.lets("ann")
	must(t, os.Remove(filepath.Join(b.dir, "ann.peer")))
	b.look(false)
	b.lets()
}

// TestRosterSees has changes of a file that its size, mode and time do not show.
func TestRosterSees(t *testing.T) {
	when := time.Unix(1e9, 0)
	for _, tt := range []struct {
		name          string
		before, after func(b *rosterBench, path string) error
		was, now      []string
		ticks         bool // only the clock of files shows it
	}{
		{"the owner becomes the right one",
			func(_ *rosterBench, path string) error { return os.Chown(path, 1234, -1) },
			func(_ *rosterBench, path string) error { return os.Chown(path, os.Geteuid(), -1) }, nil, []string{"ann"}, false},
		{"the owner becomes another one", nil,
			func(_ *rosterBench, path string) error { return os.Chown(path, 1234, -1) }, []string{"ann"}, nil, false},
		{"another file of that time", nil, func(b *rosterBench, path string) error {
			next := path + ".next"
			return errors.Join(os.WriteFile(next, []byte(b.keys()), 0o600), os.Chtimes(next, when, when), os.Rename(next, path))
		}, []string{"ann"}, []string{"ann"}, false},
		{"written in place, with the time of before", nil, func(b *rosterBench, path string) error {
			return errors.Join(os.WriteFile(path, []byte(b.keys()), 0o600), os.Chtimes(path, when, when))
		}, []string{"ann"}, []string{"ann"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newRosterBench(t)
			b.put("ann", b.keys())
			path := filepath.Join(b.dir, "ann.peer")
			if tt.before != nil {
				must(t, tt.before(b, path))
			}
			must(t, os.Chtimes(path, when, when))
			b.look(false)
			b.lets(tt.was...)
			for limit := time.Now().Add(patience); ; {
				must(t, tt.after(b, path))
				b.look(false)
				if len(b.came) > 0 {
					break
				}
				if !tt.ticks || time.Now().After(limit) {
					t.Fatal("the change is not seen")
				}
			}
			b.lets(tt.now...)
		})
	}
}

// TestRosterMistakes has clients that cannot be let in beside one that can.
func TestRosterMistakes(t *testing.T) {
	b := newRosterBench(t)
	good := b.keys()
	b.put("good", good)
	b.put("last", b.keys())
	b.put("one", strings.Replace(b.keys(), "publickey public:", "publickey private:", 1))
	b.put("two", strings.Replace(b.keys(), "secret:", "public:", 1))
	b.put("twin", good)
	b.put("zero", "hello")
	for range 3 {
		b.look(true)
		b.lets("good")
	}
	for _, want := range []string{
		"/last.peer: no address is free",
		"/one.peer:1: publickey: this is a private key: the public key belongs here",
		"/two.peer:2: secret: this is a public key: the shared secret belongs here",
		"/twin.peer:1: publickey: " + b.dir + "/good.peer:1 has the same key",
		"/zero.peer:1: hello: unknown keyword",
	} {
		if n := b.log.says(want); n != 1 {
			t.Errorf("the log says %d times %q", n, want)
		}
	}
	b.fails = errors.New("no room")
	b.look(true)
	if b.log.says("no room") != 1 {
		t.Error("the log does not say why they are not let in")
	}
	must(t, os.RemoveAll(b.dir))
	b.lets("good")
	b.look(false)
	if len(b.came) > 0 || b.log.says("no such file") != 1 {
		t.Error("without the directory, clients change")
	}
}

// TestRosterRun looks by itself.
func TestRosterRun(t *testing.T) {
	b := newRosterBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.run(ctx)
	}()
	b.lets()
	b.put("ann", b.keys())
	began := time.Now()
	b.lets("ann")
	must(t, os.Remove(filepath.Join(b.dir, "ann.peer")))
	b.lets()
	t.Logf("in and out took %v", time.Since(began))
	cancel()
	<-done
}

// TestRosterAgain lets clients in that could not be let in at first, though their files
// do not change.
func TestRosterAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRosterBench(t)
		b.put("ann", b.keys())
		b.fails = errors.New("a route is in the way")
		b.look(false)
		b.lets("ann")
		time.Sleep(againAfter / 2)
		b.look(false)
		if len(b.came) > 0 {
			t.Error("files are read again too soon")
		}
		time.Sleep(againAfter / 2)
		b.fails = nil
		b.look(false)
		b.lets("ann")
		time.Sleep(2 * againAfter)
		b.look(false)
		if len(b.came) > 0 || b.log.says("a route is in the way") != 1 {
			t.Error("files that count are read again")
		}
	})
}

// TestRosterUnroutedAll has one cause keep the routes to all clients away: it is told once.
func TestRosterUnroutedAll(t *testing.T) {
	b := newRosterBench(t)
	b.put("ann", b.keys())
	cause := errors.New("the interface is not available")
	b.unrouted = errors.Join(cause, cause, errors.New("a route is in the way"), cause)
	b.look(false)
	for text, want := range map[string]int{"not available": 1, "in the way": 1} {
		if n := b.log.says(text); n != want {
			t.Errorf("the log says %d times %q, want %d", n, text, want)
		}
	}
}

// TestRosterUnrouted lets a client in that there is no route to, and sets that when it can
// be had.
func TestRosterUnrouted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRosterBench(t)
		b.put("ann", b.keys())
		b.unrouted = errors.New("a route is in the way")
		b.look(false)
		b.lets("ann")
		for range 3 {
			time.Sleep(againAfter)
			b.look(false)
			b.lets("ann")
		}
		for text, want := range map[string]int{"no route to a client": 1, "a route is in the way": 1, "client not let in": 0, "clients": 1} {
			if n := b.log.says(text); n != want {
				t.Errorf("the log says %d times %q, want %d", n, text, want)
			}
		}
		b.unrouted = nil
		time.Sleep(againAfter)
		b.look(false)
		b.lets("ann")
		time.Sleep(2 * againAfter)
		b.look(false)
		if len(b.came) > 0 || b.log.says("clients") != 2 {
			t.Error("files that count are read again")
		}
	})
}

// TestHubLinkUp has a link of a hub come while the host's routes are being changed,
// which takes as long as the disk does: all other clients would wait for that.
func TestHubLinkUp(t *testing.T) {
	d := &daemon{log: slog.New(slog.DiscardHandler)} // without a host to ask
	d.conf.Store(&conf.Config{Mode: conf.Server, Pool: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}, Server: []conf.Endpoint{{Port: 379}}})
	d.hooks = newHooks(d.conf.Load, func() string { return "tun0" }, d.log)
	d.linkUp(tunnel.Link{Name: "ann", Peer: "192.0.2.1:5000"})
}
