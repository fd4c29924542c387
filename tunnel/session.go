package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"vpnd/compress"
	"vpnd/crypto"
	"vpnd/tunnel/frame"
	"vpnd/tunnel/queue"
)

// Frame types: the first byte of a frame's plaintext.
const (
	frameBatch    = 1  // compressed packets
	framePing     = 2  // 8 bytes, which come back in a PONG
	framePong     = 3  // the same 8 bytes, the clock of who answers, 8 bytes
	frameTime     = 4  // the sender's clock, nanoseconds, 8 bytes
	frameRatchet  = 5  // what the next frame is sealed with: nextEpoch or nextGeneration
	frameRekey1   = 6  // crypto.RekeySize bytes
	frameRekey2   = 7  // crypto.RekeySize bytes
	frameConfirm  = 8  // empty; the first frame of each generation of a client
	frameReset    = 9  // number 4: the receiver lost the compression history
	frameClose    = 10 // closeReason 1
	frameSegments = 11 // compressed: an offload and the packet behind it

	// These never leave this process: they ask the sender for something.
	askRelease    = 0x80 // give memory back: no packets for a while
	askReset      = 0x81 // the peer lost the compression history
	askGeneration = 0x82 // seal with message.next from now on
	askPonged     = 0x83 // a PING took message.took to come back
)

// Payload of a RATCHET.
const (
	nextEpoch      = 0
	nextGeneration = 1
)

const (
	stampSize = 8
	pongSize  = 2 * stampSize
	resetSize = 4
	// closeTimeout bounds the good-bye on a connection that may be dead.
	closeTimeout = 500 * time.Millisecond
	// brokenTimeout is how long the receiver may read on after a write failed. It
	// finds the end of the stream far earlier.
	brokenTimeout = 5 * time.Second
	// batchOverhead is the type and the compression byte in front of packets.
	batchOverhead = 2
	// leastQuestions is how often the peer is asked at least before a session over a
	// line that never said a word is given up.
	leastQuestions = 4
	// controlRoom is how many messages may wait for the sender. A peer that asks
	// faster than it reads gets no answer.
	controlRoom = 32
	// idleRelease is the silence after which compression gives its memory back.
	idleRelease = 30 * time.Second
)

// message asks the sending goroutine to send a frame, or for something else.
type message struct {
	kind    uint8
	payload []byte
	next    *crypto.Sealer // of askGeneration
	took    time.Duration  // of askPonged
}

// session is one authenticated connection: a goroutine that sends, one that
// receives and one that watches the time, which all sessions of a hub share. Each
// direction's keys, compression and
// scratch memory belong to its goroutine.
type session struct {
	t         *Tunnel
	owner     *peer
	relayed   bool       // through a third peer of a mesh
	count     *counters  // of the owner
	inside    *deliverer // of the owner
	conn      net.Conn
	client    bool
	outer     []netip.Addr // of a link of a hub; Tunnel.mu guards it
	call      uint64       // order of first flights, on a server
	suite     crypto.Suite
	peer      terms
	keyTTL    time.Duration
	maxPacket int // bytes of the longest packet that the peer takes
	clamp     int // MTU to which SYNs are clamped; 0: not
	log       *slog.Logger
	about     Link // what does not change
	queue     *queue.Queue
	line      *pacer // nil on TCP, which loses nothing
	control   chan message
	end       context.CancelCauseFunc
	ctx       context.Context
	taken     chan struct{}   // closed when no more is taken from conn
	after     <-chan struct{} // taken of the link before this one; nil: there was none

	send    sender
	receive receiver
	keys    rekeying
	watch   watch // of who looks

	heard    atomic.Int64 // clock at the last authentic frame, ns
	moved    atomic.Int64 // clock at the last packets that came, ns
	ponged   atomic.Int64 // clock when the last PING left that was answered, or at the start, ns
	answered atomic.Bool  // there was one
	proved   atomic.Bool  // a PING was answered
	rtt      atomic.Int64 // ns
	epoch    atomic.Uint64
	ratchets atomic.Uint64
	rekeys   atomic.Uint64
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64
}

