package tunnel

import (
	"bytes"
	"sync"
	"time"

	"vpnd/crypto"
)

// rekeying makes a session's next generation of keys. Only the client starts:
//
//	client  REKEY1 ->
//	                   <- REKEY2          server holds both new keys ready
//	        RATCHET -> CONFIRM ->         client seals with the new key
//	                   <- RATCHET         server seals with the new key
//
// REKEY1, REKEY2 and RATCHET are sealed with the old generation, CONFIRM is the
// first frame of the new one. Packets flow all the time.
type rekeying struct {
	*session
	mu      sync.Mutex
	current *crypto.Generation
	pending *crypto.Rekey      // client: REKEY1 is sent
	next    *crypto.Generation // server: REKEY2 is sent
	opener  *crypto.Opener     // for the peer's RATCHET
	sealer  *crypto.Sealer     // server: until the client's CONFIRM
	since   time.Duration      // clock when the current generation was made

	// For a line that loses frames: what was sent, and is sent again.
	m1, m2 []byte
	asked  time.Duration
}

func (k *rekeying) init(s *session, g *crypto.Generation) {
	k.session, k.current, k.since = s, g, s.t.config.Now()
}

// check starts a rekey when it is time, on a client, and on both ends finds keys
// that are too old.
func (k *rekeying) check(now time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := now - k.since
	if age >= 2*k.keyTTL {
		return errKeyAge
	}
	if !k.client || age < k.keyTTL {
		return nil
	}
	if k.pending != nil {
		k.askAgain(now)
		return nil
	}
	rekey, m1, err := k.current.Rekey(k.t.config.Random)
	if err != nil {
		return err
	}
	if k.post(message{kind: frameRekey1, payload: m1}) {
		k.pending, k.m1, k.asked = rekey, m1, now
	}
	return nil
}

// askAgain sends REKEY1 again if it, or the answer, may be lost.
func (k *rekeying) askAgain(now time.Duration) {
	if k.line != nil && now-k.asked >= k.line.answerTime() && k.post(message{kind: frameRekey1, payload: k.m1}) {
		k.asked = now
	}
}

// answer is the server's part.
func (k *rekeying) answer(m1 []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.line != nil && k.next != nil && bytes.Equal(m1, k.m1) {
		k.post(message{kind: frameRekey2, payload: k.m2})
		return nil
	}
	if k.client || k.next != nil {
		return protocolError("rekey out of turn")
	}
	m2, next, err := k.current.AnswerRekey(k.t.config.Random, m1)
	if err != nil {
		return protocolError("rekey: %w", err)
	}
	if k.sealer, k.opener, err = next.Keys(k.suite); err != nil {
		return err
	}
	k.next, k.m1, k.m2 = next, append([]byte(nil), m1...), m2
	if !k.post(message{kind: frameRekey2, payload: m2}) {
		return errStuck
	}
	return nil
}

// finish is the client's part when REKEY2 has come.
func (k *rekeying) finish(m2 []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pending == nil && k.line != nil {
		return nil // once more
	}
	if k.pending == nil {
		return protocolError("answer to no rekey")
	}
	next, err := k.pending.Finish(m2)
	if err != nil && k.line != nil {
		return nil // the answer to the rekey before, once more
	}
	if err != nil {
		return protocolError("rekey: %w", err)
	}
	sealer, opener, err := next.Keys(k.suite)
	if err != nil {
		return err
	}
	k.pending, k.opener = nil, opener
	k.replace(next)
	if !k.post(message{kind: askGeneration, next: sealer}) {
		return errStuck
	}
	return nil
}

// ready returns the keys of the peer's new generation and leaves them, nil when
// there is none.
func (k *rekeying) ready() *crypto.Opener {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.opener
}

// take returns the keys of the peer's new generation, nil when there is none.
func (k *rekeying) take() *crypto.Opener {
	k.mu.Lock()
	defer k.mu.Unlock()
	o := k.opener
	k.opener = nil
	return o
}

// confirmed is the server's part when the client has proved the new keys. The
// CONFIRM of the first generation finds nothing to do.
func (k *rekeying) confirmed() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next == nil {
		return nil
	}
	sealer := k.sealer
	k.replace(k.next)
	k.next, k.sealer = nil, nil
	if !k.post(message{kind: askGeneration, next: sealer}) {
		return errStuck
	}
	return nil
}

func (k *rekeying) replace(next *crypto.Generation) {
	k.current.Forget()
	k.current, k.since = next, k.t.config.Now()
	k.rekeys.Add(1)
}

// forget erases what the next generation would be made from.
func (k *rekeying) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current.Forget()
}
