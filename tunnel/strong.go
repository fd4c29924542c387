package tunnel

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/number"
)

// Peer is a client with a strong key.
type Peer struct {
	Name   string
	Public crypto.PublicKey
	Secret crypto.Secret
}

// resyncTime is how long a client may be told its last number: it calls every
// second or two at first, later every minute or, if it is told so, more seldom.
const resyncTime = 15 * time.Minute

// StrongDoor is that of a server with strong keys. Its peers may change at any time.
type StrongDoor struct {
	door    *crypto.StrongDoor
	numbers *number.Journal // nil in a mesh
	calls   atomic.Uint64   // in a mesh
	peers   atomic.Pointer[roster]
}

// roster is the clients that a server knows, by their link.
type roster map[crypto.KeyID]knownPeer

type knownPeer struct {
	name string
	peer *crypto.Peer
}

// NewStrongDoor returns the door of a server that knows nobody yet. numbers stays
// open as long as the door is in use.
func NewStrongDoor(random io.Reader, own *crypto.Identity, numbers *number.Journal) *StrongDoor {
	d := &StrongDoor{numbers: numbers}
	d.peers.Store(&roster{})
	d.door = crypto.NewStrongDoor(random, own, d.find)
	return d
}

// NewMeshDoor returns the door of a gateway of a mesh that knows nobody yet. Its callers
// have no transaction numbers.
func NewMeshDoor(random io.Reader, own *crypto.Identity) *StrongDoor {
	d := &StrongDoor{}
	d.peers.Store(&roster{})
	d.door = crypto.NewMeshDoor(random, own, d.find)
	return d
}

// find returns the client of a link, or nil.
func (d *StrongDoor) find(id crypto.KeyID) *crypto.Peer { return (*d.peers.Load())[id].peer }

// SetPeers replaces the peers. Who is not among them is a stranger from then on;
// sessions that are there stay. Two peers with one key or one name are an error,
// after which nothing has changed.
func (d *StrongDoor) SetPeers(all []Peer) error {
	next, names := make(roster, len(all)), make(map[string]bool, len(all))
	for _, p := range all {
		peer := crypto.NewPeer(p.Public, p.Secret)
		if other, taken := next[peer.ID()]; taken {
			return fmt.Errorf("%s and %s have the same public key", other.name, p.Name)
		}
		if names[p.Name] {
			return fmt.Errorf("there are two peers %s", p.Name)
		}
		if old, ok := (*d.peers.Load())[peer.ID()]; ok && old.peer.Same(peer) {
			peer = old.peer // whose flight is being opened is not turned away
		}
		next[peer.ID()], names[p.Name] = knownPeer{p.Name, peer}, true
	}
	d.peers.Store(&next)
	return nil
}

// Open checks a first flight. When it returns no error, the flight's number is on the
// disk and counts no more.
func (d *StrongDoor) Open(f1 []byte) (*Call, error) {
	c, err := d.door.Open(f1)
	if err != nil {
		return nil, err
	}
	id := c.Peer.ID()
	known := (*d.peers.Load())[id]
	if known.peer != c.Peer { // taken away just now
		return nil, crypto.ErrAuth
	}
	call := &Call{Caller: Caller{known.name, id, known.peer}, Hello: c.Hello, Order: c.Number, Answer: c.Answer}
	if d.numbers == nil {
		call.Order = d.calls.Add(1)
		return call, nil
	}
	finding, err := d.numbers.Accept(number.ID(id), number.Call{Number: c.Number, Before: c.Before})
	call.Doubt = doubts[finding]
	if used := (*number.UsedError)(nil); errors.As(err, &used) {
		if !used.Told {
			return call, &usedError{known.name, used}
		}
		call.Told = used.Last
		return call, nil
	}
	if err != nil {
		return call, fmt.Errorf("client %s: %w", known.name, err)
	}
	return call, nil
}

// Hails makes one message, since all clients know the server's one key.
func (d *StrongDoor) Hails() ([][]byte, error) {
	hail, err := d.door.Hail()
	return [][]byte{hail}, err
}

// Resync lets a client that has lost its numbers be told the last one, for a while.
// It is named by its name or by its link's id.
func (d *StrongDoor) Resync(client string) (until time.Time, err error) {
	for id, known := range *d.peers.Load() {
		if client == known.name || client == id.String() {
			until = time.Now().Add(resyncTime)
			d.numbers.Tell(number.ID(id), until)
			return until, nil
		}
	}
	return until, fmt.Errorf("there is no client %q here", client)
}

// doubts say what a client's memory of its calls gives away.
var doubts = [...]error{
	number.Forgotten: errors.New("it remembers no call: its numbers were lost, or its key is in use in a second place"),
	number.Foreign:   errors.New("it does not remember its last call: its key is in use in a second place, or it was put back to an old state"),
}

// usedError says that the number of a flight was used.
type usedError struct {
	client string
	*number.UsedError
}

// Error says what the reason may be.
func (e *usedError) Error() string {
	why := "a recorded first flight, or the client has lost its numbers (see --resync)"
	if e.Late {
		why = "a later call of the client has overtaken it"
	}
	return fmt.Sprintf("client %s: %v: %s", e.client, e.UsedError, why)
}

// Is tells errors.Is that this is a replay.
func (e *usedError) Is(target error) bool { return target == crypto.ErrReplay }

// NewStrongKey returns what a client with a strong key calls with. numbers stays
// open as long as it is in use.
func NewStrongKey(random io.Reader, key *crypto.StrongKey, numbers *number.Client) Key {
	return strongKey{random, key, numbers}
}

// NewMeshKey returns what a gateway of a mesh calls a peer with.
func NewMeshKey(random io.Reader, key *crypto.StrongKey) Key { return strongKey{random, key, nil} }

type strongKey struct {
	random  io.Reader
	key     *crypto.StrongKey
	numbers *number.Client // nil in a mesh
}

func (k strongKey) ID() crypto.KeyID { return k.key.ID() }

func (k strongKey) Initiate(hello []byte) (*crypto.Initiator, []byte, error) {
	if k.numbers == nil {
		return crypto.InitiateStrong(k.key, k.random, 0, 0, hello)
	}
	call, err := k.numbers.Next()
	if err != nil {
		return nil, nil, err
	}
	return crypto.InitiateStrong(k.key, k.random, call.Number, call.Before, hello)
}

func (k strongKey) Hails(message []byte) bool { return k.key.Hails(message) }

func (k strongKey) Raise(last uint64) error {
	if k.numbers == nil {
		return errors.New("peer tells a transaction number, which a mesh does not have")
	}
	return k.numbers.Raise(last)
}
