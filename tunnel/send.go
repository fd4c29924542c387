package tunnel

import (
	"sync"
	"sync/atomic"
	"time"

	"vpnd/compress"
	"vpnd/crypto"
	"vpnd/tunnel/queue"
)

// writeSize is how many bytes of frames are collected for one write while
// packets are waiting.
const writeSize = 64 << 10

// sender is the sending half of a session. Who sends holds mu: the session's own
// goroutine, or the one that has read a packet when nothing else is under way.
type sender struct {
	*session
	mu      sync.Mutex
	quiet   func() bool                 // nothing is under way in conn; nil: nobody knows, or it is too early
	atOnce  func(b []byte) (int, error) // writes to conn what there is room for; nil: all
	hasty   bool                        // who sends must not wait
	err     error                       // the first, which ends the session
	wire    wire
	sealer  *crypto.Sealer
	changes uint8 // of the generation
	common  compress.Set
	encoder *compress.Encoder
	policy  string    // of encoder
	block   []byte    // packets of one batch
	out     []byte    // sealed frames
	start   int       // of the frame under construction in out
	packets int       // in out
	batched []mark    // batches in out
	began   time.Time // with what is in out, if more was waiting than fits in; else 0
	timed   time.Duration
	asked   time.Duration // clock at the last PING that looks for strain
	late    int           // PONGs in a row that the peer had no time for
	last    atomic.Int64  // clock at the last batch, ns
	allow   allowance
	more    bool // packets of the last one's flow wait
	broken  bool // a write failed: what the peer got may end in mid-frame
}

// mark is where a batch ends in sender.out, and how many packets there are up to
// there.
type mark struct{ end, packets int }

func (w *sender) init(s *session, wire wire, sealer *crypto.Sealer, common compress.Set) {
	w.session, w.wire, w.sealer, w.common = s, wire, sealer, common
	w.last.Store(int64(s.t.config.Now()))
	w.allow.init(s.conn, s.queue.SetRate)
}