// greeting is what a finished handshake hands over.
type greeting struct {
	conn   net.Conn
	line   *pacer // that conn is on, if it is a serial line
	wire   wire
	answer answer // the server's, on both ends
	peer   terms
	inner  inner // the peer's
	keys   *crypto.Generation
	who    Caller          // on a client, only the key
	caller crypto.ClientID // on a server with shared keys
	call   uint64          // order of first flights, on a server
	owner  *peer           // on a hub
}

// queueBytes bounds what waits for the link: on a line, what it takes a while to
// send.
func (g *greeting) queueBytes(mtu int) int {
	if g.line == nil {
		return queueBytes
	}
	return max(demandPackets*mtu, g.line.bytes(lineQueueTime))
}

func (t *Tunnel) newSession(ctx context.Context, g greeting, client bool) (*session, error) {
	s := &session{
		t:         t,
		owner:     cmp.Or(g.owner, t.point),
		conn:      g.conn,
		client:    client,
		call:      g.call,
		suite:     crypto.Suite{Cipher: g.answer.cipher, KeyBits: g.answer.terms.keyBits},
		peer:      g.peer,
		keyTTL:    g.answer.terms.keyTTL,
		maxPacket: min(t.config.MTU, g.peer.maxFrame-batchOverhead, compress.MaxBlock),
		log:       t.config.Log.With("peer", g.conn.RemoteAddr().String()),
		queue:     queue.New(t.pool, g.queueBytes(t.config.MTU), t.config.MTU, HeaderSize),
		control:   make(chan message, controlRoom),
		taken:     make(chan struct{}),
		line:      g.line,
	}
	s.count, s.inside = s.owner.count, s.owner.inside
	if t.hub.isMesh() {
		s.relayed = t.hub.isThrough(g.conn)
		s.log = s.log.With("gateway", s.owner.name)
	}
	s.ctx, s.end = context.WithCancelCause(ctx)
	if mtu := min(t.config.MTU, g.peer.mtu); mtu < defaultMTU {
		s.clamp = mtu
	}
	sealer, opener, err := g.keys.Keys(s.suite)
	if err != nil {
		return nil, err
	}
	s.keys.init(s, g.keys)
	s.send.init(s, g.wire, sealer, g.answer.compression)
	s.receive.init(s, opener, g.answer.compression)
	s.heard.Store(int64(t.config.Now()))
	s.moved.Store(s.heard.Load())
	s.ponged.Store(s.heard.Load())
	s.about = Link{
		Name:        s.owner.name,
		Peer:        g.conn.RemoteAddr().String(),
		Transport:   g.conn.RemoteAddr().Network(),
		Cipher:      s.suite.Cipher.String(),
		KeyID:       g.who.Key.String(),
		Established: time.Now(),
	}
	if g.caller != (crypto.ClientID{}) {
		s.about.Client = g.caller.String()
	}
	switch {
	case client:
		s.about.Remote = t.addrsOf(s.owner)
		// What is too much waits here, where flows take turns, and not in the connection.
		s.owner.rates.out.set(int(g.answer.rate))
	case t.hub != nil:
		s.about.Remote = g.answer.yours.addrs()
	}
	if t.config.Auto {
		s.about.Local, s.about.Remote = g.answer.yours.addrs(), g.inner.addrs()
	}
	return s, nil
}

// defaultMTU is Ethernet's: what is not smaller needs no clamp.
const defaultMTU = 1500

// familyOf returns an address's place in an inner: 0 of IPv4, 1 of IPv6.
func familyOf(a netip.Addr) int {
	if a.Is6() {
		return 1
	}
	return 0
}

// compare warns of settings that work against each other. On a server it waits
// until the caller has proved itself.
func (s *session) compare(g greeting) {
	if g.peer.mtu != s.t.config.MTU {
		s.owner.notes.mtu.Warn(s.log, "mtu differs", "here", s.t.config.MTU, "there", g.peer.mtu)
	}
	for _, want := range s.t.config.Remote {
		i := familyOf(want)
		if have := g.inner[i]; have != want {
			s.owner.notes.remote[i].Warn(s.log, "remote is not the peer's local address", "remote", want, "local there", have)
		}
	}
	if !s.client {
		return // only servers tell
	}
	for _, have := range s.t.config.Local {
		i := familyOf(have)
		if want := g.answer.yours[i]; want != have {
			s.owner.notes.local[i].Warn(s.log, "local is not the peer's remote address", "local", have, "remote there", want)
		}
	}
}

