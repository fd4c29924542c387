package tunnel

import (
	"encoding/binary"

	"vpnd/crypto"
)

// linePlace is where a frame of a line stands in its generation.
type linePlace struct {
	epoch  uint64
	number uint32
	reset  int64 // clock when the peer was last asked to start its compression anew, ns
}

// fromLine takes a frame of the data channel that came over a line. What does not
// open is errForeign and changes nothing; any other error ends the session.
func (r *receiver) fromLine(f []byte) error {
	if len(f) < shortest {
		return errForeign
	}
	o, renewed := r.opener, false
	switch f[0] >> crypto.EpochBits {
	case r.changes & generationMask:
	case (r.changes + 1) & generationMask:
		o, renewed = r.keys.ready(), true
		if o == nil {
			return errForeign
		}
	default:
		return errForeign
	}
	number := binary.BigEndian.Uint32(f) & (1<<crypto.NumberBits - 1)
	text, err := o.OpenAt(f[0], number, f[:lineHeader], f[lineHeader:])
	if err != nil {
		return errForeign
	}
	if renewed {
		r.opener = r.keys.take()
		r.changes++
		if err := r.keys.confirmed(); err != nil {
			return err
		}
	}
	if r.gap(o.Epoch(), number) || renewed {
		r.decoder.Lost()
		r.delay.missed = true
	}
	return r.take(text, len(f))
}

// gap reports whether a frame before this one may be lost.
func (r *receiver) gap(epoch uint64, number uint32) bool {
	last := r.place
	r.place.epoch, r.place.number = epoch, number
	return epoch != last.epoch || number != last.number+1
}

// askReset asks the peer to start its compression anew: once, until that can have
// arrived.
func (r *receiver) askReset() {
	now := int64(r.t.config.Now())
	if r.line != nil && now-r.place.reset < r.rtt.Load()+int64(r.line.answerTime()) {
		return
	}
	r.place.reset = now
	r.resets++
	r.post(message{kind: frameReset, payload: binary.BigEndian.AppendUint32(nil, r.resets)})
}