// run sends what is waiting until the session ends. Messages go ahead of
// packets, and all that waits when the line is free leaves in one write.
func (w *sender) run() error {
	var err error
	w.mu.Lock()
	if w.line == nil {
		if o := outletOf(w.conn); o != nil {
			w.quiet, w.atOnce = o.quiet, o.write
		}
	}
	if w.client {
		// The first frame proves that this end has the keys of the handshake.
		err = w.frame(frameConfirm, nil)
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	ready := w.queue.Ready()
	for err = w.done(err); err == nil; {
		select {
		case <-w.ctx.Done():
			return nil
		case m := <-w.control:
			w.mu.Lock()
			err = w.done(w.message(m))
			continue
		case <-ready:
		case <-timer.C:
		}
		var wait time.Duration
		if wait, err = w.turn(); wait > 0 {
			timer.Reset(wait)
			ready = nil
		} else {
			ready = w.queue.Ready()
		}
	}
	return err
}

// turn sends packets that wait, and returns how long the line, or a limit of the peer,
// wants no more.
func (w *sender) turn() (wait time.Duration, err error) {
	w.mu.Lock()
	if wait = w.allow.wait(); wait > 0 {
		w.mu.Unlock()
		return wait, nil
	}
	before, send := w.bytesOut.Load(), w.batches
	if w.allow.probing() {
		send = w.ping
		w.queue.Wake() // packets wait behind it
	}
	err = w.done(send())
	return w.owner.rates.out.spend(int(w.bytesOut.Load() - before)), err
}

// done writes what was made, if that went well, and lets others send.
func (w *sender) done(err error) error {
	defer w.mu.Unlock()
	return w.complete(err)
}

func (w *sender) complete(err error) error {
	if w.err == nil {
		w.err = err
	}
	if w.err == nil {
		w.err = w.flush()
	}
	return w.err
}

// batches sends waiting packets, until there are none or a write is full.
func (w *sender) batches() error {
	tune := w.t.tuning.Load()
	if err := w.choose(tune.Compress); err != nil {
		return err
	}
	most := min(max(tune.SendBuf, w.maxPacket), w.peer.maxFrame-batchOverhead, compress.MaxBlock)
	full := writeSize
	switch {
	case w.line != nil:
		most, full = min(tune.SendBuf, w.encoder.Room(w.line.batch())), 1
		w.queue.SetRate(w.line.bytes(time.Second))
	case !w.allow.open.Load():
		w.guess()
		most, full = min(most, w.encoder.Room(w.allow.room())), 1
	}
	w.began = time.Now()
	for len(w.out) < full {
		if w.line != nil && w.queue.Len() > 0 && w.line.speed.due(w.t.config.Now()) {
			if err := w.ping(); err != nil { // ahead of all, whose time would be taken for the line's
				return err
			}
		}
		if err := w.messages(); err != nil {
			return err
		}
		if err := w.strain(); err != nil {
			return err
		}
		if w.queue.Len() == 0 {
			w.began = time.Time{}
			return nil
		}
		if err := w.time(); err != nil {
			return err
		}
		if err := w.batch(most); err != nil {
			return err
		}
		w.last.Store(int64(w.t.config.Now()))
	}
	return nil
}

// batch sends packets of at most most bytes together, or one, or the segments of
// one.
func (w *sender) batch(most int) error {
	w.begin(frameBatch)
	kind, at := len(w.out)-1, len(w.out)
	var got queue.Popped
	w.out, got = w.queue.Pop(append(w.out, 0), most)
	w.count.dropOut(outWaited, got.Dropped)
	if got.N == 0 {
		w.out = w.out[:w.start]
		return nil
	}
	if got.Whole {
		w.out[kind] = frameSegments
	}
	w.more = got.More
	w.count.plainOut.Add(uint64(len(w.out) - at - 1))
	w.out = w.out[:at+len(w.encoder.Pack(w.out[at:]))]
	w.count.packedOut.Add(uint64(len(w.out) - at))
	w.packets += got.N
	w.batched = append(w.batched, mark{len(w.out) + crypto.TagSize, w.packets})
	return w.finish()
}

// choose makes the encoder for a policy when it is not the present one.
func (w *sender) choose(policy string) error {
	if w.encoder != nil && w.policy == policy {
		return nil
	}
	if w.encoder != nil {
		w.encoder.Release()
	}
	e, err := compress.NewEncoder(policy, w.common)
	if w.encoder, w.policy = e, policy; err == nil && w.line != nil {
		e.Takes(writeSize, w.line.time(writeSize)) // its speed is known
	}
	return err
}

// guess tells the encoder how slow a line may be that nobody has filled yet, so that the
// first packets shrink as well.
func (w *sender) guess() {
	if n, took, ok := w.allow.guess(); ok {
		w.encoder.Takes(n, took)
	}
}

// messages sends the messages that wait.
func (w *sender) messages() error {
	for {
		select {
		case m := <-w.control:
			if err := w.message(m); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

func (w *sender) message(m message) error {
	switch m.kind {
	case askRelease:
		if w.encoder != nil {
			w.encoder.Release()
		}
		if len(w.out) == 0 {
			w.out = nil
		}
		return nil
	case askReset:
		if w.encoder != nil {
			w.encoder.Reset()
		}
		return nil
	case askGeneration:
		return w.generation(m.next)
	case askPonged:
		w.ponged(m.took)
		return nil
	}
	if m.kind == framePing { // the clock as late as can be: it measures the way
		return w.ping()
	}
	return w.frame(m.kind, m.payload)
}

// flush writes the frames that were made. A batch that the connection took whole
// before it broke may arrive, so it counts as sent.
func (w *sender) flush() error {
	holds := w.more && w.allow.holds(len(w.out))
	if w.more = false; len(w.out) == 0 {
		w.allow.hold(false)
		return nil
	}
	if holds {
		w.allow.hold(true)
	}
	n, err := w.write(w.out)
	if !holds {
		w.allow.hold(false)
	}
	w.allow.sent(n)
	if !w.began.IsZero() {
		w.carried(n, time.Since(w.began))
	}
	sent := 0
	for _, m := range w.batched {
		if m.end <= n {
			sent = m.packets
		}
	}
	c := w.count
	c.wireOut.Add(uint64(sent))
	c.wireBytesOut.Add(uint64(n))
	w.bytesOut.Add(uint64(n))
	w.began = time.Time{}
	if err == nil && n < len(w.out) {
		w.keep(n, sent)
		return nil
	}
	c.dropOut(outLinkLost, w.packets-sent)
	if err != nil {
		w.broken = true
		err = lineError(err)
	}
	w.out, w.batched, w.packets = w.out[:0], w.batched[:0], 0
	return err
}

// carried tells the encoder how fast the line is, once n bytes took so long to get away.
func (w *sender) carried(n int, took time.Duration) {
	switch {
	case w.line != nil:
		w.encoder.Takes(n, w.line.time(n))
	case w.allow.rate > 0:
		w.encoder.Takes(n, w.allow.timeFor(n))
	case w.allow.open.Load():
		w.encoder.Carried(n, took)
	}
}

// goodbye sends CLOSE, after run has ended, and reports whether that could be.
func (w *sender) goodbye(reason closeReason) bool {
	return w.frame(frameClose, []byte{byte(reason)}) == nil && w.flush() == nil
}

// idleSince returns how long no packet was sent.
func (w *sender) idleSince(now time.Duration) time.Duration {
	return now - time.Duration(w.last.Load())
}
