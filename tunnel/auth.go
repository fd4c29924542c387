package tunnel

import (
	"errors"
	"io"
	"sync/atomic"

	"vpnd/crypto"
)

// Door is where a server's first flights arrive: it finds out who calls.
type Door interface {
	// Open checks a first flight. Many goroutines call it at once, and it may wait for
	// the disk. After an error the caller gets not one byte, and the call, if there is
	// one, is good for its Doubt alone. The error is crypto.ErrAuth for a stranger's
	// flight, crypto.ErrReplay for one that counts no more, and another one if a good
	// flight cannot be answered here.
	Open(f1 []byte) (*Call, error)
	// Hails returns what a server without a session says on a serial line: a message
	// for each key that it has.
	Hails() ([][]byte, error)
}

// Call is a first flight that may be answered, once.
type Call struct {
	Caller Caller
	// Hello is the client's payload.
	Hello []byte
	// Order grows with the first flights of a caller.
	Order uint64
	// Doubt says why the caller's key may be in use in two places; nil as a rule.
	Doubt error
	// Told is the last transaction number of the caller, who has used an older one and
	// is to be told; 0 as a rule. He gets no session.
	Told uint64
	// Answer makes the second flight and the keys.
	Answer func(answer []byte) (f2 []byte, keys *crypto.Generation, err error)
}

// Caller is who calls, as far as his key says it.
type Caller struct {
	// Name is that of a peer with a key of its own, "" with a shared key.
	Name string
	// Key is the id of the shared key, or of the link.
	Key crypto.KeyID
	// Proof is a key of its own together with its secret.
	Proof *crypto.Peer
}

// Key is what a client calls with.
type Key interface {
	// ID returns the id that both ends print.
	ID() crypto.KeyID
	// Initiate returns a first flight that was never sent before.
	Initiate(hello []byte) (*crypto.Initiator, []byte, error)
	// Hails reports whether a message was made by the server on a serial line, now or
	// at some time before.
	Hails(message []byte) bool
	// Raise lets all following flights have a number greater than last, which the
	// server has told.
	Raise(last uint64) error
}

// settleAuth takes the shared keys where no other way is configured.
func (t *Tunnel) settleAuth() error {
	c := &t.config
	if t.door, t.key = c.Door, c.Key; len(c.Keys) > 0 {
		t.door, t.key = newSharedDoor(c.Random, c.Keys...), sharedKey{c.Random, c.Keys[0]}
	}
	if c.answers() && t.door == nil || !c.answers() && t.key == nil {
		return errors.New("no key")
	}
	return nil
}

// answers reports whether this end is the server.
func (c *Config) answers() bool { return c.Listener != nil || c.Line != nil && c.Line.Answers }

// sharedDoor is that of a server with one or a few shared keys.
type sharedDoor struct {
	door   *crypto.Door
	random io.Reader
	keys   []*crypto.Key
	calls  atomic.Uint64
}

func newSharedDoor(random io.Reader, keys ...*crypto.Key) *sharedDoor {
	return &sharedDoor{door: crypto.NewDoor(random, keys...), random: random, keys: keys}
}

func (d *sharedDoor) Open(f1 []byte) (*Call, error) {
	c, err := d.door.Open(f1)
	if err != nil {
		return nil, err
	}
	// Counted before the caller can call again.
	return &Call{Caller: Caller{Key: c.Key.ID()}, Hello: c.Hello, Order: d.calls.Add(1), Answer: c.Answer}, nil
}

// Hails makes one for each key, since a client may have the old one still.
func (d *sharedDoor) Hails() (hails [][]byte, err error) {
	for _, key := range d.keys {
		hail, err := key.Hail(d.random)
		if err != nil {
			return nil, err
		}
		hails = append(hails, hail)
	}
	return hails, nil
}

// sharedKey is the client's half.
type sharedKey struct {
	random io.Reader
	key    *crypto.Key
}

func (k sharedKey) ID() crypto.KeyID { return k.key.ID() }

func (k sharedKey) Initiate(hello []byte) (*crypto.Initiator, []byte, error) {
	return crypto.Initiate(k.key, k.random, hello)
}

func (k sharedKey) Hails(message []byte) bool { return k.key.Hails(message) }

func (k sharedKey) Raise(uint64) error {
	return errors.New("server tells a transaction number, which a shared key does not have")
}