// run carries packets until the session ends, and returns why. It closes the
// connection. The goroutine that calls it receives; on a line, whose frames are handed
// in, it waits. The sessions of a hub are watched by one goroutine for all.
func (s *session) run() error {
	var parts sync.WaitGroup
	ended := make(chan struct{})
	context.AfterFunc(s.ctx, func() {
		defer close(ended)
		s.t.detach(s, context.Cause(s.ctx))
		s.conn.SetReadDeadline(time.Unix(1, 0))
		s.conn.SetWriteDeadline(time.Now().Add(closeTimeout))
	})
	s.post(message{kind: framePing}) // measures the round trip
	if s.ctx.Err() == nil {          // attach may have ended it: then nothing is taken from it
		parts.Go(func() { s.end(s.sendOut()) })
		if s.t.hub == nil {
			parts.Go(func() { s.end(s.supervise()) })
		}
	}
	if s.after != nil {
		<-s.after // it may have a frame in hand, which was sent before ours
	}
	if s.line == nil {
		s.end(s.receive.run())
	}
	close(s.taken)
	<-ended
	parts.Wait()
	s.send.mu.Lock() // who has read a packet just now may still be sending it
	defer s.send.mu.Unlock()
	s.count.dropOut(outLinkLost, s.queue.Close())
	cause := context.Cause(s.ctx)
	s.hangUp(cause)
	s.keys.forget()
	s.count.dropOut(outLinkLost, s.send.packets)
	s.t.settle(s.owner)
	return cause
}

// sendOut runs the sender. When the line broke under it, the receiver is left to
// say why: what the peer sent before the end, a CLOSE as a rule, is still to be
// read.
func (s *session) sendOut() error {
	err := s.send.run()
	if errors.Is(err, errLine) {
		pause(s.ctx, brokenTimeout)
	}
	return err
}

// hangUp says good-bye and closes the connection.
func (s *session) hangUp(cause error) {
	reason := closeShutdown
	var c *closeError
	if errors.As(cause, &c) {
		reason = c.reason
	}
	dead := s.send.broken || errors.Is(cause, ErrNoAnswer) || errors.Is(cause, errLine) || errors.Is(cause, errGivenUp) || c != nil && c.peer ||
		s.line != nil && reason == closeDisplaced // the peer started anew: it has forgotten this session
	s.hangUpConn(!dead && s.send.goodbye(reason))
}

// hangUpConn closes the connection. An end that said good-bye reads on until the
// other one has closed: bytes that find nobody draw a reset, which overtakes the
// good-bye. The server closes its direction first, so that the client's port is
// free at once: who closes first keeps it for a minute (TIME-WAIT, RFC 9293).
func (s *session) hangUpConn(wait bool) {
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok && !s.client {
		half.CloseWrite()
	}
	if wait {
		s.conn.SetReadDeadline(time.Now().Add(closeTimeout))
		io.Copy(io.Discard, s.conn)
	}
	if s.client {
		abort(s.conn)
	} else {
		s.conn.Close()
	}
}

// abort closes a connection and leaves nothing of it in the kernel, neither its
// port nor bytes that wait to be sent.
func abort(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(int) error }); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// post hands a message to the sender. It never waits; it reports whether there
// was room.
func (s *session) post(m message) bool {
	select {
	case s.control <- m:
		return true
	default:
		return false
	}
}

func (s *session) snapshot() Link {
	l := s.about
	l.Epoch, l.Ratchets, l.Rekeys = s.epoch.Load(), s.ratchets.Load(), s.rekeys.Load()
	l.LastPacket = time.Now().Add(time.Duration(s.heard.Load()) - s.t.config.Now())
	l.RoundTrip = time.Duration(s.rtt.Load())
	l.Through = s.through()
	l.BytesIn, l.BytesOut = s.bytesIn.Load(), s.bytesOut.Load()
	return l
}

// errLine says that the connection broke without a CLOSE.
var errLine = errors.New("connection lost")

func lineError(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: closed by the other end or on the way", errLine)
	case errors.Is(err, frame.ErrLength):
		return protocolError("%w", err)
	}
	return fmt.Errorf("%w: %w", errLine, err)
}
