package tunnel

import (
	"encoding/binary"
	"time"

	"vpnd/crypto"
)

// ping sends the clock, which comes back in a PONG.
func (w *sender) ping() error {
	now := w.t.config.Now()
	if w.line != nil {
		w.line.speed.asked(now)
	}
	return w.frame(framePing, appendStamp(nil, now))
}

// generation moves to the keys of a rekey. The frame that announces them is the
// last one under the old ones: no ratchet may follow, even if one is due.
func (w *sender) generation(next *crypto.Sealer) error {
	if w.wire.announces() {
		w.begin(frameRatchet)
		w.out = append(w.out, nextGeneration)
		if err := w.seal(); err != nil {
			return err
		}
	}
	w.sealer = next
	w.changes++
	w.newEpoch()
	if w.client {
		return w.frame(frameConfirm, nil)
	}
	return nil
}

// time sends the clock ahead of packets, if the peer checks for delays and has
// not had it for a while.
func (w *sender) time() error {
	if w.peer.maxDelay == 0 {
		return nil
	}
	now := w.t.config.Now()
	if w.timed != 0 && now-w.timed < timeInterval {
		return nil
	}
	w.timed = now
	return w.frame(frameTime, appendStamp(nil, now))
}

func (w *sender) frame(kind uint8, payload []byte) error {
	w.begin(kind)
	w.out = append(w.out, payload...)
	return w.finish()
}

// begin starts a frame in out; its payload is appended by the caller.
func (w *sender) begin(kind uint8) {
	w.start = len(w.out)
	var header [maxHeader]byte // filled in by seal
	w.out = append(w.out, header[:w.wire.room()]...)
	w.out = append(w.out, kind)
}

// finish seals the frame, and moves to the next epoch when this one has carried
// enough.
func (w *sender) finish() error {
	if err := w.seal(); err != nil || !w.wire.due(w.sealer) {
		return err
	}
	if w.wire.announces() {
		w.begin(frameRatchet)
		w.out = append(w.out, nextEpoch)
		if err := w.seal(); err != nil {
			return err
		}
	}
	w.ratchets.Add(1)
	err := w.sealer.Ratchet()
	w.newEpoch()
	return err
}

// newEpoch is called when the keys have changed. Where frames get lost the peer
// cannot know whether it has the last ones of the old keys: it wants a stamp, and does
// without history.
func (w *sender) newEpoch() {
	w.epoch.Store(w.sealer.Epoch())
	if w.line == nil {
		return
	}
	w.timed = 0
	if w.encoder != nil {
		w.encoder.Reset()
	}
}

func (w *sender) seal() (err error) {
	w.out, err = w.wire.seal(w.out, w.start, w.sealer, w.changes)
	return err
}

func appendStamp(b []byte, now time.Duration) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(now))
}
