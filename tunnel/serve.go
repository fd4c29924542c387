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
)

const (
	// lobbyTimeout is how long a caller has for the whole handshake, and how long
	// one that failed is kept without a word.
	lobbyTimeout = 10 * time.Second
	// lobbySize is how many callers may be unproven at a time.
	lobbySize = 256
	// acceptPause is the wait after the listener failed, for lack of file
	// descriptors as a rule.
	acceptPause = 100 * time.Millisecond
)

// serve takes callers until ctx ends.
func (t *Tunnel) serve(ctx context.Context) error {
	door := crypto.NewDoor(t.config.Random, t.config.Keys...)
	lobby := newLobby(lobbySize)
	stop := context.AfterFunc(ctx, func() { t.config.Listener.Close() })
	defer stop()
	var trouble logLimit
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
			trouble.warn(t.config.Log, t.config.Now(), "accept", "error", err)
			pause(ctx, acceptPause)
			continue
		}
		callers.Go(func() { t.receiveCaller(life, door, lobby, conn) })
	}
}

// pause waits for d or the end of ctx, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// caller is one connection on its way through the handshake.
type caller struct {
	*Tunnel
	conn  net.Conn
	door  *crypto.Door
	known func()          // tells the lobby that the first flight opened
	limit context.Context // ends with the time for the handshake
}

// errCrowd says that a caller had to give way to others.
var errCrowd = errors.New("too many callers at once")

// receiveCaller carries one connection through the handshake and its session. A
// caller that fails gets not one byte, whatever the reason, and is kept
// until the same deadline: from outside all failures look alike.
func (t *Tunnel) receiveCaller(ctx context.Context, door *crypto.Door, lobby *lobby, conn net.Conn) {
	limit, cancel := context.WithTimeout(ctx, lobbyTimeout)
	defer cancel()
	limit, evict := context.WithCancelCause(limit)
	defer evict(nil)
	place := lobby.enter(addrOf(conn), func() { evict(errCrowd) })
	defer lobby.leave(place)
	c := caller{t, conn, door, func() { lobby.know(place) }, limit}
	s, why, err := c.greet(ctx)
	if err != nil {
		c.refuse(why, err)
		return
	}
	lobby.leave(place)
	t.attach(s)
	s.run()
}

// refuse ends a connection that came to nothing, without a word and not before
// its time.
func (c *caller) refuse(why refusal, err error) {
	if cause := context.Cause(c.limit); cause == errCrowd {
		why, err = refusedCrowd, cause
	}
	c.count.refuse(why)
	c.limits[why].warn(c.config.Log, c.config.Now(), "caller refused", "peer", c.conn.RemoteAddr(), "cause", err)
	c.failed(fmt.Errorf("caller %v refused: %w", c.conn.RemoteAddr(), err))
	<-c.limit.Done()
	abort(c.conn) // the same end whether or not bytes were left unread
}

// greet answers a first flight and waits for the proof that the caller has the
// session's keys.
func (c *caller) greet(ctx context.Context) (*session, refusal, error) {
	if c.config.Admit != nil && !c.config.Admit(addrOf(c.conn)) {
		return nil, refusedAddress, errors.New("not the configured client address")
	}
	stop := context.AfterFunc(c.limit, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if c.config.Accepted != nil {
		if err := c.config.Accepted(c.conn); err != nil {
			return nil, refusedSilent, fmt.Errorf("prepare connection: %w", err)
		}
	}
	var f1 [crypto.F1Size]byte
	if _, err := io.ReadFull(c.conn, f1[:]); err != nil {
		return nil, refusedSilent, errors.New("no complete first flight: not a vpnd")
	}
	call, err := c.door.Open(f1[:])
	switch {
	case errors.Is(err, crypto.ErrReplay):
		return nil, refusedReplay, errors.New("recorded first flight, played again")
	case err != nil:
		return nil, refusedDoor, errors.New("wrong key, or not a vpnd")
	}
	c.known()
	g, err := c.answer(call)
	if err != nil {
		return nil, refusedTerms, err
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

// answer sends the second flight.
func (c *caller) answer(call *crypto.Call) (greeting, error) {
	h, err := parseHello(call.Hello)
	if err != nil {
		return greeting{}, err
	}
	a := c.choose(h)
	f2, keys, err := call.Answer(a.append(nil))
	if err != nil {
		return greeting{}, err
	}
	if _, err := c.conn.Write(f2); err != nil {
		return greeting{}, lineError(err)
	}
	if a.reason != reasonNone {
		return greeting{}, errors.New(a.reason.String())
	}
	return greeting{
		conn: c.conn, wire: stream{}, answer: a, peer: h.terms, inner: h.inner,
		keys: keys, keyID: call.Key.ID(), caller: h.client,
	}, nil
}

func addrOf(conn net.Conn) netip.AddrPort {
	a, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.AddrPort{} // no internet address: only tests have such
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
