package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/lobby"
	"vpnd/tunnel/loglimit"
)

const (
	// lobbyTimeout is how long a caller has for the whole handshake, and how long
	// one that failed is kept without a word.
	lobbyTimeout = 10 * time.Second
	// lobbySize is how many callers may be unproven at a time, and lobbyKnown how
	// many of them may have shown a good first flight. A round trip later those are
	// through; strangers are more, and cost less.
	lobbySize  = 256
	lobbyKnown = 64
	// lobbyExit is how many more may be on their way out. The next one waits until one
	// has closed.
	lobbyExit = 32
	// firstWindow is more than kernels let a caller send before anything is read.
	firstWindow = 256 << 10
	// acceptPause is the wait after the listener failed, for lack of file
	// descriptors as a rule.
	acceptPause = 100 * time.Millisecond
)

// serve takes callers until ctx ends.
func (t *Tunnel) serve(ctx context.Context) error {
	strangers, doorway := lobby.New(lobbySize-lobbyKnown, lobbyKnown), make(chan struct{}, lobbySize+lobbyExit)
	stop := context.AfterFunc(ctx, func() { t.config.Listener.Close() })
	defer stop()
	var trouble loglimit.Limit
	var callers sync.WaitGroup
	defer callers.Wait()
	life, end := context.WithCancelCause(ctx)
	defer end(errShutdown) // callers do not outlive the listener
	for {
		conn, err := t.config.Listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listener: %w", err)
		case err != nil:
			trouble.Warn(t.config.Log, "accept", "error", err)
			pause(ctx, acceptPause)
			continue
		}
		doorway <- struct{}{}
		callers.Go(func() {
			leave := sync.OnceFunc(func() { <-doorway })
			defer leave()
			t.receiveCaller(life, strangers, conn, leave)
		})
	}
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// caller is one connection on its way through the handshake.
type caller struct {
	*Tunnel
	conn  net.Conn
	known func()          // tells the lobby that the first flight opened
	limit context.Context // ends with the time for the handshake
}

// errCrowd says that a caller had to give way to others.
var errCrowd = errors.New("too many callers at once")

// receiveCaller carries one connection through the handshake and its session. A
// caller that fails gets not one byte, whatever the reason, and is kept
// until the same deadline: from outside all failures look alike.
// leave tells that the caller has come through.
func (t *Tunnel) receiveCaller(ctx context.Context, l *lobby.Lobby, conn net.Conn, leave func()) {
	limit, cancel := context.WithTimeout(ctx, lobbyTimeout)
	defer cancel()
	limit, evict := context.WithCancelCause(limit)
	place := l.Enter(addrOf(conn).Addr(), func() { evict(errCrowd) })
	defer l.Leave(place)
	c := caller{t, conn, func() { l.Know(place) }, limit}
	s, why, err := c.greet(ctx)
	if err != nil {
		c.refuse(why, err)
		return
	}
	l.Leave(place)
	t.attach(s)
	leave()
	s.run()
}

// refuse ends a connection that came to nothing, without a word and not before
// its time.
func (c *caller) refuse(why refusal, err error) {
	if cause := context.Cause(c.limit); cause == errCrowd {
		why, err = refusedCrowd, cause
	}
	c.count.refuse(why)
	c.limits[why].Warn(c.config.Log, "caller refused", "peer", c.conn.RemoteAddr(), "cause", err)
	c.failed(fmt.Errorf("caller %v refused: %w", c.conn.RemoteAddr(), err))
	ignore(c.conn)
	<-c.limit.Done()
	abort(c.conn) // the same end whether or not bytes were left unread
}

// ignore makes the kernel keep next to nothing of what a caller sends: a little
// of what is still to come, and nothing of what is there already, which is no more
// than the first window. It returns when that much was read or the caller's time
// is over.
func ignore(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetReadBuffer(int) error }); ok {
		tcp.SetReadBuffer(1)
	}
	var waste [1 << 10]byte
	for range firstWindow / len(waste) {
		if _, err := io.ReadFull(conn, waste[:]); err != nil {
			return
		}
	}
}

