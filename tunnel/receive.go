package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"time"

	"vpnd/compress"
	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// receiver is the receiving half of a session.
type receiver struct {
	*session
	frames   *frame.Reader
	opener   *crypto.Opener
	decoder  *compress.Decoder
	delay    delay
	size     int           // of the last frame on the wire, as rates count it
	took     time.Duration // on a hub, for what costs it more than it did the client
	said     time.Duration // clock at the last PING of reassure
	resets   uint32        // RESET frames sent
	anew     int64         // clock at the RESET that counted last, ns
	unproven bool          // the peer's new generation has not sent its CONFIRM
	early    int           // changes of keys that were not due
	changes  uint8         // of the generation
	place    linePlace     // on a line: of the last frame
}

func (r *receiver) init(s *session, opener *crypto.Opener, common compress.Set) {
	r.session, r.opener = s, opener
	r.unproven = !s.client && s.line == nil // any frame proves the keys on a line
	most := frame.MaxText
	if r.unproven {
		most = 1 // a CONFIRM: the length of a frame costs memory before its tag is checked
	}
	r.frames = frame.NewReader(s.conn, most)
	r.decoder = compress.NewDecoder(common)
	r.delay = delay{limit: s.t.config.MaxDelay}
}

// maxEarly is how often a peer may change its keys before it has to: a new epoch
// costs us as much time as some hundred packets.
const maxEarly = 64

// resetPause is how long a peer has to do with a new history on TCP, in ns: a RESET that
// comes sooner is for a block of the one before, or to keep this end busy.
const resetPause = int64(time.Second)

// run takes frames until the session ends.
func (r *receiver) run() error {
	defer r.decoder.Release()
	for r.ctx.Err() == nil { // frames may be waiting that came before the end
		err := r.next()
		if errors.Is(err, os.ErrDeadlineExceeded) { // memory is to be given back, or the session has ended
			r.conn.SetReadDeadline(time.Time{})
			r.frames.Release()
			r.decoder.Release()
			continue
		}
		if err != nil {
			return err
		}
		r.rest()
	}
	return nil
}

// rest waits as long as the peer has sent too much, or made too much work.
func (r *receiver) rest() {
	wait := r.owner.rates.in.spend(r.size)
	if wait > 0 {
		r.reassure()
	}
	if wait = max(wait, r.took); wait > 0 {
		pause(r.ctx, wait)
	}
	r.took = 0
}

// reassure says something now and then to a peer that sends more than it may: its
// questions wait behind that.
func (r *receiver) reassure() {
	now, every := r.t.config.Now(), max(time.Second, min(r.peer.keepalive, r.t.tuning.Load().Keepalive)/2)
	if now-r.said >= every && r.post(message{kind: framePing}) {
		r.said = now
	}
}

// next takes one frame. What it does not accept ends the session.
func (r *receiver) next() error {
	header, body, err := r.frames.Next()
	if err != nil {
		return lineError(err)
	}
	text, err := r.opener.Open(header, body)
	if err != nil {
		return protocolError("frame: %w", err)
	}
	return r.take(text, len(header)+len(body))
}

// take takes the plaintext of a frame, which had size bytes on the wire.
func (r *receiver) take(text []byte, size int) error {
	r.size = size
	r.answered.Store(true)
	r.heard.Store(int64(r.t.config.Now()))
	r.bytesIn.Add(uint64(size))
	r.count.wireBytesIn.Add(uint64(size))
	return r.frame(text[0], text[1:])
}

func (r *receiver) frame(kind uint8, payload []byte) error {
	if r.unproven && kind != frameConfirm {
		return protocolError("frame of type %d before the new keys are confirmed", kind)
	}
	if want, ok := payloadSize(kind); ok && len(payload) != want {
		return protocolError("frame of type %d with %d bytes", kind, len(payload))
	}
	switch kind {
	case frameBatch, frameSegments:
		return r.batch(payload, kind == frameSegments)
	case framePing:
		pong := append(make([]byte, 0, pongSize), payload...)
		r.post(message{kind: framePong, payload: appendStamp(pong, r.t.config.Now())})
		return nil
	case framePong:
		r.pong(payload)
		return nil
	case frameTime:
		return r.delay.stamp(time.Duration(binary.BigEndian.Uint64(payload)), r.t.config.Now())
	case frameRatchet:
		if r.line != nil {
			break // each frame says its keys
		}
		return r.ratchet(payload[0])
	case frameRekey1:
		return r.inTurn(func() error { return r.keys.answer(payload) })
	case frameRekey2:
		return r.keys.finish(payload)
	case frameConfirm:
		return r.confirm()
	case frameReset:
		if now := r.heard.Load(); r.line != nil || now-r.anew >= max(resetPause, r.rtt.Load()) {
			r.anew = now
			r.post(message{kind: askReset})
		}
		return nil
	case frameClose:
		return &closeError{reason: closeReason(payload[0]), peer: true}
	}
	return protocolError("frame of unknown type %d", kind)
}

