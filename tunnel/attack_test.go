package tunnel

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"testing"
	"testing/synctest"
	"unsafe"

	"vpnd/crypto"
)

// attacks are what enemies can do to a link, by kind, with the number of cases.
type attacks []struct {
	name  string
	cases int
	run   func(a *attack)
}

// attack counts what comes of one kind of attack.
type attack struct {
	t       *testing.T
	ctx     context.Context // bears the attack's name
	cases   int
	refused int
	written int           // bytes to the TUN devices, because of the attack
	devices []*fakeDevice // of those who are attacked
	before  int           // bytes that they had before it
	after   func() error  // sees what else it did; nil: nothing to see
}

// TestAttacks tries everything that somebody in the middle can do to the bytes of
// a link, and what somebody with the key can do beside one. Run with -v it gives
// the figures of each kind and of all.
func TestAttacks(t *testing.T) {
	slices.Concat(flightAttacks, callerAttacks, answerAttacks, frameAttacks, streamAttacks, replayAttacks, rekeyAttacks, counterAttacks).run(t)
}

func (all attacks) run(t *testing.T) {
	// A crash names its case.
	t.Setenv("GODEBUG", "tracebacklabels=1")
	debug.SetTraceback("all")
	defer debug.SetTraceback("single")
	cases, refused, written := 0, 0, 0
	for _, kind := range all {
		sim(t, kind.name, func(t *testing.T) {
			a := &attack{t: t}
			pprof.Do(t.Context(), pprof.Labels("attack", kind.name), func(ctx context.Context) {
				a.ctx = ctx
				kind.run(a)
			})
			if a.cases != kind.cases {
				t.Errorf("%d cases, want %d", a.cases, kind.cases)
			}
			t.Logf("%d cases, %d refused, %d bytes to the TUN device", a.cases, a.refused, a.written)
			cases, refused, written = cases+a.cases, refused+a.refused, written+a.written
		})
	}
	t.Logf("all attacks: %d cases, %d refused, %d bytes to the TUN device", cases, refused, written)
}

// maxFailures is how many cases of a kind may go wrong before the others are not
// tried any more.
const maxFailures = 10

// try runs one case, whose result says in which way it was not refused. Whatever
// comes of it in the meantime bears the name of the case.
func (a *attack) try(name string, f func() error) {
	a.t.Helper()
	a.cases++
	failed, done := a.t.Failed(), false
	defer func() {
		if !done || a.t.Failed() && !failed {
			a.t.Logf("this was the case %q", name)
		}
	}()
	var err error
	pprof.Do(a.ctx, pprof.Labels("case", name), func(context.Context) {
		a.mark()
		err = f()
		synctest.Wait()
	})
	if n := a.bytes() - a.before; n != 0 {
		a.written += n
		err = errors.Join(err, fmt.Errorf("%d bytes were written to the TUN device", n))
	}
	if a.after != nil {
		err = errors.Join(err, a.after())
	}
	done = true
	switch {
	case err != nil:
		a.t.Errorf("%s: %v", name, err)
	case a.t.Failed() == failed:
		a.refused++
	}
	if a.cases-a.refused >= maxFailures {
		a.t.FailNow()
	}
}

// mark says that what came to the TUN devices so far came from honest peers.
func (a *attack) mark() { a.before = a.bytes() }

func (a *attack) bytes() (n int) {
	for _, d := range a.devices {
		n += int(d.wrote.Load())
	}
	return n
}

// cause compares the cause of an end with what it should be.
func cause(got error, want string) error {
	if got == nil || got.Error() != want {
		return fmt.Errorf("cause is %q, want %q", got, want)
	}
	return nil
}

// field returns a field of a structure of another package, for what no test can
// reach otherwise: a copy of unused keys, a counter near its end.
func field[T any](of any, name string) *T {
	return (*T)(unsafe.Pointer(reflect.ValueOf(of).Elem().FieldByName(name).UnsafeAddr()))
}

// again returns a copy of a generation whose keys are not in use. The handshake
// is what is slow in a session.
func again(g *crypto.Generation) *crypto.Generation {
	g2 := *g
	for _, name := range []string{"send", "receive", "secret"} {
		chain := field[*[32]byte](&g2, name)
		own := **chain
		*chain = &own
	}
	return &g2
}

// siege is a server under attack that has a link which must not notice.
type siege struct {
	*attack
	config         Config
	road           *road
	server, client *end
	was            Stats // of the server
}

// besiege makes a server with a link, and looks after it at the end of each case.
func besiege(a *attack, ciphers ...crypto.Cipher) *siege {
	a.t.Helper()
	c := testConfig(a.t)
	c.Ciphers = ciphers
	server, r := simServer(a.t, c)
	return link(a, c, server, r)
}

// link makes the link of a server that is there.
func link(a *attack, c Config, server *end, r *road) *siege {
	a.t.Helper()
	s := &siege{attack: a, config: c, server: server, road: r}
	c.Servers = []Dial{r.dial}
	s.client = start(a.t, c)
	await(a.t, server.up, "link of the server")
	await(a.t, s.client.up, "link of the client")
	s.was = server.Stats()
	a.devices = []*fakeDevice{server.device, s.client.device}
	a.after = s.disturbed
	return s
}

// disturbed says what happened to the link.
func (s *siege) disturbed() error {
	passes(s.t, s.server, s.client)
	for _, e := range []*end{s.server, s.client} {
		if st := e.Stats(); st.State != "up" || len(e.up)+len(e.down) != 0 {
			return fmt.Errorf("the link was disturbed: %+v", st)
		}
	}
	if st := s.server.Stats(); st.Links != s.was.Links || st.Link.Peer != s.was.Link.Peer {
		return fmt.Errorf("the link is number %d, with %s, was number %d, with %s", st.Links, st.Link.Peer, s.was.Links, s.was.Link.Peer)
	}
	return nil
}