// greet answers a first flight and waits for the proof that the caller has the
// session's keys.
func (c *caller) greet(ctx context.Context) (*session, refusal, error) {
	stop := context.AfterFunc(c.limit, func() { c.conn.SetDeadline(time.Unix(1, 0)) }) // also of a failed caller
	if c.config.Admit != nil && !c.config.Admit(addrOf(c.conn)) {
		return nil, refusedAddress, errors.New("not the configured client address")
	}
	if c.config.Prepare != nil {
		if err := c.config.Prepare(c.conn); err != nil {
			return nil, refusedSilent, fmt.Errorf("prepare connection: %w", err)
		}
	}
	var f1 [crypto.F1Size]byte
	if _, err := io.ReadFull(c.conn, f1[:]); err != nil {
		return nil, refusedSilent, errors.New("no complete first flight: not a vpnd")
	}
	call, err := c.door.Open(f1[:])
	c.suspect(call, c.conn.RemoteAddr().String())
	if err != nil {
		why, err := refusalOf(err)
		return nil, why, err
	}
	if call.Told == 0 {
		c.known()
	}
	g, why, err := c.answer(call)
	if err != nil {
		return nil, why, err
	}
	s, err := c.newSession(ctx, g, false)
	if err != nil {
		return nil, refusedTerms, err
	}
	if err := s.receive.next(); err != nil {
		s.end(err)
		return nil, refusedConfirm, fmt.Errorf("session keys not confirmed: %w", err)
	}
	if !stop() {
		s.end(errShutdown)
		return nil, refusedConfirm, errors.New("session keys confirmed too late")
	}
	s.compare(g)
	return s, 0, nil
}

// refusalOf returns how a first flight that does not open is counted, and why it
// does not.
func refusalOf(err error) (refusal, error) {
	switch {
	case errors.Is(err, crypto.ErrReplay):
		return refusedReplay, err
	case errors.Is(err, crypto.ErrAuth):
		return refusedDoor, errors.New("wrong key, or not a vpnd")
	}
	return refusedNumber, err
}

// response is what a caller gets, and what becomes of the handshake.
type response struct {
	f2       []byte
	greeting greeting
	why      refusal // with err: the caller gets the flight, and no session
	err      error
}

// respond makes the second flight. Its error says that there is none.
func (t *Tunnel) respond(call *Call, peer string) (r response, err error) {
	h, err := parseHello(call.Hello)
	if err != nil {
		return r, err
	}
	a := t.choose(h)
	owner := t.place(call.Caller, h, &a)
	if call.Told != 0 {
		a.reason, a.number = reasonNumber, call.Told
		r.why, r.err = refusedReplay, errors.New(reasonNumber.String())
		t.told.Warn(t.config.Log, "a client is told its transaction number", "client", call.Caller.Name, "peer", peer)
	} else if a.reason != reasonNone {
		r.why, r.err = refusedTerms, errors.New(a.reason.String())
	}
	var keys *crypto.Generation
	if r.f2, keys, err = call.Answer(a.append(nil)); err != nil {
		return r, err
	}
	r.greeting = greeting{
		answer: a, peer: h.terms, inner: h.inner, keys: keys, who: call.Caller, caller: h.client, call: call.Order, owner: owner,
	}
	return r, nil
}

// suspect reports that a caller's key may be in use in two places.
func (t *Tunnel) suspect(call *Call, peer string) {
	if call == nil || call.Doubt == nil {
		return
	}
	t.doubt.Warn(t.config.Log, "a key may have been copied", "client", call.Caller.Name, "peer", peer, "cause", call.Doubt)
}

// answer sends the second flight.
func (c *caller) answer(call *Call) (greeting, refusal, error) {
	r, err := c.respond(call, c.conn.RemoteAddr().String())
	if err != nil {
		return greeting{}, refusedTerms, err
	}
	if _, err := c.conn.Write(r.f2); err != nil {
		return greeting{}, refusedTerms, lineError(err)
	}
	r.greeting.conn, r.greeting.wire = c.conn, stream{}
	return r.greeting, r.why, r.err
}

func addrOf(conn net.Conn) netip.AddrPort { return toAddrPort(conn.RemoteAddr()) }

func toAddrPort(addr net.Addr) netip.AddrPort {
	a, _ := netip.ParseAddrPort(addr.String()) // zero for others: only tests have such
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