// payloadSize returns the length of the payloads that have a fixed one.
func payloadSize(kind uint8) (int, bool) {
	switch kind {
	case framePing, frameTime:
		return stampSize, true
	case framePong:
		return pongSize, true
	case frameRatchet, frameClose:
		return 1, true
	case frameRekey1, frameRekey2:
		return crypto.RekeySize, true
	case frameConfirm:
		return 0, true
	case frameReset:
		return resetSize, true
	}
	return 0, false
}

// batch expands packets, or one whose segments are whole, and gives them to the
// device.
func (r *receiver) batch(payload []byte, whole bool) error {
	late, err := r.delay.late(r.t.config.Now)
	if err != nil {
		return err
	}
	if len(payload) == 0 {
		return protocolError("empty batch")
	}
	block, err := r.expand(payload)
	if errors.Is(err, compress.ErrHistory) {
		r.askReset()
		return nil
	}
	if err != nil {
		return protocolError("batch: %w", err)
	}
	r.moved.Store(r.heard.Load())
	r.count.packedIn.Add(uint64(len(payload)))
	r.count.plainIn.Add(uint64(len(block)))
	switch {
	case late && whole:
		r.inside.dropWhole(inTooOld)
	case whole:
		r.inside.deliverWhole(block)
	default:
		return r.deliver(block, late)
	}
	return nil
}

func (r *receiver) expand(payload []byte) (block []byte, err error) {
	if compress.MethodOf(payload) != compress.Model {
		return r.decoder.Decode(payload)
	}
	err = r.inTurn(func() (err error) {
		block, err = r.decoder.Decode(payload)
		return err
	})
	return block, err
}

// deliver gives packets to the device, unless they are late. No computers send more of them
// than the frame had bytes: such ones were made to keep us busy, and count as a byte each.
func (r *receiver) deliver(block []byte, late bool) error {
	give := r.give
	if late {
		give = r.inside.discard
	}
	if n := packetsIn(block, r.size); n > r.size {
		r.size = n
		return r.inTurn(func() error {
			give(block)
			return nil
		})
	}
	give(block)
	return nil
}

func (r *receiver) give(block []byte) { r.inside.deliver(block, r.clamp) }

// packetsIn returns how many packets a block has, at least if they are more than few.
func packetsIn(block []byte, few int) (n int) {
	if len(block) <= few*ipv4Header {
		return 0
	}
	for {
		size, ok := packetLen(block)
		if !ok {
			return n
		}
		block = block[size:]
		n++
	}
}

// inTurn does work of which a few bytes make much. On a hub, all that do such work take
// turns in a part of the processors, and each client rests for as long as its own took.
func (r *receiver) inTurn(work func() error) error {
	if r.t.hub == nil {
		return work()
	}
	select {
	case r.t.hub.slow <- struct{}{}:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	began := time.Now()
	err := work()
	r.took += time.Since(began)
	<-r.t.hub.slow
	return err
}

func (r *receiver) pong(payload []byte) {
	// A stamp that is not ours does no harm but to this figure.
	now, stamp := r.t.config.Now(), time.Duration(binary.BigEndian.Uint64(payload))
	if now >= stamp {
		r.rtt.Store(int64(now - stamp))
		r.ponged.Store(int64(stamp)) // what was sent later may never arrive
		r.proved.Store(true)
	}
	if r.line != nil {
		r.line.speed.answered(stamp, time.Duration(binary.BigEndian.Uint64(payload[stampSize:])), now)
	} else {
		r.post(message{kind: askPonged, took: now - stamp})
	}
}

// ratchet moves to the keys that the peer seals with from now on.
func (r *receiver) ratchet(to byte) error {
	switch to {
	case nextEpoch:
		if !r.opener.Due() {
			r.early++
		}
		if r.early > maxEarly {
			return protocolError("keys changed too often")
		}
		if err := r.opener.Ratchet(); err != nil {
			return protocolError("ratchet: %w", err)
		}
		return nil
	case nextGeneration:
		next := r.keys.take()
		if next == nil {
			return protocolError("new generation without a rekey")
		}
		r.opener, r.unproven = next, !r.client
		return nil
	}
	return protocolError("ratchet to %d", to)
}

// confirm takes a client's proof that it has the keys.
func (r *receiver) confirm() error {
	if !r.unproven && r.line == nil {
		return protocolError("confirmation of keys that are in use")
	}
	r.unproven = false
	r.frames.Allow(frame.MaxText)
	return r.keys.confirmed()
}
